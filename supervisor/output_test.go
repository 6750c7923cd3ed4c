package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOutputDropsRatherThanWaits(t *testing.T) {
	r, w := io.Pipe() // nobody reads it yet
	o, err := newOutput("", w, false)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("a", 1023) + "\n")
	const n = 3 * maxQueued / 1024
	for range n {
		_, _ = o.Write(line)
	}
	var got bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&got, r)
	}()
	o.Close()
	w.Close()
	<-read
	kept := bytes.Count(got.Bytes(), line)
	if want := fmt.Sprintf("lines=%d", n-kept); kept == 0 || kept == n || !strings.Contains(got.String(), want) {
		t.Errorf("output: got %d of %d lines; want some, and %q in it", kept, n, want)
	}
}

func TestOutputReopens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	o, err := newOutput(path, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(o, "one")
	old := path + ".1"
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(o, "two")
	o.Reopen()
	fmt.Fprintln(o, "three")
	o.Close()
	for name, want := range map[string]string{old: "one\ntwo\n", path: "three\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestTailReason(t *testing.T) {
	tests := []struct {
		log    string
		orLast bool
		want   string
	}{
		{"", true, ""},
		{"a\nb\n\n", true, "b"},
		{"a\nb\n", false, ""},
		{"a\npanic: boom\n\ngoroutine 1 [running]:\nmain.main()\n", false, "panic: boom"},
		{"fatal error: out of memory\nexit\n", true, "fatal error: out of memory"},
		{"panic: one\npanic: two\n", true, "panic: two"},
	}
	for _, tt := range tests {
		var tail tail
		for line := range strings.Lines(tt.log) {
			tail.add([]byte(line))
		}
		if got := tail.reason(tt.orLast); got != tt.want {
			t.Errorf("reason of %q: got %q; want %q", tt.log, got, tt.want)
		}
	}
	var long tail
	for range 10 * tailBytes / 100 {
		long.add(bytes.Repeat([]byte("a"), 100))
	}
	if len(long.b) > 2*tailBytes || len(long.b) < tailBytes {
		t.Errorf("tail: got %d bytes; want %d to %d", len(long.b), tailBytes, 2*tailBytes)
	}
}

func TestSummary(t *testing.T) {
	text := "error: Unsupported argument\n --> proxy.hcl:2:3\n   2 |   adress\n"
	if got, want := summary(text), "proxy.hcl:2:3: Unsupported argument"; got != want {
		t.Errorf("summary: got %q; want %q", got, want)
	}
	if got, want := summary("bind :80: permission denied"), "bind :80: permission denied"; got != want {
		t.Errorf("summary: got %q; want %q", got, want)
	}
}

// A FIFO that nobody reads is refused. To wait for its reader would be to hang
// with the signals that could stop us caught already.
func TestOutputDoesNotWaitForAReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if o, err := newOutput(path, nil, false); !errors.Is(err, unix.ENXIO) {
		t.Errorf("newOutput: got %v, %v; want %v", o, err, unix.ENXIO)
	}
}
