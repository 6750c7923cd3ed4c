package worker

import (
	"crypto/tls"
	"fmt"
	"slices"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/http1"
	"github.com/proxyd/proxyd/worker/http2"
	routing "github.com/proxyd/proxyd/worker/route"
)

const (
	maxTarget        = 8 << 10 // bytes of a request target
	maxResponseHead  = bodyBytes
	maxResponseField = 256
)

// A snapshot is a configuration compiled for this worker. It is immutable but
// for what its upstreams keep on the loop.
type snapshot struct {
	number      uint64
	config      *config.Config
	services    map[string]*service // by the name of a listener's descriptor
	upstreams   []*upstream
	limits      []*limit       // in the order of the file
	concurrency []*concurrency // likewise
}

// A service is a listener of the configuration: what to do with the requests
// that come in at its addresses.
type service struct {
	config *config.Listener
	name   []byte
	head   http1.Limits
	routes []*route
	table  *routing.Table
	byPath bool        // a route goes by the path, or may
	tls    *tls.Config // nil: plain
	http2  http2.Limits

	via           string
	streamTimeout time.Duration // silence after which a tunnel ends
}

// compile makes a snapshot of c, taking over from old (nil at first) the
// upstreams that stay as they are.
func (w *worker) compile(seg *shm.Segment, c *config.Config, number uint64, old *snapshot) (*snapshot, error) {
	s := &snapshot{number: number, config: c, services: make(map[string]*service)}
	routes := routeCompiler{
		seg: seg, upstreams: make(map[*config.Upstream]*upstream), byName: make(map[string]*upstream),
		limits: make(map[*config.RateLimit]*limit), concurrency: make(map[*config.ConcurrencyLimit]*concurrency),
	}
	for _, uc := range c.Upstreams {
		u, err := w.upstream(seg, uc, old)
		if err != nil {
			return nil, fmt.Errorf("upstream %q: %w", uc.Name, err)
		}
		routes.upstreams[uc], routes.byName[uc.Name] = u, u
		s.upstreams = append(s.upstreams, u)
	}
	for _, rc := range c.RateLimits {
		l, err := w.newLimit(seg, rc)
		if err != nil {
			return nil, fmt.Errorf("rate_limit %q: %w", rc.Name, err)
		}
		routes.limits[rc] = l
		s.limits = append(s.limits, l)
	}
	for _, cc := range c.ConcurrencyLimits {
		l, err := w.newConcurrency(seg, cc)
		if err != nil {
			return nil, fmt.Errorf("concurrency_limit %q: %w", cc.Name, err)
		}
		routes.concurrency[cc] = l
		s.concurrency = append(s.concurrency, l)
	}
	for _, lc := range c.Listeners {
		v, err := newService(lc, c, &routes)
		if err == nil && lc.TLS != nil {
			v.tls, err = w.serverTLS(lc.TLS)
		}
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w", lc.Name, err)
		}
		for _, a := range lc.Addresses {
			s.services[a.Name()] = v
		}
	}
	return s, nil
}

func newService(lc *config.Listener, c *config.Config, routes *routeCompiler) (*service, error) {
	v := &service{
		config:        lc,
		name:          []byte(lc.Name),
		table:         routing.Compile(rulesOf(lc.Routes)),
		byPath:        slices.ContainsFunc(lc.Routes, func(r *config.Route) bool { return len(r.Paths) > 0 || r.When != nil }),
		via:           c.Supervisor.Via,
		streamTimeout: c.Supervisor.StreamTimeout,
		head: http1.Limits{
			HeadBytes: lc.Limits.HeaderBytes, Fields: lc.Limits.Headers, TargetBytes: maxTarget, Pseudonym: c.Supervisor.Via,
		},
		// Twice what a head may have, so that most of those that are too long are refused
		// like those of HTTP/1.
		http2: http2.Limits{Streams: lc.Limits.Streams, HeaderBytes: 2 * lc.Limits.HeaderBytes, Fields: 2 * lc.Limits.Headers},
	}
	for _, rc := range lc.Routes {
		r, err := routes.route(rc)
		if err != nil {
			return nil, err
		}
		v.routes = append(v.routes, r)
	}
	return v, nil
}

// upstream returns the one of old that a reload to c leaves as it is, else one
// that is to follow it.
func (w *worker) upstream(seg *shm.Segment, c *config.Upstream, old *snapshot) (*upstream, error) {
	var before *upstream
	if old != nil {
		before = called(c.Name, old.upstreams)
	}
	if before != nil && before.config.Same(c) {
		return before, nil
	}
	return w.newUpstream(seg, c, before)
}

// install puts s in force in place of old (nil at first). It runs on the loop.
func (w *worker) install(s, old *snapshot) error {
	var before []*upstream
	if old != nil {
		before = old.upstreams
	}
	if err := w.logTo(s.config); err != nil {
		return err
	}
	if err := w.listen(s); err != nil {
		return err
	}
	for _, u := range s.upstreams {
		if !slices.Contains(before, u) {
			u.start(called(u.config.Name, before))
		}
	}
	for _, u := range before {
		if !slices.Contains(s.upstreams, u) {
			u.retire(called(u.config.Name, s.upstreams))
		}
	}
	return nil
}
