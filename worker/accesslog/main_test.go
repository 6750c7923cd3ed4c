package accesslog

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of a test: no more than a guard against hanging.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if r, w, err := os.Pipe(); err == nil { // the runtime's own descriptors stay
		r.Close()
		w.Close()
	}
	before := descriptors()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if after := descriptors(); after > before {
			fmt.Fprintf(os.Stderr, "descriptors after the tests: got %d; want %d\n", after, before)
			code = 1
		}
	}
	os.Exit(code)
}

func descriptors() int {
	open, _ := filepath.Glob("/proc/self/fd/*")
	return len(open)
}

// openFile opens a file as the supervisor does, and makes it if need be.
func openFile(t testing.TB, name string) int {
	t.Helper()
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o640)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	return fd
}

// await waits until done.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	if !within(patience, done) {
		t.Fatalf("%s: not within %v", what, patience)
	}
}

func within(limit time.Duration, done func() bool) bool {
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !done(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
