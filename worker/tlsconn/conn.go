package tlsconn

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
)

const (
	recordHeader = 5
	// RFC 8446 section 5.2: a protected record is at most this long. TLS 1.2
	// allows 2048 over 2^14 (RFC 5246 section 6.2.3).
	maxRecord = recordHeader + maxPlain + 2048
	maxPlain  = 16384 // RFC 8446 section 5.1
	// What the peer may make us say while it takes nothing: some hundred
	// answers to key updates.
	maxReplies = 16 << 10
)

var (
	errReplies = errors.New("peer asks for key updates and does not read the answers")
	errGone    = errors.New("peer is gone")
)

// A Conn is TLS over a loop.Conn. It is used by one coroutine at a time and
// owns the connection below.
type Conn struct {
	raw *loop.Conn
	tls *tls.Conn

	task     *loop.Task // waits during the handshake; nil after it
	deadline int64
	gate     *Gate // what bounds the steps of the handshake; nil: nothing
	stopped  error // why it ended, where crypto/tls would keep only the text

	in         []byte // received, not yet given to tls; nil: nothing
	start      int    // in[start:] is undelivered
	recordLeft int    // bytes of the present record not yet given to tls
	rawEnd     bool   // the socket is at its end
	more       bool   // tls may hold plaintext that the last read had no room for

	out     []byte // encrypted, not yet taken by the socket; nil: nothing
	replies int    // bytes that reading has put into out since it was empty
	broken  error  // why the socket will never take out

	identity   *ClientCertificate // see there
	identified bool
	session    *Session
}

// Client returns the client side of a TLS connection over raw.
func Client(raw *loop.Conn, config *tls.Config) *Conn {
	c := &Conn{raw: raw}
	c.tls = tls.Client((*adapter)(c), config)
	return c
}

// Raw returns the connection below, for waiting on it.
func (c *Conn) Raw() *loop.Conn { return c.raw }

// Handshake runs the handshake in t's coroutine.
func (c *Conn) Handshake(t *loop.Task, deadline int64) error {
	c.task, c.deadline = t, deadline
	err := c.tls.Handshake()
	if c.stopped != nil {
		err = c.stopped
	}
	for err == nil && len(c.out) > 0 {
		if err = c.Flush(); err == loop.ErrAgain {
			err = t.WaitAny(deadline, c.raw, nil)
		}
	}
	c.task, c.gate = nil, nil
	shrink(c.tls, 0) // what comes is smaller than a hello
	return err
}

// TryRead reads plaintext into b, which best has room for a whole record
// (16 KiB). It returns loop.ErrAgain if there is none yet, io.EOF after the
// peer's close_notify, and io.ErrUnexpectedEOF if the peer closed without one,
// which may be an attacker's truncation (RFC 8446 section 6.1).
func (c *Conn) TryRead(b []byte) (int, error) {
	kept := len(c.out)
	n, err := c.tls.Read(b)
	c.more = n == len(b)
	if len(c.out) > 0 { // an answer to a key update, or an alert
		c.replies += len(c.out) - kept
		_ = c.Flush() // the next write says if it fails; what was read is good
		if c.replies > maxReplies {
			return 0, errReplies
		}
	}
	switch {
	case n > 0:
		return n, nil
	case err == errAgain:
		return 0, loop.ErrAgain
	case err == io.EOF && c.rawEnd:
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// TryWrite encrypts all of b and sends what the socket takes; the rest is kept
// until Flush. While something is kept it returns loop.ErrAgain and takes
// nothing.
func (c *Conn) TryWrite(b []byte) (int, error) {
	if err := c.Flush(); err != nil {
		return 0, err
	}
	n, err := c.tls.Write(b)
	if c.broken != nil {
		return 0, c.broken
	}
	return n, err
}

// TryWritev is TryWrite of up to one record of several slices in turn: a head and
// the body behind it go out together, which costs half as much as one by one.
func (c *Conn) TryWritev(bufs ...[]byte) (int, error) {
	if len(bufs) == 1 {
		return c.TryWrite(bufs[0])
	}
	b := takeRecord()
	defer giveRecord(b)
	for _, p := range bufs {
		b = append(b, p[:min(len(p), maxPlain-len(b))]...)
	}
	return c.TryWrite(b)
}

// Flush sends what is kept; loop.ErrAgain says that some still is.
func (c *Conn) Flush() error {
	for len(c.out) > 0 {
		n, err := c.send(c.out)
		c.out = c.out[:copy(c.out, c.out[n:])]
		if err != nil {
			return err
		}
	}
	if c.out != nil {
		giveRecord(c.out)
		c.out = nil
	}
	c.replies = 0
	return nil
}

func (c *Conn) send(b []byte) (int, error) {
	if c.broken != nil {
		return 0, c.broken
	}
	n, err := c.raw.TryWrite(b)
	if err != nil && err != loop.ErrAgain {
		c.broken = err
	}
	return n, err
}

// Unsent reports whether encrypted bytes wait for Flush.
func (c *Conn) Unsent() bool { return len(c.out) > 0 }

// Readable reports whether TryRead may make progress. A piece of a record's
// header alone makes none.
func (c *Conn) Readable() bool {
	return c.more || len(c.in)-c.start >= recordHeader || c.raw.Readable()
}

// CloseWrite sends close_notify: the peer reads an end of file; reads go on. What
// the socket does not take at once waits for Flush.
func (c *Conn) CloseWrite() {
	_ = c.tls.CloseWrite() // fails only if the connection is broken, which reads say too
	_ = c.Flush()
}

// Close sends close_notify if the socket takes it at once, and closes.
func (c *Conn) Close() {
	if c.raw.Open() {
		_ = c.tls.Close()
		c.raw.Close()
		c.release()
	}
}

// Shrink gives back the memory that c does not need while it is idle. The next
// record takes it again, so it is for a connection that is to be parked.
func (c *Conn) Shrink() { shrink(c.tls, roomy) }

// release gives in back.
func (c *Conn) release() {
	if c.in != nil {
		giveRecord(c.in)
		c.in, c.start = nil, 0
	}
}

// adapter is what tls.Conn sees of a Conn.
type adapter Conn

// again is the temporary error that tls.Conn does not remember.
type again struct{}

func (again) Error() string   { return loop.ErrAgain.Error() }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

var errAgain error = again{}

// Read gives tls bytes of one record only.
func (a *adapter) Read(p []byte) (int, error) {
	for {
		have := a.in[a.start:]
		if a.recordLeft == 0 && len(have) >= recordHeader {
			a.recordLeft = recordHeader + int(binary.BigEndian.Uint16(have[3:]))
		}
		if n := min(len(p), len(have), a.recordLeft); n > 0 {
			copy(p, have[:n])
			a.start += n
			a.recordLeft -= n
			if a.start == len(a.in) {
				(*Conn)(a).release() // the handshake may wait in line now
			}
			return n, nil
		}
		if err := a.fill(); err != nil {
			return 0, err
		}
	}
}

// fill receives once into the free part of in.
func (a *adapter) fill() error {
	for waited := false; ; waited = true {
		if a.in == nil {
			a.in = takeRecord()
		}
		a.in = a.in[:copy(a.in, a.in[a.start:])]
		a.start = 0
		n, err := a.raw.TryRead(a.in[len(a.in):cap(a.in)])
		a.in = a.in[:len(a.in)+n]
		if len(a.in) == 0 {
			(*Conn)(a).release() // nobody knows for how long nothing comes
		}
		switch {
		case err == nil && waited && a.gate != nil:
			return a.gate.resume((*Conn)(a))
		case err == nil:
			return nil
		case err == io.EOF:
			a.rawEnd = true
			return err
		case err != loop.ErrAgain:
			return err
		case a.task == nil:
			return errAgain
		}
		// The peer waits for what the handshake has written, too.
		if err := (*Conn)(a).Flush(); err != nil && err != loop.ErrAgain {
			return err
		}
		if err := a.task.WaitAny(a.deadline, a.raw, nil); err != nil {
			return err
		}
	}
}

// Write takes all of p, at once or for later. It does not fail even if the socket
// does: tls, told so while it answers a key update, would not go over to the new
// key and could not read what the server has sent.
func (a *adapter) Write(p []byte) (int, error) {
	sent := 0
	if len(a.out) == 0 {
		sent, _ = (*Conn)(a).send(p)
	}
	if sent < len(p) {
		if a.out == nil {
			a.out = takeRecord()
		}
		a.out = append(a.out, p[sent:]...)
	}
	return len(p), nil
}

func (a *adapter) Close() error {
	a.raw.Close()
	return nil
}

// The rest of net.Conn. Deadlines are the coroutine's. A client without a server's
// name asks for its address, to keep a session by it: there is none.

func (a *adapter) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (a *adapter) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (a *adapter) SetDeadline(time.Time) error      { return nil }
func (a *adapter) SetReadDeadline(time.Time) error  { return nil }
func (a *adapter) SetWriteDeadline(time.Time) error { return nil }
