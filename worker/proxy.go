package worker

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
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
	errNoneUsable  = errors.New("no usable server")
	errRequest     = errors.New("not completed within the route's request time-out")
	errRetryStatus = errors.New("status that the route retries")
)

// A clientError is a failure of the client while it sends its request.
type clientError struct{ err error }

func (e *clientError) Error() string { return "client: " + e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// proxy answers from x.upstream, and reports whether the connection to the client
// can go on.
func (x *exchange) proxy() bool {
	x.compose()
	x.route.retry.budgets[x.upstream].Request()
	x.tried, x.key, x.restarts = x.tried[:0], x.hashKey(), 0
	x.from = x.w.takeBuffer()
	defer x.release()
	for next := anew; ; {
		var err error
		if x.server, err = x.connect(next == again); err != nil {
			return x.fail(err)
		}
		x.account.server = x.server.pool
		var goesOn bool
		if goesOn, next = x.converse(); next == done {
			return goesOn
		}
		// The connection is broken, or had died in the pool, where its neighbours may
		// have died too.
		x.closeServer()
	}
}

// compose makes the head that goes upstream.
func (x *exchange) compose() {
	r := x.route
	x.extra = x.appendLines(x.extra[:0], r.request)
	x.forward = http1.Forward{
		Host: x.upstream.host, Proto: x.c.scheme(), KeepXFF: x.trusted,
		Pseudonym: x.service.via, HTTP2: x.c.h2 != nil, Edit: r.request.drops(), Extra: x.extra,
	}
	if x.c.peer.IsValid() {
		x.peer = x.c.peer.Addr().AppendTo(x.peer[:0])
		x.forward.ClientIP = x.peer
	}
	if len(r.strip) > 0 {
		x.forward.URI = http1.StripPrefix(x.req.URI, r.strip)
	}
	x.out = x.req.AppendForward(x.out[:0], &x.forward)
}

// hashKey is what maglev and ketama send to one server, of the request as it came.
// It stays as it is while the exchange waits.
func (x *exchange) hashKey() []byte {
	e := x.upstream.config.HashKey
	if e == nil {
		return nil
	}
	x.scratch = x.scratch[:0]
	key := e.Eval(x, &x.scratch)
	if key == nil {
		return nil
	}
	n := len(x.numbers)
	x.numbers = append(x.numbers, key...)
	return x.numbers[n:len(x.numbers):len(x.numbers)]
}

func (x *exchange) release() {
	x.part()
	x.w.buffers.put(x.from)
	x.from = nil
	if x.hand != nil {
		x.w.hands.put(x.hand)
		x.hand = nil
	}
	clear(x.tried)
}

func (x *exchange) closeServer() {
	x.part()
	if x.server != nil {
		x.server.close()
		x.server = nil
	}
}

// connect returns a connection to a server that can be reached: one from the
// pool, or if fresh a new one. A server that cannot be connected to is passed
// over for the next.
func (x *exchange) connect(fresh bool) (*serverConn, error) {
	var last error
	u := x.upstream
	for giveUp := x.t.After(maxConnects * u.config.Timeouts.Connect); ; {
		if err := x.pick(); err != nil {
			return nil, cmp.Or(last, err)
		}
		if !fresh {
			x.account.attempts++
		}
		s := x.picked
		c, err := u.conns[s].get(x, fresh)
		if err == nil {
			if c.reused {
				x.w.count(shm.UpstreamReuses)
			} else {
				x.w.count(shm.UpstreamConnects)
			}
			return c, nil
		}
		if err == errClientGone || err == errNoTunnel || err == errNoStream ||
			errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			x.part()
			return nil, err // no fault of the server's
		}
		x.result = lb.Errored
		x.part()
		if x.late() {
			return nil, errRequest
		}
		s.Failed()
		x.tried = append(x.tried, s)
		last = err
		x.w.log.Warn("cannot connect", "upstream", u.config.Name, "server", s.Address, "error", err)
		if x.t.Now() > giveUp || !x.failover() {
			return nil, last
		}
	}
}

// A sequel is what is to be done after converse.
type sequel uint8

const (
	done  sequel = iota // the client has its answer, or never will
	again               // send the request on a new connection
	anew                // send it to whichever server is next
)

// converse sends the request to x.server and relays the response.
func (x *exchange) converse() (goesOn bool, _ sequel) {
	buf, received, keep := x.bodyBuffer()
	x.up.begin(&x.c.stream, &x.server.stream, x.out, buf, received, x.t.Now())
	x.up.body(x.req.BodyKind(), x.req.ContentLength, x.req.Chunked)
	x.up.limit, x.up.keep = x.service.config.Limits.Body, keep
	x.piped, x.upErr, x.got = true, nil, 0
	x.account.asked, x.account.answered = x.t.Now(), 0
	n, err := x.awaitHead()
	if err == nil {
		x.result = rate(x.resp.Status)
	}
	switch {
	case err != nil && x.stale(err):
		return false, again
	case err != nil && x.elsewhere(err):
		return false, anew
	case err != nil:
		return x.fail(err), done
	case x.answersElsewhere():
		return false, anew
	}
	x.account.answered = x.t.Now()
	if x.resp.Status == 101 {
		x.tunnel(n)
		return false, done
	}
	return x.relay(n), done
}

// bodyBuffer gives up the bytes behind the head, and room for more: for all of
// the body, if that is to be kept.
func (x *exchange) bodyBuffer() (buf []byte, received int, keep bool) {
	if x.piped && x.up.keep {
		return x.up.buf, x.up.end, true
	}
	buf = x.in[x.headLen:]
	received = x.have - x.headLen
	keep = x.inHand()
	switch {
	case keep && int64(len(buf)) < x.req.ContentLength:
		x.hand = x.w.takeHand()
		return x.hand, copy(x.hand, buf[:received]), true
	case !keep && len(buf) < minBody && x.req.HasBody():
		buf = append(make([]byte, 0, headBytes), buf[:received]...)[:headBytes]
	}
	return buf, received, keep
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
		x.answer = x.resp.AppendForward(x.answer[:0], &http1.ForwardResponse{Edit: x.route.response.drops()})
		if err := x.c.write(x.t, x.answer, x.t.After(x.service.config.Timeouts.Write)); err != nil {
			return errClientGone
		}
		x.w.responded(x.resp.Status) // not the final one
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
	c := x.c
	deadline, late := x.sentAt+int64(x.firstByte()), errFirstByte
	switch {
	case sending && x.up.onSrc:
		deadline, late = x.up.since+x.patience(x.service.config.Timeouts.BodyIdle), errClientStall
	case sending:
		deadline, late = x.up.since+x.patience(x.upstream.config.Timeouts.BodyIdle), errServerStall
	case c.gone():
		return errClientGone
	}
	if err := x.await(deadline, late); err != nil {
		return err
	}
	if c.failed() {
		return errClientGone
	}
	return nil
}

// firstByte is how long the server may take to begin its response.
func (x *exchange) firstByte() time.Duration {
	if d := x.route.config.Timeouts.FirstByte; d > 0 {
		return d
	}
	return x.upstream.config.Timeouts.FirstByte
}

// await waits for an event of either side. Past deadline it returns late; once
// the time for the whole exchange is over, errRequest.
func (x *exchange) await(deadline int64, late error) error {
	err := x.t.WaitAny(earlier(deadline, x.deadline), &x.c.Conn, &x.server.Conn)
	switch {
	case x.late():
		return errRequest
	case err != nil:
		if l := x.server.link; l != nil && late != errClientStall {
			l.ping() // is there anybody?
		}
		return late
	}
	return nil
}

// late reports whether the time for the whole exchange is over.
func (x *exchange) late() bool { return x.deadline != 0 && x.t.Now() >= x.deadline }

// earlier returns the earlier of two deadlines; limit may be 0, which is none.
func earlier(at, limit int64) int64 {
	if limit != 0 && limit < at {
		return limit
	}
	return at
}
