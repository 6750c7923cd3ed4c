package lb

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// A Spec names one server of an upstream.
type Spec struct {
	Address string // "ip:port" or "unix:/path"
	Weight  int    // its share of requests; less than 1 counts as 1
}

// A Pool is the servers of one upstream.
type Pool struct {
	name    string
	servers []*Server
}

// rank orders servers by how fit they are for a request, the fittest first.
type rank uint8

const (
	fit            rank = iota // up
	suspect                    // up, but a connect just failed
	untried                    // not yet probed
	untriedSuspect             // not yet probed, and a connect just failed
	unfit                      // down, or tried already
)

// NewPool returns the pool of the upstream called name. With checked, servers
// are up or down as a Prober finds them, and the segment may know them already;
// else they are always up. The pool does not own seg, which must outlive it.
func NewPool(seg *shm.Segment, name string, servers []Spec, checked bool) (*Pool, error) {
	p := &Pool{name: name, servers: make([]*Server, 0, len(servers))}
	for _, spec := range servers {
		cell, err := seg.Server(name, spec.Address)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: server %s: %w", name, spec.Address, err)
		}
		p.servers = append(p.servers, &Server{
			Address: spec.Address,
			Weight:  max(spec.Weight, 1),
			cell:    cell,
			checked: checked,
		})
	}
	return p, nil
}

// scatter starts the round robin at a random server of rank r. Workers, and pools
// that follow one another in quick reloads, would else all begin with the first.
func (p *Pool) scatter(r rank) {
	n := 0
	for _, s := range p.servers {
		s.current = 0
		if s.rank == r {
			n++
		}
	}
	for range rand.IntN(n) {
		p.next(r)
	}
}

// Servers returns the servers of p in the order of the file. The caller must
// not change the slice.
func (p *Pool) Servers() []*Server { return p.servers }

// Pick returns the server for the next request: of the fittest servers that are
// not in tried, the one whose turn it is by weight; nil if there is none. Servers
// that are up come first, then those up to which a connect just failed, then
// those not yet probed; a server known to be down is never returned.
//
// Only the loop may call Pick: the round robin's position is not shared.
func (p *Pool) Pick(tried []*Server) *Server {
	best := unfit
	for _, s := range p.servers {
		s.rank = p.rank(s, tried)
		best = min(best, s.rank)
	}
	if best == unfit {
		return nil
	}
	if len(tried) == 0 {
		p.regroup(best)
	}
	return p.next(best)
}

// Usable reports whether Pick would find a server that is not in tried. It
// changes nothing.
func (p *Pool) Usable(tried []*Server) bool {
	return slices.ContainsFunc(p.servers, func(s *Server) bool { return p.rank(s, tried) != unfit })
}

// regroup starts the round robin anew if other servers than before share the
// requests: what they owed or were owed was to servers that are out of it now, and
// would give one of them two requests in a row.
func (p *Pool) regroup(best rank) {
	changed := false
	for _, s := range p.servers {
		in := s.rank == best
		changed = changed || in != s.sharing
		s.sharing = in
	}
	if changed {
		p.scatter(best)
	}
}

func (p *Pool) rank(s *Server, tried []*Server) rank {
	r := fit
	switch s.state() {
	case Down:
		return unfit
	case Unknown:
		r = untried
	}
	if slices.Contains(tried, s) {
		return unfit
	}
	if s.avoided() {
		r++
	}
	return r
}

// next is nginx's smooth weighted round robin among the servers of rank r: each
// gains its weight, the richest is taken and pays what all gained. Weights 5, 1,
// 1 give a a b a c a a, never five in a row.
func (p *Pool) next(r rank) *Server {
	var chosen *Server
	total := 0
	for _, s := range p.servers {
		if s.rank != r {
			continue
		}
		total += s.Weight
		s.current += s.Weight
		if chosen == nil || s.current > chosen.current {
			chosen = s
		}
	}
	if chosen != nil {
		chosen.current -= total
	}
	return chosen
}

// RetryAfter returns when it is worth coming back after Pick found no server:
// when the next probe is due, if all are down, in whole seconds, at least one. It
// may be called from any goroutine.
func RetryAfter(p *Pool) time.Duration { return p.retryAfter(shm.Now()) }

func (p *Pool) retryAfter(now int64) time.Duration {
	var wait time.Duration
	for i, s := range p.servers {
		if s.state() != Down {
			return time.Second // tried already: another request may find it well
		}
		left := time.Duration(int64(s.cell.Due.Load()) - now)
		if i == 0 || left < wait {
			wait = left
		}
	}
	// Rounded down, plus one: at the instant the probe is due its result is not in.
	return max(wait, 0).Truncate(time.Second) + time.Second
}
