package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The demo is played as a person would: read the screen, paste, type, Ctrl-C.
func TestDemo(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("WORK", tmp) // by which processesOf finds what is left
	demo, typed, screen := startDemo(t)
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+/`).FindString(screen)
	if url == "" || !strings.Contains(screen, "down, on purpose") {
		t.Fatalf("screen: got %s; want the proxy's URL and a server that is down", screen)
	}
	if strings.Contains(screen, "\x1b") {
		t.Errorf("screen: got colours in %q; want none where there is no terminal", screen)
	}

	if got := answers(t, url, 8); got["origin 1"] == 0 || got["origin 2"] == 0 || got[""] > 0 {
		t.Errorf("8 requests: got %v; want both origins to answer all", got)
	}
	if !within(patience, func() bool {
		text, err := fetch(url, "appid: demo")
		return err == nil && strings.HasPrefix(text, "HTTP/1.1 429") && strings.Contains(text, "X-Rate-Limit-Limit: 1\n")
	}) {
		t.Error("requests of one appid, over and over: got no 429; want one")
	}

	typeLine(t, typed, "1")
	if !within(patience, func() bool { return answers(t, url, 8)["origin 2"] == 8 }) {
		t.Error("origin 1 was killed: want origin 2 to answer all")
	}
	typeLine(t, typed, "1")
	if !within(patience, func() bool { return answers(t, url, 8)["origin 1"] > 0 }) {
		t.Error("origin 1 was started again: want it to answer")
	}

	if err := demo.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := demo.Wait(); err != nil {
		t.Errorf("after Ctrl-C: got %v; want exit 0", err)
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("folders left over: got %v; want none", left)
	}
	if left := endProcesses(tmp); len(left) > 0 {
		t.Errorf("processes left over: got %q; want none", left)
	}
}

// A demo that is killed takes its proxy along.
func TestKilledDemoLeavesNoProcess(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("WORK", tmp)
	demo, _, _ := startDemo(t)
	if err := demo.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = demo.Wait() // it was killed
	if !within(patience, func() bool { return len(processesOf(tmp)) == 0 }) {
		t.Errorf("processes left over: got %q; want none", endProcesses(tmp))
	}
}

// startDemo runs the demo and returns when its screen is complete.
func startDemo(t *testing.T) (demo *exec.Cmd, typed io.Writer, screen string) {
	t.Helper()
	demo = exec.Command(binary, "demo")
	typed, err := demo.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	// A pipe of our own: Wait must not close it while it is being read.
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	demo.Stdout, demo.Stderr = in, in
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	t.Cleanup(func() {
		_ = demo.Process.Kill() // fails if the test has ended it
		out.Close()
	})
	if err := out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	for !strings.Contains(screen, "What the proxy logs follows") {
		line, err := reader.ReadString('\n')
		if err != nil {
			t.Fatalf("screen: %v after %s", err, screen)
		}
		screen += line
	}
	if err := out.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }() // ends when the last process closes its end
	return demo, typed, screen
}

func typeLine(t *testing.T, typed io.Writer, line string) {
	t.Helper()
	if _, err := io.WriteString(typed, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// answers counts who answered n requests, "" being anything but a 200.
func answers(t *testing.T, url string, n int) map[string]int {
	t.Helper()
	got := make(map[string]int)
	for range n {
		text, err := fetch(url, "")
		if err != nil {
			t.Fatal(err)
		}
		got[regexp.MustCompile(`(?s)^HTTP/1.1 200.*\n(origin \d):|.*`).FindStringSubmatch(text)[1]]++
	}
	return got
}
