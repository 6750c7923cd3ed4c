package probe

import (
	"context"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func closeAtOnce(net.Conn) {}

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

// All probes begin with a connect, and what is wrong with it they say alike.
func TestConnect(t *testing.T) {
	dir := t.TempDir()
	gone := serveConns(t, "tcp", "127.0.0.1:0", closeAtOnce)
	_ = gone.Close()
	stale := filepath.Join(dir, "stale.sock")
	l := serveConns(t, "unix", stale, closeAtOnce)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	living := filepath.Join(dir, "living.sock")
	serveConns(t, "unix", living, closeAtOnce)

	for _, c := range []struct{ name, address, want string }{
		{"tcp4", serveConns(t, "tcp4", "127.0.0.1:0", closeAtOnce).Addr().String(), ""},
		{"tcp6", serveConns(t, "tcp6", "[::1]:0", closeAtOnce).Addr().String(), ""},
		{"unix", "unix:" + living, ""},
		{"nobody listens", gone.Addr().String(), "connection refused"},
		{"stale unix", "unix:" + stale, "connection refused"},
		{"no such file", "unix:" + filepath.Join(dir, "none.sock"), "no such file or directory"},
		{"no answer", deaf(t), "connection timed out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for kind, p := range map[string]func(context.Context, string) error{
				"tcp": TCP, "http": (&HTTP{}).Probe, "grpc": (&GRPC{}).Probe,
			} {
				want := "connect: " + c.want
				if c.want == "" {
					if kind != "tcp" {
						continue // connecting is not enough
					}
					want = ""
				}
				text, why := verdict(t, 300*time.Millisecond, p, c.address)
				if text != want || why != c.want {
					t.Errorf("%s: got %q, reason %q; want %q, reason %q", kind, text, why, want, c.want)
				}
			}
		})
	}
}

func TestNoAddress(t *testing.T) {
	for _, address := range []string{"", "1.2.3.4", "unix:", "127.0.0.1:99999"} {
		if text, _ := verdict(t, time.Second, TCP, address); text == "" {
			t.Errorf("%q: passed; want an error", address)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, p := range []func(context.Context, string) error{TCP, (&HTTP{}).Probe, (&GRPC{}).Probe} {
		if err := p(ctx, "127.0.0.1:1"); err == nil {
			t.Error("canceled: passed; want an error")
		}
	}
}
