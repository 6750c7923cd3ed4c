package worker

import (
	"fmt"
	"slices"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/limiter"
	"github.com/proxyd/proxyd/worker/http1"
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
	number    uint64
	config    *config.Config
	services  map[string]*service // by the name of a listener's descriptor
	upstreams []*upstream
}

// A service is a listener of the configuration: what to do with the requests
// that come in at its addresses.
type service struct {
	config *config.Listener
	name   []byte
	head   http1.Limits
	routes []*route
	table  *routing.Table
	byPath bool // a route goes by the path, or may

	via           string
	streamTimeout time.Duration // silence after which a tunnel ends
}

// A limit is a rate limit with what to count by.
type limit struct {
	config *config.RateLimit
	*limiter.Limiter
}

// compile makes a snapshot of c, taking over from old (nil at first) the
// upstreams that stay as they are.
func compile(seg *shm.Segment, shared *shm.Slot, c *config.Config, number uint64, old *snapshot) (*snapshot, error) {
	s := &snapshot{number: number, config: c, services: make(map[string]*service)}
	routes := routeCompiler{
		seg: seg, upstreams: make(map[*config.Upstream]*upstream), byName: make(map[string]*upstream),
		limits: make(map[*config.RateLimit]*limit),
	}
	for _, uc := range c.Upstreams {
		u, err := old.upstream(seg, uc)
		if err != nil {
			return nil, err
		}
		routes.upstreams[uc], routes.byName[uc.Name] = u, u
		s.upstreams = append(s.upstreams, u)
	}
	for _, rc := range c.RateLimits {
		l, err := limiter.New(seg, limiter.Rule{
			Name: rc.Name, Max: rc.Max, Window: rc.Window, Keys: rc.Keys, SketchTakes: &shared.Counters[shm.SketchTakes],
		})
		if err != nil {
			return nil, fmt.Errorf("rate_limit %q: %w", rc.Name, err)
		}
		routes.limits[rc] = &limit{rc, l}
	}
	for _, lc := range c.Listeners {
		v, err := newService(lc, c, &routes)
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

func (s *snapshot) upstream(seg *shm.Segment, c *config.Upstream) (*upstream, error) {
	if s != nil {
		for _, u := range s.upstreams {
			if u.same(c) {
				return u, nil
			}
		}
	}
	return newUpstream(seg, c)
}

// install puts s in force in place of old (nil at first). It runs on the loop.
func (w *worker) install(s, old *snapshot) error {
	var before []*upstream
	if old != nil {
		before = old.upstreams
	}
	for _, u := range s.upstreams {
		if !slices.Contains(before, u) {
			u.start(w.loop, w.slot, w.log)
		}
	}
	if err := w.logTo(s.config); err != nil {
		return err
	}
	if err := w.listen(s); err != nil {
		return err
	}
	for _, u := range before {
		if !slices.Contains(s.upstreams, u) {
			u.retire(w.loop)
		}
	}
	return nil
}
