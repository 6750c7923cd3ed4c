package worker

import (
	"github.com/proxyd/proxyd/worker/http2"
	"github.com/proxyd/proxyd/worker/loop"
)

// An http2Client is a connection from a client that speaks HTTP/2. Each stream of
// it is to the exchange that answers it a client's connection with one request.
type http2Client struct {
	mux
	c       *client // the connection
	expired bool    // it was parked for too long
}

// newHTTP2Client makes c a connection that speaks HTTP/2. Of that, received has
// come. It is to be run next.
func (w *worker) newHTTP2Client(c *client, received []byte) *http2Client {
	v := c.listener.service
	h := &http2Client{c: c}
	h.mux = mux{w: w, sock: &c.stream, side: h, write: v.config.Timeouts.Write, head: v.config.Timeouts.Header}
	h.start(http2.NewServer(&v.http2, h.open))
	w.http2Clients[h] = struct{}{}
	_ = h.take(received) // if that was wrong, the connection is over
	if w.draining || c.listener.removed {
		h.shutdown(false)
	}
	return h
}

// open is called for each request: its head is complete.
func (h *http2Client) open(s *http2.Stream) {
	c := h.c
	c.requests++
	if most := c.listener.service.config.Limits.RequestsPerConnection; most > 0 && int(c.requests) >= most {
		h.shutdown(false)
	}
	r := h.w.takeRequest()
	r.over = h
	r.client = client{stream: stream{tls: c.tls, h2: s}, listener: c.listener, peer: c.peer}
	h.w.loop.Spawn(r)
}

// park is for mux.
func (h *http2Client) park() {
	if h.c.tls != nil {
		h.c.tls.Shrink()
	}
	idle := h.c.listener.idle
	if h.c.requests == 0 {
		idle = h.c.listener.fresh
	}
	h.c.Park(h, idle)
}

// Wake is called when the parked connection has something to read, is closed by
// the client, or expired.
func (h *http2Client) Wake(_ *loop.Conn, expired bool) {
	h.expired = expired && h.c.Quiet()
	h.awake = true
	h.w.loop.Spawn(h)
}

// Run is for the loop.
func (h *http2Client) Run(t *loop.Task) {
	if h.expired {
		h.conn.Shutdown(true)
	}
	h.mux.Run(t)
}

// ended is for mux.
func (h *http2Client) ended(err error) {
	delete(h.w.http2Clients, h)
	if err != nil {
		h.w.log.Debug("HTTP/2 connection ended", "listener", h.c.listener.service.config.Name, "client", h.c.peer, "error", err)
	}
	h.c.listener.left()
}

// end closes a parked connection, to make room for others.
func (h *http2Client) end() {
	h.c.Unpark()
	h.awake = true
	h.conn.Shutdown(true)
	_ = h.flush(h.w.loop.Now()) // it is closed next, whatever comes of it
	h.mux.end(nil)
}

// A request is one stream of a client's connection.
type request struct {
	client
	over *http2Client
}

func (w *worker) takeRequest() *request {
	if r, ok := w.requests.get(); ok {
		return r
	}
	return new(request)
}

// Run answers the request in a coroutine.
func (r *request) Run(t *loop.Task) {
	w, s := r.over.w, r.h2
	x := w.takeExchange()
	x.t, x.c = t, &r.client
	r.exchange = x
	s.OnEvent(x.wake)
	x.serveOne()
	r.exchange = nil
	r.done()
	w.putExchange(x)
}

// done gives the stream back.
func (r *request) done() {
	over := r.over
	r.h2.Close()
	r.h2, r.over = nil, nil
	over.w.requests.put(r)
	over.released()
}

// Crashed ends the one stream that a panic belongs to.
func (r *request) Crashed(v any, stack []byte) {
	r.crashed(v, stack)
	r.done()
}

// serveOne answers the one request of a stream of HTTP/2.
func (x *exchange) serveOne() {
	x.headBy = x.t.After(x.c.listener.service.config.Timeouts.Header)
	if x.readHead() {
		x.serveRequest()
		x.settle()
		if x.unread {
			x.linger() // not all clients take an answer that a reset follows
		}
	}
}
