package sysd

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// barrierLimit is how long the manager may take to read what it was sent.
const barrierLimit = 5 * time.Second

// Barrier waits until the manager has read all that it was told: it closes the
// pipe that comes with the last notice. A process that exits earlier could have
// its notices taken for those of a stranger.
func (m *Manager) Barrier() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	defer r.Close()
	defer w.Close()
	rc, err := w.SyscallConn()
	if err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	var sent bool
	var sendErr error
	err = rc.Control(func(fd uintptr) { sent, sendErr = m.notifyWith("BARRIER=1", int(fd)) })
	if err := errors.Join(err, sendErr); !sent || err != nil {
		return err
	}
	w.Close()
	if err := r.SetReadDeadline(time.Now().Add(barrierLimit)); err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	if _, err := r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("barrier: the service manager has not read its notices within %v", barrierLimit)
	}
	return nil
}

// notifyWith sends one datagram with a descriptor. It reports false where nobody
// listens.
func (m *Manager) notifyWith(text string, fd int) (sent bool, err error) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return false, nil
	}
	return true, sendTo(path, text, fd)
}

func sendTo(path, text string, passed int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(barrierLimit))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	if err := unix.Sendmsg(fd, []byte(text), unix.UnixRights(passed), &unix.SockaddrUnix{Name: path}, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("notify the service manager: send to %s: %w", path, err)
	}
	return nil
}
