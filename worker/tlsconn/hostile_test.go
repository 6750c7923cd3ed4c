package tlsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
)

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
				if cap(c.in) > maxRecord {
					t.Errorf("%s: the buffer grew to %d bytes", name, cap(c.in))
				}
			})
		}
	}
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }
