package http2

import (
	"io"

	"github.com/proxyd/proxyd/worker/http1"
)

// A Stream is one request and its response. On the server's side its owner reads
// the request and writes the response, as HTTP/1.1; on the client's side it is
// the other way round. The owner closes it, whatever became of it, and does not
// touch it afterwards: it serves another request then.
type Stream struct {
	c       *Conn // nil once closed
	id      uint32
	onEvent func()
	err     error // why it ended early

	// The peer's message.
	text       []byte // text[at:] is of heads and framing, and goes before data
	at         int
	data       fifo
	framing    http1.BodyKind
	chunk      int    // of the data, announced by the last chunk header
	left       int64  // data that content-length says is to come, -1 without
	trailers   []byte // field lines
	window     int    // what the peer may still send
	unacked    int    // what was read and not yet given back to it
	answered   bool   // on the client's side: the final head has come
	remoteDone bool   // the peer has sent END_STREAM
	ended      bool   // the last chunk was written to text

	// The owner's message.
	phase      phase
	partial    []byte // of a head that is not whole
	outLeft    int64  // of a body by length
	dec        http1.Chunked
	sendWindow int
	last       lastFrame
	localDone  bool // we have sent END_STREAM
	blocked    bool // a write fell short, and there was no event since
	queued     bool // in c.blocked

	counted  bool // in c.live
	headOnly bool // the request is HEAD
	socket   bool // the request is a WebSocket's
	tunnel   bool // and was answered 101: before, its data is of no message
	key      socketKey
	refused  bool
	late     bool // we have reset it: frames of it may be under way
}

// ID is the stream's number; 0 before a request is sent.
func (s *Stream) ID() uint32 { return s.id }

// OnEvent sets what is called when s becomes readable or writable, or ends early.
func (s *Stream) OnEvent(f func()) { s.onEvent = f }

func (s *Stream) event() {
	if s.onEvent != nil {
		s.onEvent()
	}
}

// TryRead reads what has come of the peer's message, as HTTP/1.1. It returns
// ErrAgain while nothing has, and io.EOF behind the last byte of a whole message.
// Other errors, *StreamError and *ConnError, say that it will never be whole.
func (s *Stream) TryRead(b []byte) (n int, err error) {
	if s.err != nil && !s.complete() {
		return 0, s.err
	}
	for n < len(b) {
		k, more := s.read(b[n:])
		if n += k; !more {
			break
		}
	}
	switch {
	case n > 0 || len(b) == 0:
		return n, nil
	case s.remoteDone && s.data.len() == 0:
		return 0, io.EOF
	}
	return 0, ErrAgain
}

// waiting is how much data may be read.
func (s *Stream) waiting() int {
	if s.framing == http1.BodyUntilClose && !s.tunnel {
		return 0
	}
	return s.data.len()
}

// complete reports whether the peer's message is whole and wanted even if s has
// ended early: a server may answer first and then reset what it did not read.
func (s *Stream) complete() bool { return s.remoteDone && s.answered }

// read takes one step of TryRead; more says that there may be another.
func (s *Stream) read(b []byte) (n int, more bool) {
	chunked := s.framing == http1.BodyChunked
	switch waiting := s.waiting(); {
	case s.at < len(s.text):
		n = copy(b, s.text[s.at:])
		if s.at += n; s.at == len(s.text) {
			s.text, s.at = s.text[:0], 0
		}
	case chunked && s.chunk == 0 && waiting > 0:
		s.chunk = waiting
		s.text = http1.AppendChunkHeader(s.text, waiting)
	case waiting > 0:
		if chunked {
			b = b[:min(len(b), s.chunk)]
		}
		n = s.data.take(b)
		if chunked {
			if s.chunk -= n; s.chunk == 0 {
				s.text = append(s.text, "\r\n"...)
			}
		}
		s.give(n)
		s.c.give(n)
	case chunked && s.remoteDone && !s.ended:
		s.ended = true
		s.text = http1.AppendLastChunk(s.text, s.trailers)
	default:
		return 0, false
	}
	return n, true
}

// Readable reports whether TryRead may make progress.
func (s *Stream) Readable() bool {
	return s.err != nil || s.at < len(s.text) || s.waiting() > 0 || s.remoteDone && s.data.len() == 0
}

// Writable reports whether TryWrite may make progress.
func (s *Stream) Writable() bool { return !s.blocked }

// Gone reports whether the peer has reset s, or the connection is over.
func (s *Stream) Gone() bool { return s.err != nil }

// Refused reports whether nothing of the request was processed: it may be sent
// again elsewhere, whatever it asks for.
func (s *Stream) Refused() bool { return s.refused }

// Reset ends s early: neither message will be whole, and the peer is told so. It
// is no event.
func (s *Stream) Reset(code Code) {
	if s.err == nil {
		if s.id != 0 && !(s.localDone && s.remoteDone) {
			s.c.writeReset(s.id, code)
		}
		s.last, s.late = lastFrame{}, true
		s.finish(streamError(code))
	}
}

// Close says that the owner is done with s, which it must not use again. If both
// messages are whole nothing is sent. Else s is reset: with NO_ERROR if only the
// request was not read to its end, so that the response counts.
func (s *Stream) Close() {
	c := s.c
	if c == nil {
		return
	}
	whole := s.localDone && s.remoteDone
	switch {
	case s.err != nil || whole:
	case s.localDone && !c.client():
		s.Reset(NoError)
	default:
		s.Reset(Cancel)
	}
	c.give(s.data.len())
	c.remove(s)
	s.recycle()
}

// fail ends s early because of err, for its owner to hear.
func (s *Stream) fail(err error) {
	if s.err == nil {
		s.finish(err)
		s.event()
	}
}

func (s *Stream) finish(err error) {
	s.err = err
	if !s.complete() {
		s.c.give(s.data.len())
		s.data.reset()
	}
	s.blocked = false
	s.settle()
}

// settle counts s out once the protocol is done with it.
func (s *Stream) settle() {
	if s.counted && (s.err != nil || s.localDone && s.remoteDone) {
		s.counted = false
		s.c.live--
	}
}
