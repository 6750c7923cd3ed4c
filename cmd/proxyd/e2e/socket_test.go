package e2e

import (
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serveRaw runs serve on each connection to a new address. The connection is
// closed when serve returns or the test ends.
func serveRaw(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(loopback(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	conns := make(map[net.Conn]bool)
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// refused returns an address that refuses connections for as long as the test
// runs: it is bound, so that nobody else gets it, and does not listen.
func refused(t *testing.T) string {
	t.Helper()
	_, address := bound(t)
	return address
}

// deaf returns an address at which a connect is not answered at all: its queue
// is full, and nobody accepts.
func deaf(t *testing.T) string {
	t.Helper()
	fd, address := bound(t)
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	await(t, "a full queue", func() bool {
		c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err != nil
	})
	return address
}

// bound returns a socket that is bound to a free address and no more.
func bound(t *testing.T) (fd int, address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	sa := &unix.SockaddrInet4{Addr: [4]byte(net.ParseIP(loopback()).To4())}
	if err := unix.Bind(fd, sa); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := name.(*unix.SockaddrInet4).Port
	return fd, net.JoinHostPort(net.IP(sa.Addr[:]).String(), strconv.Itoa(port))
}

// abort closes a connection with RST.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails if it is closed already
	}
	c.Close()
}

// hang holds a connection until its peer ends it.
func hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
