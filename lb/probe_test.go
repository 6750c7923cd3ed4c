package lb

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// listen accepts and counts connections on address until the test ends or the
// listener is closed.
func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l
}

// deaf returns the address of a socket that listens and completes no more
// connects: its accept queue is full, and so further SYNs are dropped.
func deaf(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*syscall.SockaddrInet4).Port}).String()
	for range 16 {
		c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("a queue of length 0 took 16 connections")
	return ""
}

func TestProbeTCP(t *testing.T) {
	dir := t.TempDir()
	gone := listen(t, "tcp", "127.0.0.1:0")
	_ = gone.Close()
	stale := filepath.Join(dir, "stale.sock")
	l := listen(t, "unix", stale)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	living := filepath.Join(dir, "living.sock")
	listen(t, "unix", living)

	for _, c := range []struct{ name, address, want string }{
		{"tcp4", listen(t, "tcp4", "127.0.0.1:0").Addr().String(), ""},
		{"tcp6", listen(t, "tcp6", "[::1]:0").Addr().String(), ""},
		{"unix", "unix:" + living, ""},
		{"nobody listens", gone.Addr().String(), "connect: connection refused"},
		{"stale unix", "unix:" + stale, "connect: connection refused"},
		{"no such file", "unix:" + filepath.Join(dir, "none.sock"), "connect: no such file or directory"},
		{"no answer", deaf(t), "connect: connection timed out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			err := ProbeTCP(ctx, c.address)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q; want %q", got, c.want)
			}
			if state := reasonOf(err).String(); state != "" && "connect: "+state != c.want {
				t.Errorf("reason is %q; want that of %q", state, c.want)
			}
		})
	}
}

func TestProbeTCPOfNoAddress(t *testing.T) {
	for _, address := range []string{"", "1.2.3.4", "unix:", "127.0.0.1:99999"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := ProbeTCP(ctx, address); err == nil {
			t.Errorf("%q: passed; want an error", address)
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ProbeTCP(ctx, "127.0.0.1:1"); err == nil || !errors.Is(err, context.Canceled) && err.Error() == "" {
		t.Errorf("canceled: got %v; want an error", err)
	}
}
