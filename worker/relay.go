package worker

import (
	"errors"
	"syscall"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/http1"
)

// relay sends the client the response whose head, of n bytes, is at the front of
// from, and reports whether the connection to the client can go on.
func (x *exchange) relay(n int) bool {
	kind := x.resp.BodyKind(x.req.Method)
	// What is left of a request whose response came early is not waited for.
	o := x.resp.For(&x.req, x.closing() || !x.up.done)
	o.Date = x.w.date()
	if e := x.route.response; e != nil {
		x.account.status = x.resp.Status // response.status, for the fields
		o.Edit = e.HeaderEdit
	}
	o.Extra = x.added()
	x.answer = x.resp.AppendForward(x.answer[:0], &o)
	x.down.begin(&x.server.stream, &x.c.stream, x.answer, x.from, x.got, x.t.Now())
	x.down.start = n
	x.down.body(kind, x.resp.ContentLength, o.Chunked)
	x.down.last = o.Close
	if x.down.bulk {
		x.c.widen()
	}
	if err := x.pump(); err != nil {
		return x.broken(err, o.Chunked)
	}
	x.responded(x.resp.Status)
	x.endServer(kind)
	x.rest, x.unread = x.up.rest(), !x.up.done
	return !o.Close
}

// added is the fields that the route adds to a response.
func (x *exchange) added() []byte {
	x.extra = append(x.appendLines(x.extra[:0], x.route.response), x.fields...)
	return x.extra
}

// endServer gives the connection to the server back to its pool, if both ends
// agree on where this exchange ended.
func (x *exchange) endServer(kind http1.BodyKind) {
	x.part()
	s := x.server
	x.server = nil
	if x.up.done && !x.resp.Close && kind != http1.BodyUntilClose && len(x.down.rest()) == 0 {
		s.pool.put(s)
		return
	}
	s.close()
}

// pump moves the response, and what is left of the request beside it.
func (x *exchange) pump() error {
	for {
		if err := x.moveUp(); err != nil {
			return err
		}
		err := x.down.step(x.t.Now())
		x.began = x.began || x.down.sent
		if x.down.done {
			return nil
		}
		if err != nil && !blocked(err) {
			if fromSrc(err) {
				return err
			}
			return errClientGone
		}
		if x.down.partial || x.up.partial {
			x.t.Yield()
			continue
		}
		if err := x.awaitEither(); err != nil {
			return err
		}
	}
}

// awaitEither waits for an event of either side while the response moves.
func (x *exchange) awaitEither() error {
	since, wait, late := x.down.since, int64(x.service.config.Timeouts.Write), errClientStall
	if x.down.onSrc { // which may be because it waits for the rest of the request
		since, wait, late = max(since, x.up.since), x.patience(x.upstream.config.Timeouts.BodyIdle), errServerStall
	}
	if x.c.failed() || x.c.gone() && x.up.done {
		return errClientGone
	}
	return x.await(since+wait, late)
}

// broken ends a response that cannot be completed. The client must see that: a
// body by length or by chunks stays short, one that ends with the connection is
// cut off by RST.
func (x *exchange) broken(err error, chunked bool) bool {
	if !x.began {
		return x.fail(err)
	}
	x.report(err)
	x.blame(err)
	x.closeServer()
	x.responded(x.resp.Status)
	if x.c.h2 != nil || err == errClientStall || x.down.kind != http1.BodyLength && !chunked {
		x.c.abort() // nor does the kernel hold anything for one who stalls
	}
	return false
}

// fail answers a request that could not be proxied.
func (x *exchange) fail(err error) bool {
	x.report(err)
	x.blame(err)
	x.closeServer()
	x.resp.Reset() // it may have been left in the middle of a head
	status := statusOf(err)
	if status == 0 {
		return false // nobody is there to hear it
	}
	x.last = x.last || status < 500
	if status == 503 {
		x.scratch = x.upstream.retryAfter(x.scratch[:0])
		return x.reply(status, x.scratch)
	}
	return x.reply(status, nil)
}

// statusOf is what to answer after err; 0 if the client is gone.
func statusOf(err error) int {
	var (
		c *clientError
		h *http1.Error
	)
	switch {
	case errors.Is(err, errClientGone):
		return 0
	case errors.Is(err, errNoneUsable), errors.Is(err, errFull), err == errNoStream, errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return 503
	case errors.Is(err, errClientStall):
		return 408
	case errors.Is(err, errFirstByte), errors.Is(err, errServerStall), errors.Is(err, errRequest), timedOut(err):
		return 504
	case !errors.As(err, &c):
		return 502
	case errors.Is(err, errTooLong):
		return 413
	case errors.As(err, &h):
		return h.Status
	case errors.Is(err, errTruncated):
		return 400
	}
	return 0
}

// report logs why an exchange failed, and counts it if the server is to blame.
func (x *exchange) report(err error) {
	x.account.failure = err
	var server string
	if x.server != nil {
		server = x.server.pool.addr.String()
	}
	args := []any{
		"listener", x.service.config.Name, "route", string(x.route.name), "upstream", x.upstream.config.Name,
		"server", server, "client", x.c.peer, "attempts", x.account.attempts, "error", err,
	}
	status := statusOf(err)
	if x.began {
		args = append(args, "cut", true)
	}
	if status == 0 || status < 500 && !x.began {
		x.w.log.Debug("request not completed", append(args, "status", max(status, 499))...)
		return
	}
	x.w.count(shm.UpstreamErrors)
	x.w.log.Warn("request failed", append(args, "status", status)...)
}
