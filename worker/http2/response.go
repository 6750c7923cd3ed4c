package http2

import (
	"strconv"

	"github.com/proxyd/proxyd/worker/http1"
)

// statusLine writes the first lines of a response.
func (b *block) statusLine() {
	p, s := &b.pseudo, b.s
	if p.status < 100 || p.status == 101 { // which HTTP/2 does not have
		b.malformed(ProtocolError)
		return
	}
	s.text, s.at = s.text[:copy(s.text, s.text[s.at:])], 0 // interim ones may wait there
	status := p.status
	if s.socket && status/100 == 2 {
		status = 101
	}
	s.text = strconv.AppendInt(append(s.text, "HTTP/1.1 "...), int64(status), 10)
	s.text = append(append(append(s.text, ' '), http1.StatusText(status)...), "\r\n"...)
	if status == 101 {
		s.text = append(s.text, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "...)
		s.text = append(appendAccept(s.text, s.key[:]), "\r\n"...)
	}
}

// response completes the head of a response.
func (c *Conn) response(b *block) *ConnError {
	s, status := b.s, b.pseudo.status
	interim := status < 200
	switch {
	case interim && b.endStream:
		return c.resetStream(b.id, ProtocolError)
	case interim:
	case s.socket && status/100 == 2:
		s.framing, s.answered, s.tunnel = http1.BodyUntilClose, true, true
	case s.headOnly || status == 204 || status == 304:
		if b.length >= 0 && status != 204 {
			s.frame(b, true)
		}
		s.framing, s.left, s.answered = http1.BodyNone, 0, true
	default:
		if b.endStream && b.length < 0 {
			b.length = 0
		}
		s.frame(b, b.endStream)
		s.left, s.answered = b.length, true
	}
	s.text = append(s.text, "\r\n"...)
	if len(s.text)-s.at > c.maxBlock() {
		return c.resetStream(b.id, EnhanceYourCalm) // one interim response after the other
	}
	if b.endStream {
		return c.endMessage(s)
	}
	s.event()
	return nil
}
