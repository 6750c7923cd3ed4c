package worker

import (
	"errors"
	"slices"
	"syscall"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/worker/http2"
)

// maxInHand is how long a request body may be, in bytes, that is kept until its
// response begins, so that it can be sent again.
const maxInHand = 64 << 10

// A retry is when a request of a route is sent to another server.
type retry struct {
	*config.Retry
	asked   bool // the route says so; else it is the default
	budgets map[*upstream]*lb.Budget
}

// inHand reports whether the body of the request is to be kept.
func (x *exchange) inHand() bool {
	n := x.req.ContentLength
	return n > 0 && n <= maxInHand && x.route.retry.Attempts > 1 && idempotent(x.req.Method)
}

// repeatable reports whether the request can be sent once more with no risk that
// it takes effect twice (RFC 9110 section 9.2.2): it is idempotent or nothing of
// it was sent, and all of its body is still there.
func (x *exchange) repeatable() bool {
	return x.whole() && !(x.piped && x.up.sent && !idempotent(x.req.Method))
}

// whole reports whether all of the request that has come is still there.
func (x *exchange) whole() bool { return !x.piped || !x.req.HasBody() || x.up.intact() }

// stale reports whether a request failed with err only because the connection it
// was sent on had been closed while it was idle. Such a request goes out again
// whatever the route says of retries: nothing is wrong with the server.
func (x *exchange) stale(err error) bool {
	if x.server.link != nil {
		return x.strandStale(err)
	}
	return x.server.reused && x.got == 0 && disconnected(err) && x.repeatable()
}

// maxRestarts is how often that is done on connections of HTTP/2, which may all be
// going away.
const maxRestarts = 3

// strandStale is stale for a stream of a connection of HTTP/2. There the server can
// say that it has not looked at a request; else only a connection that is lost
// says nothing of its server.
func (x *exchange) strandStale(err error) bool {
	refused := x.server.h2.Refused()
	_, ofConn := errors.AsType[*http2.ConnError](err)
	if x.got > 0 || x.restarts == maxRestarts || !refused && !(x.server.reused && ofConn) {
		return false
	}
	if !x.whole() || !refused && !x.repeatable() {
		return false
	}
	x.restarts++
	return true
}

// disconnected reports whether err is a connection, or a stream, that ended
// without a response.
func disconnected(err error) bool {
	return err == errNoResponse || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || ofHTTP2(err)
}

// ofHTTP2 reports whether err is the end of a stream.
func ofHTTP2(err error) bool {
	_, ofStream := errors.AsType[*http2.StreamError](err)
	_, ofConn := errors.AsType[*http2.ConnError](err)
	return ofStream || ofConn
}

func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// elsewhere reports whether the request, which failed with err, is to be sent to
// another server, and if so gives up the present one.
func (x *exchange) elsewhere(err error) bool {
	r := x.route.retry
	if x.got > 0 || !(r.Reset && disconnected(err) || r.Timeout && err == errFirstByte) {
		return false
	}
	x.blame(err)
	return x.giveUp(err)
}

// failover reports whether a server that cannot be connected to is passed over
// for another. Nothing of the request was sent then, and no server is burdened
// twice, so that this needs no budget.
func (x *exchange) failover() bool {
	r := x.route.retry
	return !r.asked || r.Connect && x.account.attempts < r.Attempts
}

// answersElsewhere reports whether a response of this status is not relayed, and
// the request sent to another server.
func (x *exchange) answersElsewhere() bool {
	r := x.route.retry
	return slices.Contains(r.Statuses, x.resp.Status) && x.giveUp(errRetryStatus)
}

// giveUp takes a retry out of the budget, if the request can be repeated, there
// is another server, and the attempts are not used up.
func (x *exchange) giveUp(err error) bool {
	r, s := x.route.retry, x.picked
	if x.account.attempts >= r.Attempts || !x.repeatable() || x.late() {
		return false
	}
	x.tried = append(x.tried, s)
	if !x.upstream.pool.Usable(x.tried) || !r.budgets[x.upstream].Retry() {
		x.tried = x.tried[:len(x.tried)-1]
		return false
	}
	x.w.count(shm.Retries)
	x.w.log.Debug("retry", "upstream", x.upstream.config.Name, "server", s.Address, "attempt", x.account.attempts, "error", err)
	return true
}
