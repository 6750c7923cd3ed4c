package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startChild starts one of the roles, and ends it with the test.
func startChild(t *testing.T, args ...string) *process {
	t.Helper()
	return startProgram(t, new(cpus), 0, append([]string{os.Args[0]}, args...)...)
}

func startProgram(t *testing.T, c *cpus, cpu int, args ...string) *process {
	t.Helper()
	// The child lives no longer than the thread that starts it.
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	p, err := c.start(launch{name: filepath.Base(args[0]), args: args, env: []string{loopEnvironment}, log: filepath.Join(t.TempDir(), "log"), cpu: cpu, talk: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(stopPatience) })
	return p
}

func TestChildrenArePinnedAndWeAreNot(t *testing.T) {
	c, err := findCPUs()
	if err != nil {
		t.Fatal(err)
	}
	if !c.pinned {
		t.Skip("there is one CPU")
	}
	if c.proxy == c.load {
		t.Fatalf("CPU of proxy and of load: got %d for both", c.proxy)
	}
	p := startProgram(t, &c, c.load, "grep", "Cpus_allowed_list", "/proc/self/status")
	got, err := io.ReadAll(p.stdout)
	if want := fmt.Sprintf("Cpus_allowed_list:\t%d\n", c.load); err != nil || string(got) != want {
		t.Errorf("child: got %q, %v; want %q", got, err, want)
	}
	var ours unix.CPUSet
	if err := unix.SchedGetaffinity(0, &ours); err != nil || ours != c.allowed {
		t.Errorf("our own CPUs: got %v, %v; want %v as before", ours, err, c.allowed)
	}
}

func TestStubbornProcessIsStopped(t *testing.T) {
	p := startProgram(t, new(cpus), 0, "sh", "-c", "trap '' TERM; echo ready; sleep 60 & wait; sleep 60")
	ready := make([]byte, 6)
	if _, err := io.ReadFull(p.stdout, ready); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	p.stop(50 * time.Millisecond)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("stop: got %v; want little more than its patience", took)
	}
}

func TestLastWordsAreTheLastLines(t *testing.T) {
	p := startProgram(t, new(cpus), 0, "sh", "-c", "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done")
	<-p.gone
	if got := p.lastWords(); !strings.HasPrefix(got, "line 3\n") || !strings.HasSuffix(got, "line 7") {
		t.Errorf("last words: got %q; want lines 3 to 7", got)
	}
}
