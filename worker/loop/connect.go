package loop

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An Addr is where to connect to: TCP over IPv4 or IPv6, or a unix socket.
type Addr struct {
	family int
	sa     unix.Sockaddr
	text   string
}

// ParseAddr reads "192.0.2.1:443", "[2001:db8::1]:443" or "unix:/path".
func ParseAddr(s string) (Addr, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" || len(path) > 107 {
			return Addr{}, fmt.Errorf("parse address %q: a unix socket's path has 1 to 107 bytes", s)
		}
		return Addr{unix.AF_UNIX, &unix.SockaddrUnix{Name: path}, s}, nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return Addr{}, fmt.Errorf("parse address: %w", err)
	}
	if ap.Addr().Zone() != "" {
		return Addr{}, fmt.Errorf("parse address %q: a zone is not supported", s)
	}
	if a := ap.Addr().Unmap(); a.Is4() {
		return Addr{unix.AF_INET, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: a.As4()}, s}, nil
	}
	return Addr{unix.AF_INET6, &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}, s}, nil
}

func (a Addr) String() string { return a.text }

// Connect opens a connection to a and registers it as c, which is not open if
// it fails.
func (t *Task) Connect(c *Conn, a Addr, deadline int64) error {
	fd, err := newSocket(a.family)
	if err != nil {
		return err
	}
	if a.family != unix.AF_UNIX {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	err = unix.Connect(fd, a.sa)
	for err == unix.EAGAIN { // a unix socket's queue is full; there is no event for that
		if deadline != 0 && t.Now() >= deadline {
			err = ErrDeadline
			break
		}
		t.Sleep(5 * time.Millisecond)
		err = unix.Connect(fd, a.sa)
	}
	if err != nil && err != unix.EINPROGRESS {
		closeFD(int32(fd))
		return &OpError{"connect", err}
	}
	pending := err == unix.EINPROGRESS
	if err := t.loop.Register(c, fd); err != nil {
		return err
	}
	if !pending {
		return nil
	}
	if err := t.connected(c, deadline); err != nil {
		c.Abort()
		return &OpError{"connect", err}
	}
	return nil
}

// connected waits until the handshake of c has ended one way or the other.
func (t *Task) connected(c *Conn, deadline int64) error {
	c.writable = false
	for !c.writable && !c.failed {
		if err := t.WaitAny(deadline, c, nil); err != nil {
			return err
		}
	}
	e, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if e != 0 {
		return unix.Errno(e)
	}
	if selfConnected(int(c.fd)) {
		return unix.ECONNREFUSED
	}
	return nil
}

// selfConnected reports whether both ends of a TCP connection are the socket fd.
// That happens when nobody listens at a local port and the kernel chooses that
// very port for the socket that asks (RFC 9293 section 3.5, simultaneous open).
// It would answer us with our own bytes and keep the server from its port.
func selfConnected(fd int) bool {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	remote, err := unix.Getpeername(fd)
	if err != nil {
		return false
	}
	switch l := local.(type) {
	case *unix.SockaddrInet4:
		r, ok := remote.(*unix.SockaddrInet4)
		return ok && l.Port == r.Port && l.Addr == r.Addr
	case *unix.SockaddrInet6:
		r, ok := remote.(*unix.SockaddrInet6)
		return ok && l.Port == r.Port && l.Addr == r.Addr
	}
	return false
}
