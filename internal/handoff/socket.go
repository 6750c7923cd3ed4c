package handoff

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Listener is the socket at which a supervisor can be found by workers that
// have lost theirs.
type Listener struct{ ul *net.UnixListener }

// Announce makes a Listener at path, in place of one that a dead supervisor
// left; the caller holds the lock that says it is dead. Only the users root,
// ours and uid can connect.
func Announce(path string, uid int) (*Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("announce: %w", err)
	}
	ul, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: path})
	if err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	ul.SetUnlinkOnClose(false) // it may have been handed to another process
	err = os.Chmod(path, 0o600)
	if err == nil && uid != os.Geteuid() {
		err = os.Chown(path, uid, -1)
	}
	if err != nil {
		ul.Close()
		return nil, fmt.Errorf("announce %s: %w", path, err)
	}
	return &Listener{ul}, nil
}

// Inherit makes a Listener of the descriptor of another process's. It closes f.
func Inherit(f *os.File) (*Listener, error) {
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("inherit %s: %w", f.Name(), err)
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("inherit %s: no unix socket", f.Name())
	}
	return &Listener{ul}, nil
}

// File is a duplicate of the socket's descriptor, which the caller closes.
func (l *Listener) File() (*os.File, error) { return l.ul.File() }

// Accept waits for the next worker. It returns an error that is net.ErrClosed
// after Close.
func (l *Listener) Accept() (*Conn, error) {
	uc, err := l.ul.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	return newConn(uc), nil
}

// Close closes our descriptor of the socket and leaves its file.
func (l *Listener) Close() error { return l.ul.Close() }

// Dial connects to the Listener at path.
func Dial(path string) (*Conn, error) {
	uc, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: path})
	if err != nil {
		return nil, err // says what it did and where
	}
	return newConn(uc), nil
}

// Peer is the process and the user at the other end, as the kernel knows them:
// who dialled, who announced, or who made the Pair.
func (c *Conn) Peer() (pid, uid int, err error) {
	rc, err := c.uc.SyscallConn()
	if err != nil {
		return 0, 0, fmt.Errorf("peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := rc.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, 0, fmt.Errorf("peer: %w", err)
	}
	if credErr != nil {
		return 0, 0, fmt.Errorf("peer: %w", credErr)
	}
	return int(cred.Pid), int(cred.Uid), nil
}

// ReceiveBefore is Receive that fails at deadline.
func (c *Conn) ReceiveBefore(deadline time.Time) (Message, error) {
	if err := c.uc.SetReadDeadline(deadline); err != nil {
		return Message{}, fmt.Errorf("receive: %w", err)
	}
	m, err := c.Receive()
	if err == nil {
		err = c.uc.SetReadDeadline(time.Time{})
	}
	return m, err
}
