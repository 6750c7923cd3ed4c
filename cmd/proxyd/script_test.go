package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// binary is the proxyd under test: a real one, built once, because a supervisor
// starts its own program again.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "proxyd-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "proxyd")
		build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build proxyd:", err)
			return 1
		}
		return m.Run()
	}())
}

// TestScripts runs each file of testdata/script: one behaviour of the whole
// program, seen from outside. Long ones begin with '[short] skip'. Beside
// testscript's own commands there are those of commands, and the variables
//
//	$IP    a loopback address that is this script's alone
//	$WORK  its folder; put state_dir at $WORK/run
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               setUpScript,
		Cmds:                commands,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// scripts counts the scripts of this process, for their addresses.
var scripts atomic.Uint32

// scriptAddress returns a loopback address for one script. The whole of 127/8 is
// the machine's, and connections leave from 127.0.0.1, so its ports are free.
func scriptAddress() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 16+pid>>8&63, pid&255, 1+scripts.Add(1)%254)
}

func setUpScript(env *testscript.Env) error {
	env.Setenv("PATH", filepath.Dir(binary)+string(filepath.ListSeparator)+env.Getenv("PATH"))
	env.Setenv("IP", scriptAddress())
	env.Setenv("NO_COLOR", "1")
	env.Values[stateKey{}] = &scriptState{origins: make(map[string]*origin)}
	t, ok := env.T().(interface {
		Failed() bool
		Errorf(format string, args ...any)
	})
	if !ok {
		return fmt.Errorf("a script runs in a %T; want a *testing.T", env.T())
	}
	env.Defer(func() {
		if left := endProcesses(env.WorkDir); len(left) > 0 && !t.Failed() {
			t.Errorf("processes left over at the end: got %q; want none", left)
		}
	})
	return nil
}

// endProcesses ends those that the script in dir started and did not wait for,
// politely first. It returns what they were.
func endProcesses(dir string) []string {
	var left []string
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		running := processesOf(dir)
		if left == nil {
			for _, commandLine := range running {
				left = append(left, commandLine)
			}
		}
		for pid := range running {
			_ = syscall.Kill(pid, s)
		}
		if !within(3*time.Second, func() bool { return len(processesOf(dir)) == 0 }) {
			continue
		}
		break
	}
	return left
}

// processesOf returns the command lines of the processes that inherited the
// variables of the script in dir, by their ids.
func processesOf(dir string) map[int]string {
	found := make(map[int]string)
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range environments {
		environment, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(append([]byte{0}, environment...), []byte("\x00WORK="+dir+"\x00")) {
			continue // gone, another user's, or not of this script
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			continue
		}
		commandLine, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
		found[pid] = string(bytes.ReplaceAll(bytes.TrimRight(commandLine, "\x00"), []byte{0}, []byte{' '}))
	}
	return found
}

// within asks done until it is true, for patience at most.
func within(patience time.Duration, done func() bool) bool {
	deadline := time.After(patience)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-deadline:
			return false
		case <-ticker.C:
		}
	}
	return true
}
