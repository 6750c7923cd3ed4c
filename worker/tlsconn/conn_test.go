package tlsconn

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
	"golang.org/x/sys/unix"
)

// echo sends back what comes.
func echo(c *tls.Conn) { _, _ = io.Copy(c, c) }

// random returns n bytes, the same for the same seed.
func random(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestEcho(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			a := server(t, nil, echo)
			run(t, start(t), func(task *loop.Task) {
				c, err := dial(task, a, trusting(version))
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if got := c.State().Version; got != version {
					t.Errorf("version: got %x; want %x", got, version)
				}
				for _, size := range []int{1, 100, 16 << 10, 16<<10 + 1, 100_000} {
					for _, buffer := range []int{1000, 16 << 10, 40_000} {
						out := random(size, uint64(size))
						if err := write(task, c, out); err != nil {
							t.Errorf("%d bytes: %v", size, err)
							return
						}
						var got []byte
						for b := make([]byte, buffer); len(got) < size; {
							n, err := read(task, c, b)
							if err != nil {
								t.Errorf("%d bytes: %v after %d", size, err, len(got))
								return
							}
							got = append(got, b[:n]...)
						}
						if !bytes.Equal(got, out) {
							t.Errorf("%d bytes through a buffer of %d: got others back", size, buffer)
						}
					}
				}
			})
		})
	}
}

// Plaintext that a small buffer had no room for is there without an event.
func TestReadableWithoutEvent(t *testing.T) {
	for name, version := range versions {
		a := server(t, nil, func(c *tls.Conn) {
			_, _ = io.WriteString(c, "three records")
			_, _ = io.WriteString(c, ", one ")
			_, _ = io.WriteString(c, "end")
			_, _ = io.Copy(io.Discard, c)
		})
		run(t, start(t), func(task *loop.Task) {
			c, err := dial(task, a, trusting(version))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			var got []byte
			b := make([]byte, 1)
			for len(got) < len("three records, one end") {
				n, err := c.TryRead(b)
				if err == loop.ErrAgain {
					if c.Readable() {
						t.Errorf("%s: Readable, but TryRead says %v after %q", name, err, got)
					}
					err = task.WaitAny(task.After(patience), c.Raw(), nil)
				}
				if err != nil {
					t.Errorf("%s: %v after %q", name, err, got)
					return
				}
				got = append(got, b[:n]...)
			}
			if string(got) != "three records, one end" {
				t.Errorf("%s: got %q", name, got)
			}
			if n, err := c.TryRead(b); n != 0 || err != loop.ErrAgain || c.Readable() {
				t.Errorf("%s: nothing more: got %d, %v, readable %v", name, n, err, c.Readable())
			}
		})
	}
}

func TestResumption(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			a := server(t, nil, echo)
			config := trusting(version)
			config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			run(t, start(t), func(task *loop.Task) {
				for i := range 3 {
					c, err := dial(task, a, config)
					if err != nil {
						t.Errorf("connection %d: %v", i, err)
						return
					}
					if got := c.State().DidResume; got != (i > 0) {
						t.Errorf("connection %d: resumed: got %v", i, got)
					}
					b := []byte("ping")
					if err := errors.Join(write(task, c, b), readFull(task, c, b)); err != nil {
						t.Errorf("connection %d: %v", i, err)
					}
					c.Close()
				}
			})
		})
	}
}

// What is sent in place of data after the handshake, such as session tickets, is
// read without an end and without a byte.
func TestTicketsAreNoData(t *testing.T) {
	a := server(t, nil, func(c *tls.Conn) { _ = c.Handshake(); _, _ = io.Copy(io.Discard, c) })
	run(t, start(t), func(task *loop.Task) {
		config := trusting(tls.VersionTLS13)
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		c, err := dial(task, a, config)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		cached := func() bool { _, ok := config.ClientSessionCache.Get(originName); return ok }
		for end := task.After(patience); !cached() && task.Now() < end; {
			if n, err := c.TryRead(make([]byte, 1)); n != 0 || err != loop.ErrAgain || c.Readable() {
				t.Errorf("got %d, %v, readable %v; want %v", n, err, c.Readable(), loop.ErrAgain)
				return
			}
			if !cached() {
				_ = task.WaitAny(end, c.Raw(), nil)
			}
		}
		if !cached() {
			t.Error("no ticket came")
		}
	})
}

func TestServerIsNotWhoItShouldBe(t *testing.T) {
	for name, version := range versions {
		a := server(t, nil, func(c *tls.Conn) { _ = c.Handshake() })
		run(t, start(t), func(task *loop.Task) {
			wrong := trusting(version)
			wrong.ServerName = "other.test"
			_, err := dial(task, a, wrong)
			var host x509.HostnameError
			if !errors.As(err, &host) {
				t.Errorf("%s: another name: got %v; want a HostnameError", name, err)
			}
			stranger := trusting(version)
			stranger.RootCAs = x509.NewCertPool()
			_, err = dial(task, a, stranger)
			var unknown x509.UnknownAuthorityError
			if !errors.As(err, &unknown) {
				t.Errorf("%s: an unknown authority: got %v; want an UnknownAuthorityError", name, err)
			}
		})
	}
}

// A dribbler writes one byte at a time.
type dribbler struct{ net.Conn }

func (d dribbler) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := d.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
		runtime.Gosched()
	}
	return len(b), nil
}

func TestBytesOneAtATime(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			a := rawServer(t, "tcp", func(raw net.Conn) {
				c := tls.Server(dribbler{raw}, &tls.Config{Certificates: []tls.Certificate{originCert}})
				echo(c)
				_ = c.Close()
			})
			run(t, start(t), func(task *loop.Task) {
				c, err := dial(task, a, trusting(version))
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				out := random(3000, 1)
				got := make([]byte, len(out))
				if err := errors.Join(write(task, c, out), readFull(task, c, got)); err != nil || !bytes.Equal(got, out) {
					t.Errorf("echo: %v, same bytes: %v", err, bytes.Equal(got, out))
				}
			})
		})
	}
}

func TestCloseNotify(t *testing.T) {
	for name, version := range versions {
		ended := make(chan error, 1)
		a := server(t, nil, func(c *tls.Conn) {
			_, _ = io.WriteString(c, "all of it")
			_ = c.CloseWrite()
			_, err := io.Copy(io.Discard, c)
			ended <- err
		})
		run(t, start(t), func(task *loop.Task) {
			c, err := dial(task, a, trusting(version))
			if err != nil {
				t.Error(err)
				ended <- nil
				return
			}
			got, err := readAll(task, c, 4)
			if string(got) != "all of it" || err != io.EOF {
				t.Errorf("%s: got %q, %v; want all of it, %v", name, got, err, io.EOF)
			}
			if _, err := c.TryRead(make([]byte, 1)); err != io.EOF {
				t.Errorf("%s, again: got %v; want %v", name, err, io.EOF)
			}
			if err := write(task, c, []byte("still heard")); err != nil {
				t.Errorf("%s: write after the peer's end: %v", name, err)
			}
			c.Close()
			c.Close()
			if c.Raw().Open() {
				t.Errorf("%s: open after Close", name)
			}
			if _, err := c.TryWrite([]byte("x")); err == nil {
				t.Errorf("%s: TryWrite after Close: got nil", name)
			}
		})
		if err := <-ended; err != nil {
			t.Errorf("%s: the server's read: got %v; want a clean end", name, err)
		}
	}
}

// Much moves both ways at once while the server reads slowly and either side's
// socket refuses writes again and again.
func TestLargeTransfersBothWays(t *testing.T) {
	const size, chunk = 4 << 20, 32 << 10
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			up, down := random(size, 5), random(size, 6)
			sum := make(chan [32]byte, 1)
			a := server(t, nil, func(c *tls.Conn) {
				_ = c.NetConn().(*net.TCPConn).SetReadBuffer(32 << 10)
				written := make(chan struct{})
				go func() {
					defer close(written)
					_, _ = c.Write(down)
					_ = c.CloseWrite()
				}()
				h := sha256.New()
				for b := make([]byte, 1500); ; runtime.Gosched() {
					n, err := c.Read(b)
					h.Write(b[:n])
					if err != nil {
						break
					}
				}
				<-written
				sum <- [32]byte(h.Sum(nil))
			})
			run(t, start(t), func(task *loop.Task) {
				c, err := dial(task, a, trusting(version))
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				_ = unix.SetsockoptInt(c.Raw().FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, 32<<10)
				refused := transfer(t, task, c, up, down, chunk)
				if refused == 0 {
					t.Error("no write was refused: the test does not test it")
				}
				if cap(c.out) > 4*chunk {
					t.Errorf("kept for the socket: got room for %d bytes; want no more than a write needs", cap(c.out))
				}
			})
			if got := <-sum; got != sha256.Sum256(up) {
				t.Error("the server got other bytes than were sent")
			}
		})
	}
}

// transfer writes up and reads down, in one coroutine, and returns how many
// writes were refused.
func transfer(t *testing.T, task *loop.Task, c *Conn, up, down []byte, chunk int) (refused int) {
	var got []byte
	b := make([]byte, 10_000)
	for ended := false; len(up) > 0 || c.Unsent() || !ended; {
		moved := false
		if len(up) > 0 || c.Unsent() {
			n, err := c.TryWrite(up[:min(chunk, len(up))])
			up = up[n:]
			if err == loop.ErrAgain {
				refused++
			} else if err != nil {
				t.Errorf("TryWrite: %v", err)
				return refused
			}
			moved = n > 0
		}
		if !ended {
			n, err := c.TryRead(b)
			got = append(got, b[:n]...)
			moved = moved || n > 0
			ended = err == io.EOF
			if err != nil && err != loop.ErrAgain && err != io.EOF {
				t.Errorf("TryRead: %v", err)
				return refused
			}
		}
		if !moved && (len(up) > 0 || c.Unsent() || !ended) {
			if err := task.WaitAny(task.After(patience), c.Raw(), nil); err != nil {
				t.Errorf("%d bytes to go up, %d of %d came down: %v", len(up), len(got), len(down), err)
				return refused
			}
		}
	}
	if !bytes.Equal(got, down) {
		t.Errorf("got %d bytes, and others than were sent", len(got))
	}
	return refused
}

// What the socket refuses of a handshake is sent before its answer is awaited.
func TestHandshakeLargerThanTheSocketTakes(t *testing.T) {
	a := server(t, nil, echo)
	run(t, start(t), func(task *loop.Task) {
		raw := new(loop.Conn)
		if err := task.Connect(raw, a, task.After(patience)); err != nil {
			t.Error(err)
			return
		}
		_ = unix.SetsockoptInt(raw.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, 1) // the kernel's least
		config := trusting(tls.VersionTLS13)
		for range 200 {
			config.NextProtos = append(config.NextProtos, strings.Repeat("x", 200)) // 40 KB of hello
		}
		c := Client(raw, config)
		defer c.Close()
		if err := c.Handshake(task, task.After(10*time.Second)); err != nil {
			t.Errorf("Handshake: %v", err)
			return
		}
		b := []byte("ping")
		if err := errors.Join(write(task, c, b), readFull(task, c, b)); err != nil {
			t.Error(err)
		}
	})
}

// Close does not wait for room, and does not mind being early.
func TestCloseAtAnyTime(t *testing.T) {
	release := make(chan struct{})
	a := server(t, nil, func(c *tls.Conn) { _ = c.Handshake(); <-release })
	run(t, start(t), func(task *loop.Task) {
		defer close(release)
		raw := new(loop.Conn)
		if err := task.Connect(raw, a, task.After(patience)); err != nil {
			t.Error(err)
			return
		}
		Client(raw, trusting(tls.VersionTLS13)).Close() // before the handshake
		if raw.Open() {
			t.Error("open after Close")
		}
		c, err := dial(task, a, trusting(tls.VersionTLS13))
		if err != nil {
			t.Error(err)
			return
		}
		for big := make([]byte, 32<<10); !c.Unsent(); {
			if _, err := c.TryWrite(big); err != nil {
				t.Errorf("TryWrite: %v", err)
				break
			}
		}
		if n, err := c.TryWrite([]byte("x")); n != 0 || err != loop.ErrAgain {
			t.Errorf("TryWrite without room: got %d, %v; want %v", n, err, loop.ErrAgain)
		}
		c.Close()
		if c.Raw().Open() {
			t.Error("open after Close")
		}
	})
}
