package sysd

import (
	"errors"
	"fmt"
	"net"
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
	sent, err := m.notifyWith("BARRIER=1", w)
	if !sent || err != nil {
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

// notifyWith sends one datagram with descriptors. It reports false where nobody
// listens.
func (m *Manager) notifyWith(text string, files ...*os.File) (sent bool, err error) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return false, nil
	}
	uc, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		return false, fmt.Errorf("notify the service manager: %w", err)
	}
	defer uc.Close()
	var fds []int
	for _, f := range files {
		rc, err := f.SyscallConn()
		if err == nil {
			err = rc.Control(func(fd uintptr) { fds = append(fds, int(fd)) })
		}
		if err != nil {
			return false, fmt.Errorf("notify the service manager: %w", err)
		}
	}
	if _, _, err := uc.WriteMsgUnix([]byte(text), unix.UnixRights(fds...), nil); err != nil {
		return false, fmt.Errorf("notify the service manager: %w", err)
	}
	return true, nil
}
