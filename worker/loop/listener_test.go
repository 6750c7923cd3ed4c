package loop

import (
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An echoer is a connection that gets back what it sends, parked in between.
type echoer struct {
	Conn
	t testing.TB
}

func (e *echoer) Wake(c *Conn, _ bool) { c.loop.Spawn(e) }

func (e *echoer) Run(t *Task) {
	b := make([]byte, 4<<10)
	for {
		n, err := e.TryRead(b)
		if err == ErrAgain {
			e.Park(e, nil)
			return
		}
		if err == nil {
			err = t.Write(&e.Conn, b[:n], t.After(patience))
		}
		if err != nil {
			if err != io.EOF {
				e.t.Errorf("echo: %v", err)
			}
			e.Close()
			return
		}
	}
}

func (e *echoer) Crashed(v any, stack []byte) { panic(string(stack)) }

// echo makes l an echo server on s.
func echo(t testing.TB, l *Loop, s net.Listener) {
	t.Helper()
	fd := dup(t, s.(syscall.Conn))
	var accept *Listener
	on(t, l, func() {
		var err error
		accept, err = l.Listen(fd, func(fd int, _ netip.AddrPort) {
			e := &echoer{t: t}
			if err := l.Register(&e.Conn, fd); err != nil {
				t.Error(err)
				return
			}
			e.Park(e, nil)
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		on(t, l, func() { accept.Close() })
		unix.Close(fd) // the loop does not own it
	})
}

func TestEchoOverEachFamily(t *testing.T) {
	for _, c := range []struct{ network, address string }{
		{"tcp4", "127.0.0.1:0"},
		{"tcp6", "[::1]:0"},
		{"unix", filepath.Join(t.TempDir(), "s")},
	} {
		t.Run(c.network, func(t *testing.T) {
			s := listen(t, c.network, c.address)
			l := start(t)
			echo(t, l, s)
			var all sync.WaitGroup
			for i := range 30 {
				conn := dial(t, s.Addr())
				all.Go(func() {
					defer conn.Close()
					for size := 1; size <= 100_000; size *= 10 {
						if err := exchange(conn, size, byte(i)); err != nil {
							t.Errorf("connection %d, %d bytes: %v", i, size, err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// exchange sends size bytes and wants them back.
func exchange(c net.Conn, size int, fill byte) error {
	out := make([]byte, size)
	for i := range out {
		out[i] = fill + byte(i)
	}
	sent := make(chan error, 1)
	go func() { _, err := c.Write(out); sent <- err }()
	in := make([]byte, size)
	if _, err := io.ReadFull(c, in); err != nil {
		c.Close()
		<-sent
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	for i := range in {
		if in[i] != out[i] {
			return &OpError{"compare", io.ErrNoProgress}
		}
	}
	return nil
}

// Both ends of 1,500 connections are on one loop.
func TestManyConnections(t *testing.T) {
	s := listen(t, "tcp", "127.0.0.1:0")
	l := start(t)
	echo(t, l, s)
	a := address(t, s.Addr())
	const clients, rounds = 1500, 4
	left := clients
	done := make(chan struct{})
	on(t, l, func() {
		for i := range clients {
			l.Spawn(&job{run: func(task *Task) {
				defer func() {
					if left--; left == 0 {
						close(done)
					}
				}()
				var c Conn
				if err := task.Connect(&c, a, task.After(patience)); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				defer c.Close()
				b := make([]byte, 16)
				for round := range rounds {
					out := []byte{byte(i), byte(i >> 8), byte(round)}
					if err := task.Write(&c, out, task.After(patience)); err != nil {
						t.Errorf("client %d: %v", i, err)
						return
					}
					n, err := task.Read(&c, b, task.After(patience))
					if string(b[:n]) != string(out) || err != nil {
						t.Errorf("client %d: got %v, %v; want %v", i, b[:n], err, out)
						return
					}
				}
			}})
		}
	})
	await(t, done)
	eventually(t, l, "the server's ends are closed", func() bool {
		for _, c := range l.conns {
			if c != nil {
				return false
			}
		}
		return true
	})
}

func TestPeerAddress(t *testing.T) {
	for _, c := range []struct{ network, address string }{
		{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"tcp", "[::]:0"}, {"unix", filepath.Join(t.TempDir(), "s")},
	} {
		t.Run(c.network, func(t *testing.T) {
			s := listen(t, c.network, c.address)
			l := start(t)
			got := make(chan netip.AddrPort, 1)
			fd := dup(t, s.(syscall.Conn))
			defer unix.Close(fd)
			var accept *Listener
			on(t, l, func() {
				accept, _ = l.Listen(fd, func(fd int, peer netip.AddrPort) {
					closeFD(int32(fd))
					got <- peer
				})
			})
			defer on(t, l, func() { accept.Close() })
			to := s.Addr()
			if c.address == "[::]:0" { // dual stack: an IPv4 client is told as one
				to = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to.(*net.TCPAddr).Port}
			}
			conn := dial(t, to)
			var want netip.AddrPort
			if own, ok := conn.LocalAddr().(*net.TCPAddr); ok {
				want = netip.AddrPortFrom(own.AddrPort().Addr().Unmap(), uint16(own.Port))
			}
			if peer := <-got; peer != want {
				t.Errorf("peer: got %v; want %v", peer, want)
			}
		})
	}
}

// counting listens on s with l and counts what it takes, closing it.
func counting(t *testing.T, l *Loop, s net.Listener) (*Listener, *int) {
	t.Helper()
	fd := dup(t, s.(syscall.Conn))
	n := new(int)
	var accept *Listener
	on(t, l, func() {
		var err error
		if accept, err = l.Listen(fd, func(fd int, _ netip.AddrPort) { *n++; closeFD(int32(fd)) }); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		on(t, l, func() { accept.Close() })
		unix.Close(fd)
	})
	return accept, n
}

func TestPauseResumeDrainClose(t *testing.T) {
	s := listen(t, "tcp", "127.0.0.1:0")
	l := start(t)
	accept, n := counting(t, l, s)
	on(t, l, func() { accept.Pause(); accept.Pause() })
	for range 20 {
		dial(t, s.Addr())
	}
	on(t, l, func() {
		if accept.Drain(); *n != 0 {
			t.Errorf("paused: took %d", *n)
		}
		for range 2 {
			if err := accept.Resume(); err != nil {
				t.Error(err)
			}
		}
	})
	eventually(t, l, "20 are taken", func() bool { return *n == 20 })
	accepted := make(chan struct{})
	on(t, l, func() { // 20 more arrive inside one turn
		go func() {
			defer close(accepted)
			for range 20 {
				if c, err := net.Dial("tcp", s.Addr().String()); err == nil {
					defer c.Close()
				}
			}
		}()
		<-accepted
		accept.Drain()
		if *n != 40 {
			t.Errorf("Drain: got %d; want 40", *n)
		}
		accept.Close()
		accept.Close()
	})
	dial(t, s.Addr())
	conn, err := s.Accept() // the socket is open still, and nobody else takes it
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	on(t, l, func() {
		if *n != 40 || len(l.listeners) != 0 {
			t.Errorf("closed: took %d, %d listeners left", *n-40, len(l.listeners))
		}
	})
}

// The handler may pause its own listener, and the queue waits.
func TestHandlerPauses(t *testing.T) {
	s := listen(t, "tcp", "127.0.0.1:0")
	l := start(t)
	fd := dup(t, s.(syscall.Conn))
	defer unix.Close(fd)
	n := 0
	var accept *Listener
	on(t, l, func() {
		accept, _ = l.Listen(fd, func(fd int, _ netip.AddrPort) {
			n++
			closeFD(int32(fd))
			accept.Pause()
		})
	})
	for range 3 {
		dial(t, s.Addr())
	}
	for want := 1; want <= 3; want++ {
		eventually(t, l, "one is taken", func() bool { return n == want })
		on(t, l, func() {
			if n != want {
				t.Errorf("took %d; want %d", n, want)
			}
			if err := accept.Resume(); err != nil {
				t.Error(err)
			}
		})
	}
	on(t, l, accept.Close)
}

// A listening socket that was shut down is left alone, without spinning.
func TestListenerThatWasShutDown(t *testing.T) {
	s := listen(t, "tcp", "127.0.0.1:0")
	l := start(t)
	accept, _ := counting(t, l, s)
	if err := unix.Shutdown(int(accept.fd), unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	eventually(t, l, "it is paused", func() bool { return !accept.active })
	on(t, l, func() {
		if accept.retry.index != 0 || l.Stats().Pauses != 0 {
			t.Errorf("got retry %v, %d pauses; want it left alone", accept.retry.index != 0, l.Stats().Pauses)
		}
	})
}

// Registering a listening socket can fail for want of memory or watches; here
// for want of a socket. It is tried again by itself.
func TestResumeRetries(t *testing.T) {
	s := listen(t, "tcp", "127.0.0.1:0")
	l := start(t)
	accept, n := counting(t, l, s)
	on(t, l, func() {
		accept.Pause()
		good := accept.fd
		accept.fd = -1
		if err := accept.Resume(); err == nil {
			t.Error("Resume of no descriptor: got nil")
		}
		accept.fd = good
	})
	dial(t, s.Addr())
	eventually(t, l, "it is taken", func() bool { return *n == 1 })

	on(t, l, func() { // and Pause ends that, too
		accept.pauseFor(time.Nanosecond)
		accept.Pause()
	})
	on(t, l, func() {
		if accept.active {
			t.Error("resumed after Pause")
		}
	})
	on(t, l, func() {
		before := len(l.timers)
		if _, err := l.Listen(-1, nil); err == nil || len(l.listeners) != 1 || len(l.timers) != before {
			t.Errorf("Listen on no descriptor: got %v, %d listeners, %d timers", err, len(l.listeners), len(l.timers)-before)
		}
	})
}

// Two loops share one listening socket; each connection is one loop's.
func TestTwoLoopsShareAListener(t *testing.T) {
	s := listen(t, "tcp", "127.0.0.1:0")
	echo(t, start(t), s)
	echo(t, start(t), s)
	var all sync.WaitGroup
	var failed atomic.Int32
	for i := range 8 {
		all.Go(func() {
			for range 40 {
				c, err := net.DialTimeout("tcp", s.Addr().String(), patience)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				if err := exchange(c, 100, byte(i)); err != nil {
					failed.Add(1)
				}
				c.Close()
			}
		})
	}
	all.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("failed exchanges: got %d of 320; want 0", n)
	}
}

// Under little load, too, both loops get connections.
func TestLoopsTakeTurns(t *testing.T) {
	s := listen(t, "tcp", "127.0.0.1:0")
	loops := []*Loop{start(t), start(t)}
	var counts []*int
	for _, l := range loops {
		_, n := counting(t, l, s)
		counts = append(counts, n)
	}
	const most = 200
	got := make([]int, len(loops))
	for i := 0; i < most && (got[0] < 5 || got[1] < 5); i++ {
		c := dial(t, s.Addr())
		if _, err := io.Copy(io.Discard, c); err != nil { // until it was taken, and closed
			t.Fatal(err)
		}
		c.Close()
		<-time.After(acceptTurn)
		for k, l := range loops {
			on(t, l, func() { got[k] = *counts[k] })
		}
	}
	if got[0] < 5 || got[1] < 5 {
		t.Errorf("connections taken by each of two loops: got %d; want at least 5 of %d each", got, most)
	}
}
