package http2

import (
	"strconv"
	"strings"

	"github.com/proxyd/proxyd/worker/http1"
)

// pseudoField notes a pseudo header.
func (b *block) pseudoField(name, value string) {
	var bit uint8
	p := &b.pseudo
	if b.kind == blockRequest {
		switch name {
		case ":method":
			bit, p.method = hasMethod, value
		case ":scheme":
			bit, p.scheme = hasScheme, value
		case ":authority":
			bit, p.authority = hasAuthority, value
		case ":path":
			bit, p.path = hasPath, value
		case ":protocol":
			bit, p.protocol = hasProtocol, value
		}
	} else if b.kind == blockResponse && name == ":status" {
		bit = hasStatus
		if len(value) == 3 {
			p.status, _ = strconv.Atoi(value)
		}
	}
	if bit == 0 || p.has&bit != 0 || b.regular {
		b.malformed(ProtocolError) // unknown, twice, or behind other fields
	}
	p.has |= bit
}

// requestLine writes the first lines of a request: RFC 9113 section 8.3.1, and
// RFC 8441 section 4 for extended CONNECT.
func (b *block) requestLine() {
	p, s := &b.pseudo, b.s
	method, target := p.method, p.path
	switch {
	case method == "CONNECT" && p.has&hasProtocol == 0:
		if target = p.authority; p.has&(hasScheme|hasPath) != 0 || !validAuthority(target) {
			b.malformed(ProtocolError)
		}
	case !validMethod(method), !validScheme(p.scheme), !validPath(p.path):
		b.malformed(ProtocolError)
	case method == "CONNECT":
		method, s.socket = "GET", p.protocol == "websocket"
	case p.has&hasProtocol != 0:
		b.malformed(ProtocolError)
	}
	s.headOnly = method == "HEAD"
	s.text = append(append(append(s.text, method...), ' '), target...)
	s.text = append(s.text, " HTTP/1.1\r\n"...)
	if p.has&hasAuthority != 0 {
		s.text = appendLine(s.text, "Host", p.authority)
	}
	if s.socket {
		s.key = newKey()
		s.text = append(s.text, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: "...)
		s.text = append(append(s.text, s.key[:]...), "\r\n"...)
	}
}

// validAuthority reports whether a can stand as the target of CONNECT.
func validAuthority(a string) bool { return a != "" && !strings.ContainsAny(a, " \t") }

// sameHost checks a Host field beside :authority, which says the same.
func (b *block) sameHost(host string) {
	if !strings.EqualFold(host, b.pseudo.authority) {
		b.malformed(ProtocolError)
	}
}

// request completes the head of a request and hands it to the owner.
func (c *Conn) request(b *block) *ConnError {
	s := b.s
	extended := b.pseudo.has&hasProtocol != 0
	switch {
	case b.endStream && b.length > 0, extended && b.length >= 0:
		b.malformed(ProtocolError)
		return c.rejected(b)
	case extended && !s.socket:
		return c.answer(b, 501)
	}
	if len(b.cookie) > 0 {
		s.text = append(append(append(s.text, "cookie: "...), b.cookie...), "\r\n"...)
	}
	if b.endStream && b.length < 0 && meansContent(b.pseudo.method) {
		b.length = 0 // in HTTP/1.1 it is said that there is none, RFC 9110 section 8.6
	}
	if s.left = b.length; s.socket {
		s.framing = http1.BodyUntilClose
	} else {
		s.frame(b, b.endStream)
	}
	s.text = append(s.text, "\r\n"...)
	s.remoteDone = b.endStream
	s.window = c.firstWindow(c.agreed)
	c.explained(worthStream)
	c.adopt(s)
	c.open(s)
	return nil
}

// meansContent reports whether servers expect content with the method.
func meansContent(method string) bool {
	return method == "POST" || method == "PUT" || method == "PATCH"
}

// frame writes how the body of the message that b begins is framed; none says
// that there is none. HTTP/1.1 has no trailers behind a body by length: one that
// announces some goes by chunks, and others are dropped.
func (s *Stream) frame(b *block, none bool) {
	switch {
	case b.length >= 0 && (none || !b.trailer):
		s.text = append(s.text, "Content-Length: "...)
		s.text = append(strconv.AppendInt(s.text, b.length, 10), "\r\n"...)
		s.framing = http1.BodyLength
	case !none:
		s.text = append(s.text, "Transfer-Encoding: chunked\r\n"...)
		s.framing = http1.BodyChunked
	}
}

// answer refuses a request that is well-formed and that no owner gets to see.
func (c *Conn) answer(b *block, status int) *ConnError {
	s := b.s
	s.beginHeaders()
	c.out = c.enc.status(c.out, status)
	c.out = c.enc.field(c.out, []byte("content-length"), []byte("0"))
	s.endHeaders()
	c.held(s.last)[4] |= flagEndStream
	s.recycle()
	if b.endStream {
		c.forget(b.id, false)
		return c.fruitless()
	}
	return c.resetStream(b.id, NoError)
}
