package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestOneAtATimeInAHome(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	h, err := enter(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("already running as pid %d", os.Getpid())
	if _, err := enter(dir, nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("second enter: got %v; want %q", err, want)
	}
	h.leave()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder that enter made, after leave: got %v; want none", err)
	}
}

func TestHomeThatWasThereStays(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lock"), []byte("4711\n"), 0o600); err != nil {
		t.Fatal(err) // of a process that was killed
	}
	h, err := enter(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.leave()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("after leave: got %v, %v; want an empty folder", entries, err)
	}
}

// Many start and stop at once: never two inside, and nobody fails for another
// reason than that.
func TestHomeUnderContention(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var inside sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				h, err := enter(dir, nil)
				if err != nil {
					if !strings.Contains(err.Error(), "already running") {
						t.Error(err)
					}
					continue
				}
				if !inside.TryLock() {
					t.Error("two are inside")
				} else {
					inside.Unlock()
				}
				h.leave()
			}
		})
	}
	wg.Wait()
}

func TestHomeOfSomeoneElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := enter(dir, nil); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("enter: got %v; want it refused", err)
	}
}

func TestPidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "proxyd.pid")
	if err := writePid(path); err != nil {
		t.Fatal(err)
	}
	if got, want := readPid(path), strconv.Itoa(os.Getpid()); got != want {
		t.Errorf("pid: got %s; want %s", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode: got %v, %v; want 0644", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("folder: got %v; want the file only", entries)
	}
	removePid(path)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("file after removePid: got %v; want none", err)
	}
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	removePid(path)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("somebody else's file after removePid: %v", err)
	}
}
