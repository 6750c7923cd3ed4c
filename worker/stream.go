package worker

import (
	"github.com/proxyd/proxyd/worker/http2"
	"github.com/proxyd/proxyd/worker/loop"
	"github.com/proxyd/proxyd/worker/tlsconn"
)

// A stream is a connection to a client or a server: plain, TLS, or one stream of
// an HTTP/2 connection, which speaks HTTP/1.1 like the others. Of that, Conn is
// not open: events wake the task.
type stream struct {
	loop.Conn
	tls    *tlsconn.Conn // nil: plain; of an HTTP/2 stream, below its connection
	h2     *http2.Stream // nil: HTTP/1
	corked bool          // the kernel may hold the last bytes back for the FIN
}

func (s *stream) tryRead(b []byte) (int, error) {
	switch {
	case s.h2 != nil:
		n, err := s.h2.TryRead(b)
		return n, fromHTTP2(err)
	case s.tls != nil:
		return s.tls.TryRead(b)
	}
	return s.TryRead(b)
}

// tryWrite sends what the connection takes of up to four slices in turn.
func (s *stream) tryWrite(v *vector) (int, error) {
	switch {
	case s.h2 != nil:
		n, err := s.h2.TryWrite(v.bufs[:v.n]...)
		return n, fromHTTP2(err)
	case s.tls != nil:
		return s.tls.TryWritev(v.bufs[:v.n]...)
	case v.n == 1:
		return s.TryWrite(v.bufs[0])
	}
	return s.TryWritev(v.bufs[:v.n]...)
}

// fromHTTP2 returns err, with the loop's word for having to wait.
func fromHTTP2(err error) error {
	if err == http2.ErrAgain {
		return loop.ErrAgain
	}
	return err
}

// tryWriteLast is tryWrite of what the connection is closed after.
func (s *stream) tryWriteLast(v *vector) (int, error) {
	if s.tls != nil || s.h2 != nil {
		return s.tryWrite(v)
	}
	s.corked = true
	return s.TryWriteLast(v.bufs[:v.n]...)
}

// plain reports whether what is sent is what stands in the socket's buffer.
func (s *stream) plain() bool { return s.tls == nil && s.h2 == nil }

// unsent reports whether bytes that tryWrite has taken wait in TLS's buffer;
// flush sends them.
func (s *stream) unsent() bool { return s.tls != nil && s.h2 == nil && s.tls.Unsent() }

func (s *stream) flush() error {
	if s.tls != nil && s.h2 == nil {
		return s.tls.Flush()
	}
	return nil
}

// readable reports whether tryRead may make progress.
func (s *stream) readable() bool {
	switch {
	case s.h2 != nil:
		return s.h2.Readable()
	case s.tls != nil:
		return s.tls.Readable()
	}
	return s.Readable()
}

// gone reports whether the peer sends no more, or has reset the stream.
func (s *stream) gone() bool {
	if s.h2 != nil {
		return s.h2.Gone()
	}
	return s.Gone()
}

// failed reports whether nothing can be sent any more, nor received.
func (s *stream) failed() bool {
	if s.h2 != nil {
		return s.h2.Gone()
	}
	return s.Failed()
}

// finish says that nothing more is sent, to the kernel too; reads go on.
func (s *stream) finish() {
	if s.tls != nil {
		s.tls.CloseWrite()
	}
	if !s.unsent() {
		s.CloseWrite()
	}
}

// close closes a connection. Streams of HTTP/2 are closed by who has opened them.
func (s *stream) close() {
	if s.tls != nil {
		s.tls.Close()
	}
	if s.corked {
		s.CloseWrite() // before Close, which throws it away if there is input unread
	}
	s.Close()
}

// write sends all of b, waiting for room until deadline.
func (s *stream) write(t *loop.Task, b []byte, deadline int64) error {
	v := vector{}
	v.add(b)
	for v.n > 0 || s.unsent() {
		err := s.flush()
		if err == nil && v.n > 0 {
			var n int
			n, err = s.tryWrite(&v)
			v.consume(n)
		}
		if err == loop.ErrAgain {
			err = t.WaitAny(deadline, &s.Conn, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A vector is what is to be sent next, in order.
type vector struct {
	bufs [4][]byte
	n    int
}

func (v *vector) add(b []byte) {
	if len(b) > 0 {
		v.bufs[v.n] = b
		v.n++
	}
}

// consume drops the first n bytes.
func (v *vector) consume(n int) {
	k := 0
	for k < v.n && n >= len(v.bufs[k]) {
		n -= len(v.bufs[k])
		k++
	}
	if k < v.n {
		v.bufs[k] = v.bufs[k][n:]
	}
	v.n = copy(v.bufs[:], v.bufs[k:v.n])
}
