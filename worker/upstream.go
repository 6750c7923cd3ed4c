package worker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/worker/loop"
	"github.com/proxyd/proxyd/worker/tlsconn"
)

// An upstream is a group of servers with their connections. One that a reload
// leaves as it was stays in use, with its probes and its connections.
type upstream struct {
	config *config.Upstream
	name   []byte
	pool   *lb.Pool
	host   []byte // nil: the client's
	tls    *tls.Config
	conns  map[*lb.Server]*connPool
	stop   context.CancelFunc // ends the probes
}

// newUpstream opens nothing yet; start does.
func newUpstream(seg *shm.Segment, c *config.Upstream) (*upstream, error) {
	specs := make([]lb.Spec, len(c.Servers))
	for i, s := range c.Servers {
		specs[i] = lb.Spec{Address: s.Address, Weight: s.Weight}
	}
	pool, err := lb.NewPool(seg, c.Name, specs, c.Health != nil)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: %w", c.Name, err)
	}
	u := &upstream{config: c, name: []byte(c.Name), pool: pool, conns: make(map[*lb.Server]*connPool)}
	if c.Host != "" {
		u.host = []byte(c.Host)
	}
	if c.TLS != nil {
		if u.tls, err = clientTLS(c.TLS); err != nil {
			return nil, fmt.Errorf("upstream %q: %w", c.Name, err)
		}
	}
	for _, s := range pool.Servers() {
		addr, err := loop.ParseAddr(s.Address)
		if err != nil {
			return nil, fmt.Errorf("upstream %q: %w", c.Name, err)
		}
		u.conns[s] = &connPool{addr: addr, name: []byte(s.Address), server: s, upstream: u}
	}
	return u, nil
}

func clientTLS(c *config.TLS) (*tls.Config, error) {
	t := &tls.Config{
		ServerName:                  c.SNI,
		InsecureSkipVerify:          !c.Verify,
		MinVersion:                  tls.VersionTLS12,
		NextProtos:                  []string{"http/1.1"},
		ClientSessionCache:          tls.NewLRUClientSessionCache(256),
		DynamicRecordSizingDisabled: true,
	}
	var err error
	if c.CA == nil {
		// Read now: on the loop, the first handshake would read the disk.
		if t.RootCAs, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("system certificates: %w", err)
		}
		return t, nil
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("ca: no certificate in it")
	}
	return t, nil
}

// start puts u on l and begins its probes, if it has any.
func (u *upstream) start(l *loop.Loop, slot int, log *slog.Logger) {
	for _, p := range u.conns {
		p.idle = l.NewIdle(u.config.Timeouts.Idle)
	}
	ctx, stop := context.WithCancel(context.Background())
	u.stop = stop
	if u.config.Health == nil {
		return
	}
	h := u.config.Health
	check := lb.Check{Interval: h.Interval, Timeout: h.Timeout, Rise: h.Rise, Fall: h.Fall, Probe: lb.ProbeTCP}
	prober := lb.NewProber(u.pool, check, slot, log)
	go prober.Run(ctx) // ends with its last probe, which nobody needs to wait for
}

// retire closes the idle connections of u and ends its probes. Connections in
// use are closed when their exchange is over.
func (u *upstream) retire(l *loop.Loop) {
	u.stop()
	for _, p := range u.conns {
		p.retired = true
		p.idle.Expire()
		l.DropIdle(p.idle)
	}
}

// same reports whether a reload to c leaves u as it is.
func (u *upstream) same(c *config.Upstream) bool { return reflect.DeepEqual(u.config, c) }

// A connPool keeps the idle connections of one worker to one server of one
// upstream, hence with one TLS identity. The connection used last is used next.
type connPool struct {
	addr     loop.Addr
	name     []byte // the address, for people
	server   *lb.Server
	upstream *upstream
	idle     *loop.Idle
	retired  bool
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

// open makes a new connection, with its TLS handshake, before deadline (0: none).
func (p *connPool) open(t *loop.Task, deadline int64) (*serverConn, error) {
	c := &serverConn{pool: p}
	times := &p.upstream.config.Timeouts
	if err := t.Connect(&c.Conn, p.addr, earlier(t.After(times.Connect), deadline)); err != nil {
		return nil, err
	}
	if p.upstream.tls == nil {
		return c, nil
	}
	c.tls = tlsconn.Client(&c.Conn, p.upstream.tls)
	if err := c.tls.Handshake(t, earlier(t.After(times.TLS), deadline)); err != nil {
		c.close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return c, nil
}

// put takes back a connection whose exchange ended cleanly.
func (p *connPool) put(c *serverConn) {
	limit := p.upstream.config.Limits.Idle
	if p.retired || limit == 0 || !c.quiet() {
		c.close()
		return
	}
	if p.idle.Len() >= limit {
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

// retryAfter is the Retry-After line of a 503 while no server of u is usable.
func (u *upstream) retryAfter(dst []byte) []byte {
	seconds := max(1, int64((lb.RetryAfter(u.pool)+time.Second-1)/time.Second))
	return fmt.Appendf(dst, "Retry-After: %d\r\n", seconds)
}
