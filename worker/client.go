package worker

import (
	"net/netip"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/http2"
	"github.com/proxyd/proxyd/worker/loop"
)

// A client is a connection from a client. Between two requests it is parked and
// only this struct.
type client struct {
	stream
	listener  *listener
	peer      netip.AddrPort // zero for a unix socket
	exchange  *exchange      // nil while parked
	requests  int32
	addressed bool // no PROXY header is to come, any more
	begun     bool // what comes before the first request is over: see greet
	rooted    bool // no other worker would take it
	wide      bool // the kernel holds as much for it as it likes: see widen
}

// Wake is called when a parked connection has something to read, is closed by
// the client, or expired.
func (c *client) Wake(_ *loop.Conn, expired bool) {
	if expired && c.Quiet() { // else a request has come, too late for its event but in time
		if c.Unsent() { // it has not taken the last response: the kernel is not to hold on to that
			c.abort()
			return
		}
		c.end()
		return
	}
	c.listener.w.loop.Spawn(c)
}

// Run serves requests in a coroutine until c falls idle or ends.
func (c *client) Run(t *loop.Task) {
	w := c.listener.w
	x := w.takeExchange()
	n, err := c.tryRead(x.in)
	if err == loop.ErrAgain && !c.begun {
		w.putExchange(x)
		c.Park(c, c.listener.fresh) // it was taken before its first byte came
		return
	}
	x.t, x.c, x.have = t, c, n
	c.serve(x)
}

// resume is Run for a connection that comes from another worker with half a head.
func (c *client) resume(t *loop.Task, half handoff.Move) {
	x := c.listener.w.takeExchange()
	x.in = append(x.in, make([]byte, max(0, len(half.Raw)-len(x.in)))...)
	x.t, x.c, x.have = t, c, copy(x.in, half.Raw)
	x.headBy = t.Now() + half.Deadline - shm.Now()
	c.serve(x)
}

func (c *client) serve(x *exchange) {
	w := c.listener.w
	c.exchange = x
	park := x.serve()
	c.exchange = nil
	x.releasePipes()
	switch {
	case park:
		c.rest()
	case x.leaving:
		x.leave()
	case x.isHTTP2:
		w.loop.Spawn(w.newHTTP2Client(c, x.in[:x.have]))
	default:
		c.end()
	}
	w.putExchange(x)
}

// rest parks c until its next request, or its first one, comes.
func (c *client) rest() {
	c.narrow()
	if c.tls != nil {
		c.tls.Shrink()
	}
	if c.requests == 0 {
		c.Park(c, c.listener.fresh)
	} else {
		c.Park(c, c.listener.idle)
	}
}

// Crashed ends the one connection that a panic belongs to.
func (c *client) Crashed(v any, stack []byte) {
	c.crashed(v, stack)
	c.end()
}

// crashed releases what the exchange that panicked held.
func (c *client) crashed(v any, stack []byte) {
	w := c.listener.w
	w.log.Error("bug: panic in an exchange", "panic", v, "listener", c.listener.service.config.Name, "stack", string(stack))
	if x := c.exchange; x != nil {
		c.exchange = nil // and not back to the pool: nobody knows its state
		x.releasePipes()
		x.crashed()
	}
}

// end closes c and counts it out.
func (c *client) end() {
	if c.Open() {
		c.close()
		c.forgo()
		c.listener.left()
	}
}

// abort is end with RST, for a response whose end the client could take for
// the whole.
func (c *client) abort() {
	switch {
	case c.h2 != nil:
		c.h2.Reset(http2.InternalError)
	case c.Open():
		c.Abort()
		c.forgo()
		c.listener.left()
	}
}
