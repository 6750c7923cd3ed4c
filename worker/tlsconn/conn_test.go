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

// A piece of a record's header is nothing to read yet.
func TestPieceOfHeader(t *testing.T) {
	for name, version := range versions {
		more := make(chan struct{})
		a := rawServer(t, "tcp", func(raw net.Conn) {
			config := &tls.Config{Certificates: []tls.Certificate{originCert}, SessionTicketsDisabled: true}
			s := tls.Server(raw, config)
			_ = s.Handshake()
			_, _ = raw.Write([]byte{23, 3, 3})
			<-more
			_, _ = raw.Write([]byte{0, 1, 0}) // a record that is none
		})
		run(t, start(t), func(task *loop.Task) {
			defer close(more)
			c, err := dial(task, a, trusting(version))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			b := make([]byte, 1)
			for len(c.in)-c.start < 3 {
				if n, err := c.TryRead(b); n != 0 || err != loop.ErrAgain {
					t.Errorf("%s: got %d, %v; want %v", name, n, err, loop.ErrAgain)
					return
				}
				if len(c.in)-c.start < 3 && task.WaitAny(task.After(patience), c.Raw(), nil) != nil {
					t.Errorf("%s: nothing came", name)
					return
				}
			}
			if c.Readable() {
				t.Errorf("%s: Readable with 3 bytes of a header", name)
			}
			more <- struct{}{}
			if _, err := read(task, c, b); err == nil || err == io.EOF {
				t.Errorf("%s: a forged record: got %v", name, err)
			}
		})
	}
}

// A cutter ends the connection after some more bytes.
type cutter struct {
	net.Conn
	left int // -1: no end yet
}

func (c *cutter) Write(b []byte) (int, error) {
	if c.left < 0 {
		return c.Conn.Write(b)
	}
	n, err := c.Conn.Write(b[:min(c.left, len(b))])
	if c.left -= n; c.left == 0 {
		return n, io.ErrClosedPipe
	}
	return n, err
}

// An end without close_notify is never taken for the end of the data, wherever in
// or between records it is.
func TestTruncation(t *testing.T) {
	for name, version := range versions {
		for _, after := range []int{0, 1, 4, 5, 6, 500, 1021, 1022, 1023, 1029, 1100, 2000} {
			a := rawServer(t, "tcp", func(raw net.Conn) {
				cut := &cutter{raw, -1}
				s := tls.Server(cut, &tls.Config{Certificates: []tls.Certificate{originCert}})
				if s.Handshake() != nil {
					return
				}
				_, _ = s.Read(make([]byte, 2)) // its input is read, so it ends with FIN, not RST
				if cut.left = after; after == 0 {
					return
				}
				for range 3 {
					if _, err := s.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
						return
					}
				}
			})
			run(t, start(t), func(task *loop.Task) {
				c, err := dial(task, a, trusting(version))
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if err := write(task, c, []byte("go")); err != nil {
					t.Error(err)
				}
				got, err := readAll(task, c, 16<<10)
				if err != io.ErrUnexpectedEOF || len(got) > after {
					t.Errorf("%s, cut after %d bytes: got %d bytes, %v; want %v", name, after, len(got), err, io.ErrUnexpectedEOF)
				}
				if _, err := c.TryRead(make([]byte, 1)); err != io.ErrUnexpectedEOF {
					t.Errorf("%s, cut after %d bytes, again: got %v; want %v", name, after, err, io.ErrUnexpectedEOF)
				}
			})
		}
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

func TestHandshakeDeadline(t *testing.T) {
	servers := map[string]func(net.Conn){
		"silent": func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"dribbling": func(c net.Conn) {
			if _, err := c.Write([]byte{22, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc}); err != nil {
				return
			}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if _, err := c.Write([]byte{3}); err != nil {
					return
				}
			}
		},
	}
	for name, handle := range servers {
		a := rawServer(t, "tcp", handle)
		run(t, start(t), func(task *loop.Task) {
			raw := new(loop.Conn)
			if err := task.Connect(raw, a, task.After(patience)); err != nil {
				t.Error(err)
				return
			}
			c := Client(raw, trusting(tls.VersionTLS13))
			until := task.After(50 * time.Millisecond)
			if err := c.Handshake(task, until); err != loop.ErrDeadline || task.Now() < until {
				t.Errorf("%s: got %v; want %v", name, err, loop.ErrDeadline)
			}
			c.Close()
			if raw.Open() {
				t.Errorf("%s: open after Close", name)
			}
		})
	}
}

// Servers that do not speak TLS, or break it, make an error and nothing else.
func TestServerSpeaksNonsense(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"HTTP":             []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"nothing":          nil,
		"zeroes":           make([]byte, 10_000),
		"empty records":    []byte(strings.Repeat("\x16\x03\x03\x00\x00", 1000)),
		"long record":      append([]byte{22, 3, 3, 0xff, 0xff}, make([]byte, 70_000)...),
		"unasked data":     append([]byte{23, 3, 3, 0, 10}, make([]byte, 10)...),
		"half a record":    {22, 3, 3, 0, 100, 2, 0},
		"half a header":    {22, 3},
		"alert":            {21, 3, 3, 0, 2, 2, 40},
		"close_notify":     {21, 3, 3, 0, 2, 1, 0},
		"endless warnings": []byte(strings.Repeat("\x15\x03\x03\x00\x02\x01\x5a", 1000)),
		"huge message":     append([]byte{22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff}, make([]byte, 16<<10)...),
	} {
		a := rawServer(t, "tcp", func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4<<10))
			_, _ = c.Write(bytes)
		})
		run(t, start(t), func(task *loop.Task) {
			c, err := dial(task, a, trusting(tls.VersionTLS13))
			if err == nil || errors.Is(err, loop.ErrDeadline) {
				t.Errorf("%s: got %v; want an error", name, err)
			}
			if c != nil {
				c.Close()
			}
		})
	}
}

// A record may claim any length; more than TLS allows is refused at once.
func TestOversizedRecord(t *testing.T) {
	for name, version := range versions {
		for _, length := range []int{16384 + 2048 + 1, 65535} {
			a := rawServer(t, "tcp", func(raw net.Conn) {
				s := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{originCert}})
				if s.Handshake() != nil {
					return
				}
				_, _ = raw.Write([]byte{23, 3, 3, byte(length >> 8), byte(length)})
				_, _ = io.Copy(raw, io.LimitReader(zeroes{}, int64(length)))
			})
			run(t, start(t), func(task *loop.Task) {
				c, err := dial(task, a, trusting(version))
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				var record tls.RecordHeaderError
				if _, err := readAll(task, c, 4<<10); !errors.As(err, &record) {
					t.Errorf("%s, record of %d bytes: got %v; want a RecordHeaderError", name, length, err)
				}
				if cap(c.in) != maxRecord {
					t.Errorf("%s: the buffer grew to %d bytes", name, cap(c.in))
				}
			})
		}
	}
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

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
