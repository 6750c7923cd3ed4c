package worker

import (
	"github.com/proxyd/proxyd/worker/loop"
	"github.com/proxyd/proxyd/worker/tlsconn"
)

// A stream is a connection to a client or a server, plain or TLS.
type stream struct {
	loop.Conn
	tls    *tlsconn.Conn // nil: plain
	corked bool          // the kernel may hold the last bytes back for the FIN
}

func (s *stream) tryRead(b []byte) (int, error) {
	if s.tls != nil {
		return s.tls.TryRead(b)
	}
	return s.TryRead(b)
}

// tryWrite sends what the connection takes of up to four slices in turn.
func (s *stream) tryWrite(v *vector) (int, error) {
	if s.tls == nil {
		if v.n == 1 {
			return s.TryWrite(v.bufs[0])
		}
		return s.TryWritev(v.bufs[:v.n]...)
	}
	total := 0
	for _, b := range v.bufs[:v.n] {
		n, err := s.tls.TryWrite(b)
		total += n
		if err != nil {
			if err == loop.ErrAgain && total > 0 {
				err = nil
			}
			return total, err
		}
	}
	return total, nil
}

// tryWriteLast is tryWrite of what the connection is closed after.
func (s *stream) tryWriteLast(v *vector) (int, error) {
	if s.tls != nil {
		return s.tryWrite(v)
	}
	s.corked = true
	return s.TryWriteLast(v.bufs[:v.n]...)
}

// unsent reports whether bytes that tryWrite has taken wait in TLS's buffer;
// flush sends them.
func (s *stream) unsent() bool { return s.tls != nil && s.tls.Unsent() }

func (s *stream) flush() error {
	if s.tls != nil {
		return s.tls.Flush()
	}
	return nil
}

// readable reports whether tryRead may make progress.
func (s *stream) readable() bool {
	if s.tls != nil {
		return s.tls.Readable()
	}
	return s.Readable()
}

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
