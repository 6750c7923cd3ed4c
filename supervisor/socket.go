package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/config"
)

// backlog is how many connections the kernel queues for a listener. It cuts it
// to net.core.somaxconn, which is 4096 too unless someone set it.
const backlog = 4096

// A socket is a listening socket. It is a raw descriptor on purpose: an os.File
// of it would be in the runtime's poller and wake this process, which accepts
// nothing, at every connection.
type socket struct {
	name    string         // of the descriptor, config.Address.Name
	address config.Address // as in the file
	bound   string         // as the kernel says
	fd      int
	passed  bool        // by systemd, whose it is
	file    os.FileInfo // of a unix socket that we bound; else nil
}

// bind opens a listening socket for a.
func bind(a config.Address) (*socket, error) {
	if a.Network == "unix" {
		return bindUnix(a, 0o666) // as public as a port; folders can keep people out
	}
	s, err := bindTCP(a)
	if err != nil {
		return nil, fmt.Errorf("bind %s: %w%s", a.Value, err, bindHint(a, err))
	}
	return s, nil
}

func bindTCP(a config.Address) (*socket, error) {
	ap, err := netip.ParseAddrPort(a.Value)
	if err != nil {
		return nil, err
	}
	s, err := bindAddrPort(ap)
	if errors.Is(err, unix.EAFNOSUPPORT) && ap.Addr() == netip.IPv6Unspecified() {
		// Every address, on a machine whose kernel has no IPv6.
		s, err = bindAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), ap.Port()))
	}
	if err != nil {
		return nil, err
	}
	s.address, s.name = a, a.Name()
	return s, nil
}

func bindAddrPort(ap netip.AddrPort) (*socket, error) {
	family, sa := sockaddr(ap)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := listenTCP(fd, ap, sa); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &socket{fd: fd, bound: boundTo(fd)}, nil
}

func listenTCP(fd int, ap netip.AddrPort, sa unix.Sockaddr) error {
	// Connections of an earlier process in TIME_WAIT must not keep us out.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if ap.Addr().Is6() {
		only := 1
		if ap.Addr().IsUnspecified() {
			only = 0 // takes IPv4 too
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return err
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return err
	}
	return unix.Listen(fd, backlog)
}

func sockaddr(ap netip.AddrPort) (family int, sa unix.Sockaddr) {
	port, addr := int(ap.Port()), ap.Addr()
	if addr.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: addr.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: addr.As16()}
}

// bindHint says what to do about err.
func bindHint(a config.Address, err error) string {
	_, port, _ := net.SplitHostPort(a.Value)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Sprintf(" (another process has this port; see who: ss -ltnp 'sport = :%s')", port)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		if n, _ := strconv.Atoi(port); n < 1024 {
			return " (ports below 1024 need root or the capability CAP_NET_BIND_SERVICE, or a socket that systemd opens)"
		}
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return " (no interface of this machine has this address; see them: ip address)"
	}
	return ""
}

// bindUnix opens a listening unix socket whose file has mode.
func bindUnix(a config.Address, mode os.FileMode) (*socket, error) {
	if err := removeStale(a.Value); err != nil {
		return nil, fmt.Errorf("bind unix:%s: %w", a.Value, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("bind unix:%s: %w", a.Value, err)
	}
	s := &socket{name: a.Name(), address: a, fd: fd}
	if err := s.listenUnix(mode); err != nil {
		s.close()
		return nil, fmt.Errorf("bind unix:%s: %w", a.Value, err)
	}
	return s, nil
}

func (s *socket) listenUnix(mode os.FileMode) error {
	path := s.address.Value
	if err := unix.Bind(s.fd, &unix.SockaddrUnix{Name: path}); err != nil {
		if errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("%w (a path of %d bytes; at most 107 fit)", err, len(path))
		}
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	s.file, s.bound = info, "unix:"+path
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return unix.Listen(s.fd, backlog)
}

// removeStale removes a socket that a dead process left at path, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w, and it is no socket (remove it if nobody needs it)", unix.EEXIST)
	}
	nc, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		nc.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%w (a process answers on it; see who: ss -lxp src %s)", unix.EADDRINUSE, path)
	}
	return os.Remove(path)
}

// close closes our descriptor of the socket. A worker that still has it keeps
// accepting from it.
func (s *socket) close() {
	s.unlink()
	unix.Close(s.fd)
}

// shut ends the socket for every process that has it, and frees the address at
// once. It is not for passed ones: they are systemd's.
func (s *socket) shut() {
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR) // fails only if it is no listener any more
	s.close()
}

// unlink removes the file of a unix socket if it still is the one that we made.
func (s *socket) unlink() {
	if s.file == nil {
		return
	}
	path := s.address.Value
	if info, err := os.Lstat(path); err == nil && os.SameFile(info, s.file) {
		os.Remove(path)
	}
	s.file = nil
}

// boundTo is the address that a socket has, "" if it cannot be told.
func boundTo(fd int) string {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return ""
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrUnix:
		return "unix:" + sa.Name
	}
	return ""
}
