package worker

import "github.com/proxyd/proxyd/worker/http1"

// tunnel relays the server's 101, whose head of n bytes is at the front of from,
// and then bytes both ways until each side has ended (RFC 6455 section 1.2). The
// end of one side is passed on, and the other may still send. What either sent
// together with its head goes first.
func (x *exchange) tunnel(n int) {
	x.responded(x.resp.Status)
	x.answer = x.resp.AppendForward(x.answer[:0], &http1.ForwardResponse{Edit: x.route.response.drops(), Extra: x.added()})
	c, s, now := &x.c.stream, &x.server.stream, x.t.Now()
	x.down.begin(s, c, x.answer, x.from, x.got, now)
	x.down.start = n
	x.down.body(http1.BodyUntilClose, 0, false)
	buf := x.in[x.headLen:]
	if len(buf) < minBody {
		buf = make([]byte, headBytes)
	}
	x.up.begin(c, s, nil, buf, copy(buf, x.up.rest()), now)
	x.up.body(http1.BodyUntilClose, 0, false)
	x.began = true
	if err := x.pumpBoth(); err != nil {
		x.w.log.Debug("tunnel ended", "listener", x.service.config.Name, "route", string(x.route.name), "client", x.c.peer, "error", err)
	}
	x.closeServer()
}

// pumpBoth moves bytes both ways until both sides have ended, one is broken, or
// both have been silent for the stream time-out.
func (x *exchange) pumpBoth() error {
	for {
		for _, f := range [...]*flow{&x.up, &x.down} {
			if f.done {
				if err := f.dst.flush(); err != nil && !blocked(err) {
					return err
				}
				continue
			}
			if err := f.step(x.t.Now()); err != nil && !blocked(err) {
				return err
			}
			if f.done {
				f.dst.closeWrite()
			}
		}
		if x.up.done && x.down.done {
			return nil
		}
		if x.up.partial || x.down.partial {
			x.t.Yield()
			continue
		}
		if err := x.awaitTunnel(); err != nil {
			return err
		}
	}
}

func (x *exchange) awaitTunnel() error {
	// Who has ended and is broken now cannot be told anything any more.
	if x.up.done && x.c.failed() || x.down.done && x.server.failed() {
		return errClientGone
	}
	deadline := max(x.up.since, x.down.since) + int64(x.service.streamTimeout)
	if err := x.t.WaitAny(deadline, &x.c.Conn, &x.server.Conn); err != nil {
		return errSilent
	}
	return nil
}

// closeWrite says that nothing more is sent; reads go on.
func (s *stream) closeWrite() {
	switch {
	case s.h2 != nil:
		s.h2.CloseWrite()
	case s.tls != nil:
		s.tls.CloseWrite()
	default:
		s.CloseWrite()
	}
}
