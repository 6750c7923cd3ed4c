package http2

import (
	"crypto/subtle"

	"github.com/proxyd/proxyd/worker/http1"
)

// A phase says what the owner writes next.
type phase uint8

const (
	outHead phase = iota
	outLength
	outChunks
	outRaw // until CloseWrite
	outDone
)

// TryWrite takes from bufs, in turn, what can be sent now of the owner's message,
// which is HTTP/1.1 and may be cut anywhere. It returns ErrAgain if that is
// nothing, and is tried again with the rest after an event. A message that is not
// HTTP/1.1 resets s.
func (s *Stream) TryWrite(bufs ...[]byte) (n int, err error) {
	for _, b := range bufs {
		for len(b) > 0 {
			if s.err != nil {
				return n, s.err
			}
			k, err := s.write(b)
			n, b = n+k, b[k:]
			if err == ErrAgain {
				s.block()
				if n > 0 {
					err = nil
				}
				return n, err
			}
			if err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// write takes the start of b.
func (s *Stream) write(b []byte) (n int, err error) {
	switch s.phase {
	case outHead:
		return s.writeHead(b)
	case outChunks:
		return s.writeChunks(b)
	case outDone:
		return 0, errAfterEnd
	case outLength:
		b = b[:min(int64(len(b)), s.outLeft)]
	}
	room := s.room()
	if room <= 0 {
		return 0, ErrAgain
	}
	n = min(len(b), room)
	s.writeData(b[:n], n < len(b))
	if s.phase == outLength {
		if s.outLeft -= int64(n); s.outLeft == 0 {
			s.end()
		}
	}
	return n, nil
}

// writeChunks takes the start of b, part of a chunked body.
func (s *Stream) writeChunks(b []byte) (n int, err error) {
	room := max(s.room(), 0)
	cut := len(b) > room
	if cut { // Next must not take data that cannot be sent
		probe := s.dec
		data, n, _, err := probe.Next(b)
		if err != nil {
			return 0, s.bungled(err)
		}
		n -= max(len(data)-room, 0)
		if n == 0 {
			return 0, ErrAgain
		}
		b = b[:n]
	}
	data, n, done, err := s.dec.Next(b)
	if err != nil {
		return n, s.bungled(err)
	}
	s.writeData(data, cut)
	if done {
		s.endChunks()
	}
	return n, nil
}

// endChunks ends a chunked message, with its trailers.
func (s *Stream) endChunks() {
	lines := s.dec.Trailers()
	if len(lines) == 0 {
		s.end()
		return
	}
	s.beginHeaders()
	s.c.appendTrailers(lines)
	s.endHeaders()
	s.end()
}

// CloseWrite says that no more bytes follow, on a stream that has become a
// WebSocket or behind a response without any framing; reads go on. On others it
// does nothing: the end of a message is in the message.
func (s *Stream) CloseWrite() {
	if s.err == nil && s.phase == outRaw {
		s.end()
	}
}

// bungled resets s because what its owner writes is no message.
func (s *Stream) bungled(err error) error {
	s.Reset(InternalError)
	return err
}

// headLimits bound what an owner writes: they are there for its mistakes.
// Requests have our own Via, which is no loop: no field has this pseudonym.
var headLimits = http1.Limits{HeadBytes: 256 << 10, Fields: 4096, TargetBytes: 64 << 10, Pseudonym: "\x00"}

// writeHead takes the start of b, which begins or goes on with a head.
func (s *Stream) writeHead(b []byte) (n int, err error) {
	if s.c.unsentBytes() >= outputFull {
		return 0, ErrAgain
	}
	h := heads.Get().(*head)
	defer h.put()
	head, before := b, len(s.partial)
	if before > 0 {
		s.partial = append(s.partial, b[:min(len(b), 4<<10)]...)
		head = s.partial
	}
	if s.c.client() {
		n, err = s.writeRequest(&h.request, head)
	} else {
		n, err = s.writeResponse(&h.response, head)
	}
	switch {
	case err == ErrNoWebSocket || err == ErrGoingAway:
		return 0, err
	case err != nil:
		return 0, s.bungled(err)
	case n > 0:
		s.partial = kept(s.partial)
		return n - before, nil
	case before == 0:
		s.partial = append(s.partial, b...)
		return len(b), nil
	}
	return len(s.partial) - before, nil
}

// writeResponse sends the head at the start of b and returns its length; 0 if it
// is not whole.
func (s *Stream) writeResponse(r *http1.Response, b []byte) (n int, err error) {
	if n, err = r.Parse(b, &headLimits); n == 0 {
		return 0, err
	}
	status := r.Status
	switch {
	case status == 101:
		if !s.socket || !s.accepted(r.Header("sec-websocket-accept")) {
			return 0, errSwitch
		}
		status = 200
	case s.socket && status/100 == 2:
		status = 502 // 200 would say that the WebSocket is open
	}
	s.beginHeaders()
	s.c.out = s.c.enc.status(s.c.out, status)
	s.c.appendFields(r.Fields, s.socket)
	s.endHeaders()
	if r.Interim() {
		return n, nil
	}
	if r.Status == 101 {
		s.phase, s.tunnel = outRaw, true
		return n, nil
	}
	s.body(r.BodyKind(s.method()), r.ContentLength)
	return n, nil
}

var methodHead = []byte("HEAD")

// method is that of the request as far as it matters to the response.
func (s *Stream) method() []byte {
	if s.headOnly {
		return methodHead
	}
	return nil
}

func (s *Stream) accepted(accept []byte) bool {
	var want [28]byte
	return subtle.ConstantTimeCompare(appendAccept(want[:0], s.key[:]), accept) == 1
}

// body says how the rest of the message is framed.
func (s *Stream) body(kind http1.BodyKind, length int64) {
	switch kind {
	case http1.BodyNone:
		s.end()
	case http1.BodyLength:
		s.phase, s.outLeft = outLength, length
	case http1.BodyChunked:
		s.phase = outChunks
		s.dec.Reset()
	case http1.BodyUntilClose:
		s.phase = outRaw
	}
}
