package worker

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/http1"
	"github.com/proxyd/proxyd/worker/loop"
)

const (
	lingerTime  = time.Second
	maxInterim  = 16 // 1xx responses relayed for a request
	maxConnects = 3  // connect time-outs that may be spent on one request
)

var (
	errClientGone  = errors.New("client closed the connection")
	errNoResponse  = errors.New("server closed the connection without a response")
	errFirstByte   = errors.New("no response within first_byte")
	errServerStall = errors.New("server stalled for body_idle")
	errClientStall = errors.New("client stalled")
	errInterim     = errors.New("too many interim responses")
	errSwitch      = errors.New("server switched protocols unasked")
	errSilent      = errors.New("silent for stream_timeout")
	responseLimits = http1.Limits{HeadBytes: maxResponseHead, Fields: maxResponseField}
	scheme         = []byte("http")
	errNoneUsable  = errors.New("no usable server")
)

// A clientError is a failure of the client while it sends its request.
type clientError struct{ err error }

func (e *clientError) Error() string { return "client: " + e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// proxy answers from the route's upstream, and reports whether the connection
// to the client can go on.
func (x *exchange) proxy() bool {
	u := x.route.upstream
	x.forward = http1.Forward{Host: u.host, Proto: scheme}
	if x.c.peer.IsValid() {
		x.ip = x.c.peer.Addr().AppendTo(x.ip[:0])
		x.forward.ClientIP = x.ip
	}
	x.out = x.req.AppendForward(x.out[:0], &x.forward)
	x.tried = x.tried[:0]
	x.from = x.w.takeBuffer()
	defer x.release()
	for fresh := false; ; fresh = true {
		var err error
		if x.server, err = x.connect(u, fresh); err != nil {
			return x.fail(err)
		}
		keep, again := x.converse()
		if !again {
			return keep
		}
		// The connection had died in the pool; its neighbours may have too.
		x.closeServer()
	}
}

func (x *exchange) release() {
	x.w.buffers.put(x.from)
	x.from = nil
	clear(x.tried)
}

func (x *exchange) closeServer() {
	if x.server != nil {
		x.server.close()
		x.server = nil
	}
}

// connect returns a connection to a server that can be reached: one from the
// pool, or if fresh a new one. A server that cannot be connected to is passed
// over for the next.
func (x *exchange) connect(u *upstream, fresh bool) (*serverConn, error) {
	var last error
	sure := x.req.HasBody() || !idempotent(x.req.Method)
	for giveUp := x.t.After(maxConnects * u.config.Timeouts.Connect); ; {
		s := u.pool.Pick(x.tried)
		if s == nil {
			if last == nil {
				last = errNoneUsable
			}
			return nil, last
		}
		p := u.conns[s]
		if !fresh {
			if c := p.take(sure); c != nil {
				x.w.count(shm.UpstreamReuses)
				return c, nil
			}
		}
		c, err := p.open(x.t)
		if err == nil {
			x.w.count(shm.UpstreamConnects)
			return c, nil
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			return nil, err // ours, not the server's
		}
		s.Failed()
		x.tried = append(x.tried, s)
		last = err
		x.w.log.Warn("cannot connect", "upstream", u.config.Name, "server", s.Address, "error", err)
		if x.t.Now() > giveUp {
			return nil, last
		}
	}
}

// converse sends the request to x.server and relays the response. again says
// that the connection turned out to be dead and the request can be sent anew.
func (x *exchange) converse() (keep, again bool) {
	buf, received := x.bodyBuffer()
	x.up.begin(&x.c.stream, &x.server.stream, x.out, buf, received, x.t.Now())
	x.up.body(x.req.BodyKind(), x.req.ContentLength, x.req.Chunked)
	x.up.limit = x.service.config.Limits.Body
	x.piped, x.upErr, x.got = true, nil, 0
	n, err := x.awaitHead()
	if err != nil {
		if x.repeatable(err) {
			return false, true
		}
		return x.fail(err), false
	}
	if x.resp.Status == 101 {
		x.tunnel(n)
		return false, false
	}
	return x.relay(n), false
}

// bodyBuffer gives up the bytes behind the head, and room for more.
func (x *exchange) bodyBuffer() (buf []byte, received int) {
	buf = x.in[x.headLen:]
	received = x.have - x.headLen
	if len(buf) < minBody && x.req.HasBody() {
		buf = append(make([]byte, 0, headBytes), buf[:received]...)[:headBytes]
	}
	return buf, received
}

// repeatable reports whether a request that failed with err can be sent on
// another connection with no risk that it takes effect twice (RFC 9110 section
// 9.2.2): the one it was sent on had been closed while it was idle, no byte of
// a response has come, and the request is idempotent or nothing of it was sent.
func (x *exchange) repeatable(err error) bool {
	if !x.server.reused || x.got > 0 || !(err == errNoResponse || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
		return false
	}
	if x.req.HasBody() {
		return !x.up.sent && x.up.intact()
	}
	return !x.up.sent || idempotent(x.req.Method)
}

func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// awaitHead moves the request until the head of the final response has come, and
// returns its length. Interim responses are relayed on the way.
func (x *exchange) awaitHead() (int, error) {
	interim := 0
	for {
		if err := x.moveUp(); err != nil {
			return 0, err
		}
		n, err := x.server.tryRead(x.from[x.got:])
		switch {
		case err == loop.ErrAgain:
			if err := x.awaitServer(); err != nil {
				return 0, err
			}
			continue
		case err != nil:
			return 0, x.noResponse(err)
		}
		x.got += n
		for {
			n, err := x.resp.Parse(x.from[:x.got], &responseLimits)
			if err != nil || n == 0 {
				if err != nil {
					return 0, err
				}
				break
			}
			if x.resp.Status == 101 && !(x.req.WebSocket && x.resp.WebSocket) {
				return 0, errSwitch
			}
			if !x.resp.Interim() {
				return n, nil
			}
			if interim++; interim > maxInterim {
				return 0, errInterim
			}
			if err := x.relayInterim(n); err != nil {
				return 0, err
			}
		}
	}
}

// noResponse is why there is none: what broke the sending, if that broke first.
func (x *exchange) noResponse(err error) error {
	switch {
	case x.upErr != nil:
		return x.upErr
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // a killed TLS server sends no close_notify
		return errNoResponse
	}
	return fmt.Errorf("read response: %w", err)
}

// relayInterim passes on the 1xx head at the front of from. HTTP/1.0 knows none.
func (x *exchange) relayInterim(n int) error {
	if x.req.Minor > 0 {
		x.answer = x.resp.AppendForward(x.answer[:0], &http1.ForwardResponse{})
		if err := x.c.write(x.t, x.answer, x.t.After(x.service.config.Timeouts.Write)); err != nil {
			return errClientGone
		}
		x.w.responded(x.resp.Status)
	}
	x.got = copy(x.from, x.from[n:x.got])
	return nil
}

// moveUp moves what can be moved of the request. A server that takes no more of
// it may still answer.
func (x *exchange) moveUp() error {
	if x.up.done || x.upErr != nil {
		return nil
	}
	err := x.up.step(x.t.Now())
	if err != nil && !blocked(err) {
		if fromSrc(err) {
			return &clientError{err}
		}
		x.upErr = err
	}
	if x.up.done || x.upErr != nil {
		x.sentAt = x.t.Now()
	}
	return nil
}

// awaitServer waits for an event of either side while no response has come.
func (x *exchange) awaitServer() error {
	if x.up.partial {
		x.t.Yield()
		return nil
	}
	sending := !x.up.done && x.upErr == nil
	server, c := &x.route.upstream.config.Timeouts, x.c
	deadline, late := x.sentAt+int64(server.FirstByte), errFirstByte
	switch {
	case sending && x.up.onSrc:
		deadline, late = x.up.since+int64(x.service.config.Timeouts.BodyIdle), errClientStall
	case sending:
		deadline, late = x.up.since+int64(server.BodyIdle), errServerStall
	case c.Gone():
		return errClientGone
	}
	if x.t.WaitAny(deadline, &c.Conn, &x.server.Conn) != nil {
		return late
	}
	if c.Failed() {
		return errClientGone
	}
	return nil
}
