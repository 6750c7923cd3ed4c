package worker

import (
	"context"
	"crypto/tls"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/lb/discover"
)

// An upstream is a group of servers with their connections. One that a reload
// leaves as it was stays in use, with its probes and all else; one that it
// changes is made anew, and takes the connections over.
type upstream struct {
	w          *worker
	config     *config.Upstream
	name       []byte
	pool       *lb.Pool
	host       []byte      // nil: the client's
	tls        *tls.Config // nil: plain
	tlsHTTP1   *tls.Config // for what the protocol of the upstream cannot do; nil: as tls
	conns      map[*lb.Server]*connPool
	discoverer *discover.Discoverer // nil: all its servers are in the file
	waiting    []*exchange          // for a server with room: see queue
	usher      usher
	retired    bool
	stop       context.CancelFunc // ends probes and discovery
}

// newUpstream opens nothing yet; start does. old is the one that it is to follow,
// nil if there is none.
func (w *worker) newUpstream(seg *shm.Segment, c *config.Upstream, old *upstream) (u *upstream, err error) {
	u = &upstream{w: w, config: c, name: []byte(c.Name)}
	u.usher.u = u
	if c.Host != "" {
		u.host = []byte(c.Host)
	}
	switch {
	case old != nil && old.config.Protocol == c.Protocol && reflect.DeepEqual(old.config.TLS, c.TLS):
		u.tls, u.tlsHTTP1 = old.tls, old.tlsHTTP1 // so that its connections can go on
	case c.TLS != nil:
		if u.tlsHTTP1, err = w.clientTLS(c.TLS, "http/1.1"); err != nil {
			return nil, err
		}
		u.tls = u.tlsHTTP1
		if c.Protocol == protocolHTTP2 {
			if u.tls, err = w.clientTLS(c.TLS, protocolHTTP2, "http/1.1"); err != nil {
				return nil, err
			}
		}
	}
	servers := make([]lb.Spec, len(c.Servers))
	for i, s := range c.Servers {
		servers[i] = lb.Spec{Address: s.Address, Weight: s.Weight, Backup: s.Backup}
	}
	if len(c.Discover) > 0 {
		if u.discoverer, err = u.newDiscoverer(seg, servers); err != nil {
			return nil, err
		}
		servers = u.discoverer.Servers()
	}
	settings, err := u.settings()
	if err != nil {
		return nil, err
	}
	if u.pool, err = lb.NewPool(seg, settings, servers); err != nil {
		return nil, err
	}
	pools, err := u.poolsFor(servers)
	if err != nil {
		return nil, err
	}
	u.furnish(pools)
	return u, nil
}

// settings is how u balances.
func (u *upstream) settings() (lb.Settings, error) {
	c := u.config
	policy, ok := lb.ParsePolicy(c.Policy)
	if !ok {
		return lb.Settings{}, fmt.Errorf("unknown policy %q", c.Policy)
	}
	s := lb.Settings{
		Name: c.Name, Policy: policy, Checked: c.Health != nil, SlowStart: c.SlowStart, Panic: c.PanicThreshold,
		Connections: c.Limits.Connections, Slot: u.w.slot,
	}
	if e := c.Eject; e != nil {
		s.Eject = lb.Ejection{Errors: e.Errors, For: e.For, MaxPercent: e.MaxPercent}
	}
	return s, nil
}

func (u *upstream) newDiscoverer(seg *shm.Segment, static []lb.Spec) (*discover.Discoverer, error) {
	s := discover.Settings{
		Upstream: u.config.Name, Static: static, Slot: u.w.slot, Log: u.w.log,
		Changed: func(servers []lb.Spec) { u.w.loop.Post(func() { u.replace(servers) }) },
		Errors:  &u.w.shared.Counters[shm.DiscoverErrors],
	}
	for _, d := range u.config.Discover {
		switch d.Kind {
		case "file":
			s.Sources = append(s.Sources, discover.File{Path: d.Path})
		case "dns":
			s.Sources = append(s.Sources, discover.DNS{Name: d.Name, Port: d.Port, Resolvers: d.Resolvers})
		default:
			return nil, fmt.Errorf("discover %q: unknown", d.Kind)
		}
	}
	return discover.New(seg, s)
}

// poolsFor returns a pool of connections for each of servers by its address: the
// present one, else a new one.
func (u *upstream) poolsFor(servers []lb.Spec) (map[string]*connPool, error) {
	pools := u.pools()
	for _, s := range servers {
		if pools[s.Address] != nil {
			continue
		}
		p, err := newConnPool(s.Address, u)
		if err != nil {
			return nil, err
		}
		pools[s.Address] = p
	}
	return pools, nil
}

// pools is what u has, by address.
func (u *upstream) pools() map[string]*connPool {
	pools := make(map[string]*connPool, len(u.conns))
	for s, p := range u.conns {
		pools[s.Address] = p
	}
	return pools
}

// furnish gives each server its pool of connections.
func (u *upstream) furnish(pools map[string]*connPool) {
	servers := u.pool.Servers()
	u.conns = make(map[*lb.Server]*connPool, len(servers))
	for _, s := range servers {
		u.conns[s] = pools[s.Address]
	}
}

// attach puts the pools on the loop that are not, and has all go by the limits
// of u.
func (u *upstream) attach() {
	for _, p := range u.conns {
		p.attach(u)
	}
}

// start puts u on the loop, with the connections of old (which may be nil), and
// begins what goes on beside it.
func (u *upstream) start(old *upstream) {
	if old != nil && old.tls == u.tls && old.config.Protocol == u.config.Protocol {
		pools := u.pools()
		for address, p := range old.pools() {
			pools[address] = p
		}
		u.furnish(pools)
	}
	u.attach()
	ctx, stop := context.WithCancel(context.Background())
	u.stop = stop
	// What runs from here ends with stop, and nobody needs to wait for that.
	if u.config.Health != nil {
		prober := lb.NewProber(u.pool, u.check(), u.w.slot, u.w.log)
		go prober.Run(ctx)
	}
	if u.discoverer != nil {
		go u.discoverer.Run(ctx)
	}
}

// replace makes servers those of u: discovery has found others.
func (u *upstream) replace(servers []lb.Spec) {
	if u.retired {
		return
	}
	pools, err := u.poolsFor(servers)
	if err == nil {
		_, err = u.pool.Replace(servers)
	}
	if err != nil {
		u.w.log.Error("cannot use the servers found", "upstream", u.config.Name, "error", err)
		return
	}
	before := u.conns
	u.furnish(pools)
	u.attach()
	retireBut(u.conns, before, u.w.loop)
	u.admit()
}

// retire ends the probes and the discovery of u, and closes the connections that
// next, its successor (nil if it has none), has not taken over.
func (u *upstream) retire(next *upstream) {
	u.retired = true
	u.stop()
	var kept map[*lb.Server]*connPool
	if next != nil {
		kept = next.conns
	}
	retireBut(kept, u.conns, u.w.loop)
}

// called returns the one of list with that name, nil if there is none.
func called(name string, list []*upstream) *upstream {
	i := slices.IndexFunc(list, func(u *upstream) bool { return u.config.Name == name })
	if i < 0 {
		return nil
	}
	return list[i]
}

// retryAfter is the Retry-After line of a 503 while no server of u is usable.
func (u *upstream) retryAfter(dst []byte) []byte {
	seconds := max(1, int64((lb.RetryAfter(u.pool)+time.Second-1)/time.Second))
	return fmt.Appendf(dst, "Retry-After: %d\r\n", seconds)
}
