package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// reap takes note of the ends of children that nobody here has started: those of
// the program that this process ran before an upgrade in place, and as process 1
// those of everybody. Ours are waited for by who started them, so what an upgrade
// starts is left alone while there is one.
func (s *supervisor) reap() {
	if s.upgrade != nil {
		return
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // gone
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil || s.any(func(w *worker) bool { return w.pid() == pid }) {
			continue
		}
		if isZombieOf(text, os.Getpid()) {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		}
	}
}

// isZombieOf tells from the text of /proc/PID/stat whether the process is dead
// and waits for parent to take note.
func isZombieOf(stat []byte, parent int) bool {
	_, rest, ok := bytes.Cut(stat, []byte(") Z ")) // behind the name, which may hold anything
	return ok && bytes.HasPrefix(rest, fmt.Appendf(nil, "%d ", parent))
}
