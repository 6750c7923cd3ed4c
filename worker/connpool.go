package worker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/worker/loop"
	"github.com/proxyd/proxyd/worker/tlsconn"
)

// A connPool keeps the connections of one worker to one address with one TLS
// identity: the idle ones of HTTP/1, of which the one used last is used next, and
// all of HTTP/2. Upstreams of one name that follow one another in reloads hand it on.
type connPool struct {
	addr    loop.Addr
	name    []byte      // the address, for people
	tls     *tls.Config // nil: plain
	idle    *loop.Idle  // nil until it is on the loop
	most    int         // that may be idle
	retired bool

	http2        bool        // is wanted
	oldFashioned bool        // the server did not agree to HTTP/2 when it was last asked
	tlsHTTP1     *tls.Config // tls without HTTP/2, for what needs that
	links        []*link     // that may take streams
	dialing      *link       // nil if there is none
	quietLinks   *loop.Idle  // those without streams
}

func newConnPool(address string, u *upstream) (*connPool, error) {
	addr, err := loop.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	return &connPool{
		addr: addr, name: []byte(address), tls: u.tls, tlsHTTP1: u.tlsHTTP1, http2: u.config.Protocol != "h1",
	}, nil
}

// attach puts p on the loop, if it is not there, to go by the limits of u.
func (p *connPool) attach(u *upstream) {
	p.most = u.config.Limits.Idle
	after := u.config.Timeouts.Idle
	if p.idle == nil {
		p.idle = u.w.loop.NewIdle(after)
	}
	p.idle.SetAfter(after)
	if p.http2 && p.quietLinks == nil {
		p.quietLinks = u.w.loop.NewIdle(after)
	}
	if p.quietLinks != nil {
		p.quietLinks.SetAfter(after)
	}
}

// retire closes the idle connections. Those in use are closed when their exchanges
// are over.
func (p *connPool) retire(l *loop.Loop) {
	p.retired = true
	p.idle.Expire()
	l.DropIdle(p.idle)
	if p.quietLinks != nil {
		for _, l := range slices.Clone(p.links) {
			l.shutdown(true)
		}
		l.DropIdle(p.quietLinks)
	}
}

// retireBut retires the pools of before that after does not have.
func retireBut(after, before map[*lb.Server]*connPool, l *loop.Loop) {
	kept := make(map[*connPool]bool, len(after))
	for _, p := range after {
		kept[p] = true
	}
	for _, p := range before {
		if !kept[p] {
			p.retire(l)
		}
	}
}

// A serverConn is a connection to a server. It belongs to the exchange that
// uses it or, idle, to its pool.
type serverConn struct {
	stream
	pool   *connPool
	link   *link // that it is a stream of; nil: it is a connection by itself
	reused bool  // it has carried an exchange before
}

// get returns what x speaks to the server through: if fresh, nothing that was idle.
func (p *connPool) get(x *exchange, fresh bool) (*serverConn, error) {
	if p.http2 {
		return p.join(x, fresh)
	}
	if !fresh {
		if c := p.take(x.req.HasBody() || !idempotent(x.req.Method)); c != nil {
			return c, nil
		}
	}
	return p.open(x.t, x.upstream, p.tls, x.deadline)
}

func (c *serverConn) close() {
	if c.link != nil {
		c.link.drop(c)
		return
	}
	c.stream.close()
}

// take returns an idle connection, nil if there is none. If sure, the kernel is
// asked whether the server has closed it, which costs a call: for requests that
// cannot be repeated should that turn out too late.
func (p *connPool) take(sure bool) *serverConn {
	for {
		last := p.idle.Last()
		if last == nil {
			return nil
		}
		c := last.(*serverConn)
		c.Unpark()
		if sure && !c.Quiet() {
			c.close()
			continue
		}
		c.reused = true
		return c
	}
}

// open makes a new connection for u, with its TLS handshake unless tls is nil,
// before deadline (0: none).
func (p *connPool) open(t *loop.Task, u *upstream, tls *tls.Config, deadline int64) (*serverConn, error) {
	c := &serverConn{pool: p}
	times := &u.config.Timeouts
	if err := t.Connect(&c.Conn, p.addr, earlier(t.After(times.Connect), deadline)); err != nil {
		return nil, err
	}
	if tls == nil {
		return c, nil
	}
	c.tls = tlsconn.Client(&c.Conn, tls)
	if err := c.tls.Handshake(t, earlier(t.After(times.TLS), deadline)); err != nil {
		c.close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return c, nil
}

// put takes back a connection whose exchange ended cleanly.
func (p *connPool) put(c *serverConn) {
	if p.retired || p.most == 0 || c.link != nil || !c.quiet() {
		c.close()
		return
	}
	if p.idle.Len() >= p.most {
		p.idle.First().(*serverConn).close()
	}
	if c.tls != nil {
		c.tls.Shrink()
	}
	c.Park(c, p.idle)
}

// quiet reports whether the server has sent nothing: what comes unasked cannot
// be the answer to the next request. TLS may have something to say to itself.
func (c *serverConn) quiet() bool {
	if !c.readable() {
		return true
	}
	if c.tls == nil {
		return c.Quiet() // a read that just filled its buffer leaves it open
	}
	var b [1]byte
	_, err := c.tryRead(b[:])
	return err == loop.ErrAgain && !c.readable()
}

// Wake closes an idle connection that expired or that the server closed or
// wrote to.
func (c *serverConn) Wake(_ *loop.Conn, expired bool) {
	if expired {
		c.close()
		return
	}
	c.pool.put(c)
}

// timedOut reports whether err is a deadline of ours.
func timedOut(err error) bool { return errors.Is(err, loop.ErrDeadline) }
