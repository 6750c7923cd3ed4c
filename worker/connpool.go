package worker

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/worker/loop"
	"github.com/proxyd/proxyd/worker/tlsconn"
)

// A connPool keeps the idle connections of one worker to one address with one TLS
// identity. The connection used last is used next. Upstreams of one name that
// follow one another in reloads hand it on.
type connPool struct {
	addr    loop.Addr
	name    []byte      // the address, for people
	tls     *tls.Config // nil: plain
	idle    *loop.Idle  // nil until it is on the loop
	most    int         // that may be idle
	retired bool
}

func newConnPool(address string, tls *tls.Config) (*connPool, error) {
	addr, err := loop.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	return &connPool{addr: addr, name: []byte(address), tls: tls}, nil
}

// retire closes the idle connections. Those in use are closed when their exchange
// is over.
func (p *connPool) retire(l *loop.Loop) {
	p.retired = true
	p.idle.Expire()
	l.DropIdle(p.idle)
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
	reused bool // it has carried an exchange before
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

// open makes a new connection for u, with its TLS handshake, before deadline
// (0: none).
func (p *connPool) open(t *loop.Task, u *upstream, deadline int64) (*serverConn, error) {
	c := &serverConn{pool: p}
	times := &u.config.Timeouts
	if err := t.Connect(&c.Conn, p.addr, earlier(t.After(times.Connect), deadline)); err != nil {
		return nil, err
	}
	if p.tls == nil {
		return c, nil
	}
	c.tls = tlsconn.Client(&c.Conn, p.tls)
	if err := c.tls.Handshake(t, earlier(t.After(times.TLS), deadline)); err != nil {
		c.close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return c, nil
}

// put takes back a connection whose exchange ended cleanly.
func (p *connPool) put(c *serverConn) {
	if p.retired || p.most == 0 || !c.quiet() {
		c.close()
		return
	}
	if p.idle.Len() >= p.most {
		p.idle.First().(*serverConn).close()
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
