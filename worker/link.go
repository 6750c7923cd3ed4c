package worker

import (
	"errors"
	"fmt"
	"slices"

	"github.com/proxyd/proxyd/worker/http2"
	"github.com/proxyd/proxyd/worker/loop"
)

// maxJoins is how many connections an exchange waits for in turn, while others
// fill them.
const maxJoins = 3

var (
	errNoStream   = errors.New("server allows no more streams")
	errNoSettings = errors.New("server does not begin HTTP/2")
	errNoTunnel   = errors.New("server takes no WebSocket over HTTP/2")
)

// linkLimits bound what servers may send. A stream whose client takes nothing must
// not keep the others of its connection waiting, so the window of all is that of
// each.
var linkLimits = http2.Limits{Streams: 100, HeaderBytes: maxResponseHead, Fields: maxResponseField, StreamWindow: 64 << 10, ConnWindow: 100 * 64 << 10}

// A link is a connection to a server that speaks HTTP/2, for as many exchanges at
// once as the server allows.
type link struct {
	mux
	pool    *connPool
	u       *upstream   // whose time-outs it goes by
	carried bool        // an exchange
	expired bool        // it was parked for too long
	err     error       // why there is no connection
	joining []*exchange // that wait until it is connected
}

// join returns a stream of one of p's connections, or a connection of x's own if
// the server does not speak HTTP/2. If fresh, that is a new one.
func (p *connPool) join(x *exchange, fresh bool) (*serverConn, error) {
	for range maxJoins {
		if c, err := p.stream(x); c != nil || err != nil {
			return c, err
		}
		if !fresh {
			if c := p.take(true); c != nil {
				return c, nil
			}
		}
		if p.oldFashioned {
			return p.openOwn(x)
		}
		if err := p.await(x); err != nil {
			return nil, err
		}
	}
	return nil, errNoStream
}

// stream returns a stream of a connection that has room for it; nil if there is
// none. A server that takes no WebSocket over HTTP/2 may take it otherwise.
func (p *connPool) stream(x *exchange) (*serverConn, error) {
	for i := 0; i < len(p.links); i++ {
		l := p.links[i]
		if x.req.WebSocket && !l.conn.WebSockets() {
			if p.tls == nil {
				return nil, errNoTunnel
			}
			return p.open(x.t, x.upstream, p.tlsHTTP1, x.deadline)
		}
		s, err := l.conn.Open()
		switch {
		case err == nil:
			return l.carry(s, x), nil
		case err == http2.ErrGoingAway:
			p.links = slices.Delete(p.links, i, i+1) // it ends when its streams do
			i--
		}
	}
	return nil, nil
}

// openOwn opens a connection for x alone, of HTTP/1. If the server has learned
// HTTP/2 meanwhile, others can use it too.
func (p *connPool) openOwn(x *exchange) (*serverConn, error) {
	c, err := p.open(x.t, x.upstream, p.tls, x.deadline)
	if err != nil || !p.speaksHTTP2(c) {
		return c, err
	}
	l := p.newLink(x.upstream)
	l.begin(c)
	p.links = append(p.links, l)
	x.w.loop.Spawn(l)
	return p.stream(x)
}

// speaksHTTP2 notes whether that was agreed on with the server.
func (p *connPool) speaksHTTP2(c *serverConn) bool {
	p.oldFashioned = c.tls != nil && c.tls.State().NegotiatedProtocol != protocolHTTP2
	return !p.oldFashioned
}

// await waits until there is a new connection. One is made at a time.
func (p *connPool) await(x *exchange) error {
	l := p.dialing
	if l == nil {
		l = p.newLink(x.upstream)
		p.dialing = l
		x.w.loop.Spawn(l)
	}
	l.joining = append(l.joining, x)
	for p.dialing == l {
		err := error(nil)
		switch {
		case x.c.failed() || x.c.gone() && !x.req.HasBody():
			err = errClientGone
		case x.t.WaitAny(x.deadline, &x.c.Conn, nil) != nil:
			err = errRequest
		}
		if err != nil && p.dialing == l {
			i := slices.Index(l.joining, x)
			l.joining = slices.Delete(l.joining, i, i+1)
			return err
		}
	}
	return l.err
}

func (p *connPool) newLink(u *upstream) *link {
	l := &link{pool: p, u: u}
	l.mux = mux{w: u.w, side: l, write: u.config.Timeouts.BodyIdle, head: u.config.Timeouts.BodyIdle, awake: true}
	return l
}

// begin makes c, which is new, the connection of l.
func (l *link) begin(c *serverConn) {
	l.sock = &c.stream
	l.start(http2.NewClient(&linkLimits, string(c.scheme())))
}

// settle waits until the server has said what it allows.
func (l *link) settle(t *loop.Task) error {
	l.task = t
	for deadline := t.After(l.u.config.Timeouts.TLS); !l.conn.Settled(); {
		_, err := l.move(t.Now())
		if err == nil && l.conn.Closed() {
			err = errNoSettings
		}
		if err == nil && !l.conn.Settled() {
			err = t.WaitAny(deadline, &l.sock.Conn, nil)
		}
		if err != nil {
			l.conn.Abort()
			l.sock.close()
			l.sock = nil
			return fmt.Errorf("HTTP/2: %w", err)
		}
	}
	return nil
}

// Run is for the loop.
func (l *link) Run(t *loop.Task) {
	if l.sock == nil && !l.connect(t) {
		return
	}
	if l.expired {
		l.conn.Shutdown(true)
	}
	l.mux.Run(t)
}

// connect opens the connection for those that wait for it, and reports whether
// it is one of HTTP/2.
func (l *link) connect(t *loop.Task) bool {
	p := l.pool
	c, err := p.open(t, l.u, p.tls, 0)
	switch {
	case err != nil:
	case p.speaksHTTP2(c):
		l.begin(c)
		if err = l.settle(t); err == nil {
			p.links = append(p.links, l)
		}
	default:
		p.put(c)
	}
	l.connected(err)
	return l.sock != nil
}

// connected lets those go on that wait.
func (l *link) connected(err error) {
	l.err, l.pool.dialing = err, nil
	for _, x := range l.joining {
		x.t.Wake()
	}
	l.joining = nil
}

// carry makes s what x speaks to its server through.
func (l *link) carry(s *http2.Stream, x *exchange) *serverConn {
	c, ok := l.w.strands.get()
	if !ok {
		c = new(serverConn)
	}
	*c = serverConn{stream: stream{h2: s}, pool: l.pool, link: l, reused: l.carried}
	l.carried = true
	s.OnEvent(x.wake)
	return c
}

// drop gives back what carry has returned.
func (l *link) drop(c *serverConn) {
	c.h2.Close()
	*c = serverConn{}
	l.w.strands.put(c)
	l.released()
}

// park is for mux.
func (l *link) park() {
	p := l.pool
	if p.retired || p.most == 0 {
		l.shutdown(true)
		return
	}
	if p.quietLinks.Len() >= p.most {
		p.quietLinks.First().(*link).shutdown(true)
	}
	if l.sock.tls != nil {
		l.sock.tls.Shrink()
	}
	l.sock.Park(l, p.quietLinks)
}

// Wake is called when the parked connection has something to read, is closed by
// the server, or expired.
func (l *link) Wake(_ *loop.Conn, expired bool) {
	l.expired, l.awake = expired, true
	l.w.loop.Spawn(l)
}

// ended is for mux.
func (l *link) ended(err error) {
	if i := slices.Index(l.pool.links, l); i >= 0 {
		l.pool.links = slices.Delete(l.pool.links, i, i+1)
	}
	if err != nil {
		l.w.log.Debug("HTTP/2 connection ended", "upstream", l.u.config.Name, "server", string(l.pool.name), "error", err)
	}
}

// Crashed is for the loop.
func (l *link) Crashed(v any, stack []byte) {
	if l.pool.dialing == l {
		l.connected(errCrashed)
	}
	if l.sock != nil {
		l.mux.Crashed(v, stack)
		return
	}
	l.w.log.Error("bug: panic while connecting", "panic", v, "upstream", l.u.config.Name, "stack", string(stack))
}
