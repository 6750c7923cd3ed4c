package http2

import (
	"bytes"
	"slices"

	"github.com/proxyd/proxyd/worker/http1"
)

// Open returns a new stream of a client. It fails with ErrAgain while the server
// allows no more, and with ErrGoingAway if there will be none on this connection.
func (c *Conn) Open() (*Stream, error) {
	switch {
	case c.over != nil || c.goingAway || c.final || c.lastID >= maxWindow-2*uint32(len(c.unsent)+1):
		return nil, ErrGoingAway
	case c.live+len(c.unsent) >= min(c.peerStreams, c.lim.Streams), len(c.streams) >= 2*c.lim.Streams:
		return nil, ErrAgain
	}
	s := newStream(c)
	c.unsent = append(c.unsent, s)
	return s, nil
}

// Settled reports whether the server has said what it allows. Before that it is
// not known to take WebSockets.
func (c *Conn) Settled() bool { return c.greeted }

// WebSockets reports whether the server takes them (RFC 8441).
func (c *Conn) WebSockets() bool { return c.peerConnect }

// refuseAbove ends the streams that the server will not process.
func (c *Conn) refuseAbove(last uint32) {
	for _, list := range [...][]*Stream{c.unsent, c.streams} {
		for _, s := range slices.Clone(list) { // an event may close any of them
			if s.c == c && (s.id == 0 || s.id > last) && s.err == nil {
				s.refused = true
				s.fail(streamError(RefusedStream))
			}
		}
	}
}

// writeRequest sends the head at the start of b and returns its length; 0 if it
// is not whole.
func (s *Stream) writeRequest(r *http1.Request, b []byte) (n int, err error) {
	c := s.c
	if n, err = r.Parse(b, &headLimits); n == 0 {
		return 0, err
	}
	if r.WebSocket && !c.peerConnect {
		return 0, ErrNoWebSocket
	}
	s.headOnly = string(r.Method) == "HEAD"
	s.number()
	s.beginHeaders()
	if r.WebSocket {
		s.socket = true
		copy(s.key[:], r.Header("sec-websocket-key"))
		c.out = c.enc.request(c.out, []byte("CONNECT"), c.scheme, r.URI)
		c.out = c.enc.field(c.out, protocolName, []byte("websocket"))
	} else {
		c.out = c.enc.request(c.out, r.Method, c.scheme, r.URI)
	}
	c.out = c.enc.field(c.out, authorityName, r.Host)
	c.appendFields(r.Fields, r.WebSocket)
	if bytes.HasPrefix(r.Header("content-type"), grpc) && r.Header("te") == nil {
		c.out = c.enc.field(c.out, []byte("te"), []byte("trailers"))
	}
	s.endHeaders()
	if r.WebSocket {
		s.phase = outRaw
		return n, nil
	}
	s.body(r.BodyKind(), r.ContentLength)
	return n, nil
}

// grpc begins the content types of gRPC, whose servers insist on te: trailers; it
// is for one hop, so it did not get here.
var grpc = []byte("application/grpc")

// number gives s its id: when its request goes out, so that ids only grow.
func (s *Stream) number() {
	c := s.c
	if i := slices.Index(c.unsent, s); i >= 0 {
		c.unsent = slices.Delete(c.unsent, i, i+1)
	}
	if c.lastID == 0 {
		c.lastID = 1
	} else {
		c.lastID += 2
	}
	s.id = c.lastID
	s.sendWindow, s.window = c.appliedWindow, c.firstWindow(c.agreed)
	c.adopt(s)
}
