package worker

import (
	"bytes"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/http2"
	"github.com/proxyd/proxyd/worker/loop"
	"github.com/proxyd/proxyd/worker/tlsconn"
)

// A greeting says how a connection goes on when what comes before its first
// request is over.
type greeting uint8

const (
	over        greeting = iota // not at all
	speaksHTTP1                 // the first request may have come
	nothingYet                  // it has not, nor any part of it
	speaksHTTP2
)

// greet reads what comes before the first request: a PROXY header, the TLS
// handshake, and what tells HTTP/2 from HTTP/1.
func (x *exchange) greet() greeting {
	c := x.c
	if !x.readPreface() {
		return over
	}
	v := c.listener.service
	if v.tls != nil {
		return x.secure(v)
	}
	if v.config.H2C {
		switch yes, err := x.hasHTTP2Preface(); {
		case err != nil:
			return over
		case yes:
			x.isHTTP2 = true
			return speaksHTTP2
		}
	}
	c.begun = true
	return speaksHTTP1
}

// secure does the TLS handshake, which what was received is the beginning of.
func (x *exchange) secure(v *service) greeting {
	c := x.c
	c.begun = true // whatever comes of it, another worker could not go on with it
	c.tls = tlsconn.Server(&c.Conn, v.tls)
	c.tls.Feed(x.in[:x.have])
	x.have = 0
	if err := c.tls.Handshake(x.t, x.t.After(v.config.Timeouts.Handshake)); err != nil {
		x.w.count(shm.HandshakeErrors)
		x.w.log.Debug("TLS handshake failed", "listener", v.config.Name, "client", c.peer, "error", err)
		if !timedOut(err) {
			c.tls = nil // what follows is not read as TLS
			x.linger()  // so that the client gets the alert
		}
		return over
	}
	x.w.count(shm.Handshakes)
	x.headBy = x.t.After(v.config.Timeouts.Header)
	if c.tls.State().NegotiatedProtocol == protocolHTTP2 {
		x.isHTTP2 = true
		return speaksHTTP2
	}
	n, err := c.tryRead(x.in)
	switch {
	case err == loop.ErrAgain:
		return nothingYet
	case err != nil:
		return over
	}
	x.have = n
	return speaksHTTP1
}

// protocolHTTP2 is the name of HTTP/2 in ALPN (RFC 7301).
const protocolHTTP2 = "h2"

// startsHTTP2 is so much of HTTP/2's preface as no other request begins with.
var startsHTTP2 = []byte(http2.Preface[:len("PRI ")])

// hasHTTP2Preface reports whether the connection begins as one of HTTP/2 does,
// and if so leaves what was received in its place.
func (x *exchange) hasHTTP2Preface() (bool, error) {
	for {
		have := x.in[:x.have]
		switch {
		case bytes.HasPrefix(have, startsHTTP2):
			return true, nil
		case !bytes.HasPrefix(startsHTTP2, have):
			return false, nil
		}
		if err := x.receive(); err != nil {
			return false, err
		}
	}
}

// notHTTP1 reports whether a connection that was taken for one of HTTP/1 begins
// with something else: who means HTTP/2 there, and does it wrong, hears so in
// HTTP/2.
func (x *exchange) notHTTP1() bool {
	c := x.c
	line, _, _ := bytes.Cut(x.in[:x.have], []byte("\n"))
	return c.requests == 0 && c.plain() && c.listener.service.config.H2C && !bytes.Contains(line, []byte(" HTTP/1."))
}

// The schemes of requests.
var (
	schemeHTTP  = []byte("http")
	schemeHTTPS = []byte("https")
)

func (s *stream) scheme() []byte {
	if s.tls != nil {
		return schemeHTTPS
	}
	return schemeHTTP
}
