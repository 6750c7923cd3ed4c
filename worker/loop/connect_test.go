package loop

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseAddr(t *testing.T) {
	for _, c := range []struct {
		in     string
		family int // 0: an error
	}{
		{"127.0.0.1:80", unix.AF_INET},
		{"[::1]:80", unix.AF_INET6},
		{"[::ffff:127.0.0.1]:80", unix.AF_INET},
		{"unix:/run/x.sock", unix.AF_UNIX},
		{"unix:" + strings.Repeat("x", 107), unix.AF_UNIX},
		{"unix:" + strings.Repeat("x", 108), 0},
		{"unix:", 0},
		{"", 0},
		{"127.0.0.1", 0},
		{"localhost:80", 0},
		{"[fe80::1%lo]:80", 0},
		{"127.0.0.1:65536", 0},
	} {
		a, err := ParseAddr(c.in)
		if (err == nil) != (c.family != 0) || a.family != c.family {
			t.Errorf("ParseAddr(%q): got family %d, %v; want %d", c.in, a.family, err, c.family)
		}
		if err == nil && a.String() != c.in {
			t.Errorf("ParseAddr(%q).String(): got %q", c.in, a)
		}
	}
}

func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{"127.0.0.1:80", "[::1]:80", "unix:/x", "[fe80::1%lo]:1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := ParseAddr(s); err == nil && (a.sa == nil || a.family == 0 || a.String() != s) {
			t.Errorf("ParseAddr(%q): got %+v", s, a)
		}
	})
}

func TestConnect(t *testing.T) {
	for _, c := range []struct{ network, address string }{
		{"tcp4", "127.0.0.1:0"},
		{"tcp6", "[::1]:0"},
		{"unix", filepath.Join(t.TempDir(), "s")},
	} {
		t.Run(c.network, func(t *testing.T) {
			s := listen(t, c.network, c.address)
			a := address(t, s.Addr())
			l := start(t)
			var conn Conn
			done := spawn(l, func(task *Task) {
				if err := task.Connect(&conn, a, task.After(patience)); err != nil {
					t.Error(err)
					return
				}
				if err := task.Write(&conn, []byte("hello"), 0); err != nil {
					t.Error(err)
				}
				conn.Close()
			})
			peer, err := s.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			if got, err := io.ReadAll(peer); string(got) != "hello" || err != nil {
				t.Errorf("server: got %q, %v", got, err)
			}
			await(t, done)
		})
	}
}

func TestConnectFails(t *testing.T) {
	s := listen(t, "tcp", "127.0.0.1:0")
	refusing := address(t, s.Addr())
	s.Close()
	missing, err := ParseAddr("unix:" + filepath.Join(t.TempDir(), "missing"))
	if err != nil {
		t.Fatal(err)
	}
	l := start(t)
	await(t, spawn(l, func(task *Task) {
		for _, c := range []struct {
			addr Addr
			want error
		}{{refusing, syscall.ECONNREFUSED}, {missing, syscall.ENOENT}} {
			var conn Conn
			err := task.Connect(&conn, c.addr, task.After(patience))
			if !errors.Is(err, c.want) || conn.Open() {
				t.Errorf("Connect to %v: got %v, open %v; want %v", c.addr, err, conn.Open(), c.want)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "connect: ") {
				t.Errorf("Connect to %v: got %q; want the call's name first", c.addr, err)
			}
		}
	}))
}

// backlogged returns a socket that listens with the shortest queue there is.
func backlogged(t *testing.T, sa unix.Sockaddr, family int) int {
	t.Helper()
	fd, err := newSocket(family)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, sa), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	return fd
}

// A server whose queue is full does not answer.
func TestConnectDeadline(t *testing.T) {
	fd := backlogged(t, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, unix.AF_INET)
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	a := address(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*unix.SockaddrInet4).Port})
	l := start(t)
	await(t, spawn(l, func(task *Task) {
		var conns [16]Conn
		for i := range conns {
			until := task.After(30 * time.Millisecond)
			err := task.Connect(&conns[i], a, until)
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrDeadline) || task.Now() < until || conns[i].Open() {
				t.Errorf("got %v, open %v; want %v", err, conns[i].Open(), ErrDeadline)
			}
			return
		}
		t.Error("a queue of length 0 took 16 connections")
	}))
}

// connect(2) of a unix socket with a full queue says EAGAIN, and no event tells
// when there is room.
func TestConnectWaitsForRoomInUnixQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd := backlogged(t, &unix.SockaddrUnix{Name: path}, unix.AF_UNIX)
	a, err := ParseAddr("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	l := start(t)
	full := make(chan struct{})
	done := spawn(l, func(task *Task) {
		var conns [8]Conn
		for i := range conns {
			err := task.Connect(&conns[i], a, task.After(20*time.Millisecond))
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrDeadline) || conns[i].Open() {
				t.Errorf("got %v, open %v; want %v", err, conns[i].Open(), ErrDeadline)
			}
			break
		}
		close(full)
		var c Conn
		if err := task.Connect(&c, a, task.After(patience)); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
	await(t, full)
	taken, _, err := unix.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(taken)
	await(t, done)
}

func TestSelfConnected(t *testing.T) {
	for _, loopback := range []unix.Sockaddr{
		&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}},
		&unix.SockaddrInet6{Addr: [16]byte{15: 1}},
	} {
		family := unix.AF_INET
		if _, ok := loopback.(*unix.SockaddrInet6); ok {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Skipf("no sockets of family %d: %v", family, err)
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, loopback); err != nil {
			t.Skipf("bind: %v", err)
		}
		own, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, own); err != nil {
			t.Fatal(err)
		}
		if !selfConnected(fd) {
			t.Errorf("connected to itself at %+v: got false", own)
		}
	}
	l := start(t)
	c, _ := tcpPair(t, l)
	u, _ := pair(t, l)
	if selfConnected(c.FD()) || selfConnected(u.FD()) {
		t.Error("two sockets: got true")
	}
}
