package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A home is the state directory while we hold its lock: at most one supervisor
// does at any time. The lock is one of the open file description, so it ends
// with the last process that has the file, however that dies.
type home struct {
	dir  string
	made bool // by us
	lock *os.File
	path string // of lock
}

// enter makes the state directory if need be and locks it.
// Or it takes the lock that has come with an estate.
func enter(dir string, e *estate) (*home, error) {
	h := &home{dir: dir}
	if e != nil {
		h.made, h.lock, h.path = e.made, e.lock, filepath.Join(dir, "lock")
		return h, nil
	}
	// Whoever ends removes the lock file and perhaps the folder while we are at
	// it; then what we hold is not what others will find, and we try again.
	// A supervisor that was killed in an upgrade has a successor on trial, who has
	// the lock too and is about to notice.
	for end := time.Now().Add(lockLimit); ; time.Sleep(lockPause) {
		again, err := h.tryEnter()
		if err == nil {
			return h, nil
		}
		if !again || time.Now().After(end) {
			return nil, err
		}
	}
}

const (
	lockLimit = 3 * time.Second
	lockPause = 5 * time.Millisecond
)

// tryEnter says whether it is of use to try again after its error.
func (h *home) tryEnter() (again bool, err error) {
	made, err := makeDir(h.dir)
	h.made = h.made || made
	if err == nil {
		err = checkOwner(h.dir)
	}
	if err != nil {
		again = errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist)
		return again, fmt.Errorf("state directory %s: %w (choose another: supervisor { state_dir = \"/path\" })", h.dir, err)
	}
	path := filepath.Join(h.dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), fmt.Errorf("lock: %w", err)
	}
	if again, err := lockAs(f, path); err != nil {
		f.Close()
		return again, err
	}
	h.lock, h.path = f, path
	return false, nil
}

// lockAs locks f, the file at path, and puts our number into it.
func lockAs(f *os.File, path string) (again bool, err error) {
	fl := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &fl); err != nil {
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			pid, _ := strconv.Atoi(readPid(path))
			dead := pid > 0 && syscall.Kill(pid, 0) == syscall.ESRCH
			return dead, fmt.Errorf("already running as pid %s (it holds %s)", readPid(path), path)
		}
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	if !isAt(f, path) {
		return true, fmt.Errorf("lock %s: somebody removes it again and again", path)
	}
	return false, sign(f, path)
}

// sign puts our number into the lock file.
func sign(f *os.File, path string) error {
	text := strconv.Itoa(os.Getpid()) + "\n"
	_, err := f.WriteAt([]byte(text), 0)
	if err == nil {
		err = f.Truncate(int64(len(text))) // not before: a full disk may take no more than there was
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	return nil
}

// leave removes what enter made and lets go of the lock.
func (h *home) leave() {
	os.Remove(h.path) // before the unlock: nobody else can have locked it
	if h.made {
		os.Remove(h.dir) // fails, rightly, if anything is left in it
	}
	h.lock.Close()
}

// makeDir makes dir for all to look into, whatever the umask.
func makeDir(dir string) (made bool, err error) {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return false, errors.New("not a directory")
		}
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	return true, os.Chmod(dir, 0o755)
}

// checkOwner refuses a folder that somebody made for us to fall into, as anyone
// can in /tmp: who owns it can replace our sockets.
func checkOwner(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d", st.Uid)
	}
	return nil
}

func isAt(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

func sameFile(f, g *os.File) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := g.Stat()
	return err == nil && os.SameFile(a, b)
}

// readPid reads the number in a PID or lock file, for people: "?" if there is none.
func readPid(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "?"
	}
	b = bytes.TrimSpace(b)
	if _, err := strconv.Atoi(string(b)); err != nil {
		return "?"
	}
	return string(b)
}

// writePid puts our number into the file at path at once or not at all.
func writePid(path string) error {
	if _, err := makeDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("pid file %s: %w", path, err)
	}
	if err := writeWhole(path, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		return fmt.Errorf("pid file %s: %w", path, err)
	}
	return nil
}

// removePid removes the PID file if it names us.
func removePid(path string) {
	if readPid(path) == strconv.Itoa(os.Getpid()) {
		os.Remove(path)
	}
}
