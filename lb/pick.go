package lb

import (
	"slices"

	"github.com/proxyd/proxyd/internal/shm"
)

// shares are how requests are shared out among the servers of a pool.
type shares struct {
	weights  []int64 // by place in Pool.servers; 0: gets none
	members  int     // that get some
	total    int64   // of the weights
	heaviest int64   // of the weights
}

func (s *shares) reset() {
	clear(s.weights)
	s.members, s.total, s.heaviest = 0, 0, 0
}

func (s *shares) set(i int, weight int64) {
	s.weights[i] = weight
	s.members++
	s.total += weight
	s.heaviest = max(s.heaviest, weight)
}

// Pick returns the server for the next request: of the fittest servers that are
// not in tried, one that has room for a request, by the pool's policy; nil if there
// is none. Which are the fittest is told at type rank. Key is what keyed policies
// go by; without one they go by chance.
//
// Pick counts the request as in flight. Exactly one Done of the server must
// follow. Only the loop may call Pick.
func (p *Pool) Pick(tried []*Server, key []byte) *Server {
	p.refresh()
	if len(tried) == 0 {
		i := p.choose(&p.share, key)
		if i < 0 {
			return nil
		}
		if s := p.servers[i]; p.enter(s) {
			return s
		}
	}
	// Another process may take the place that was seen to be free.
	for range 3 {
		i := p.choose(p.remaining(tried), key)
		if i < 0 {
			return nil
		}
		if s := p.servers[i]; p.enter(s) {
			return s
		}
	}
	return nil
}

// enter counts a request to s as in flight, and reports whether there is room.
func (p *Pool) enter(s *Server) bool {
	if !p.flights.enter(s.row, p.Connections) {
		return false
	}
	p.loads[s.place]++
	p.load++
	return true
}

// choose returns the place of the server whose turn it is in sh; -1: nobody's.
func (p *Pool) choose(sh *shares, key []byte) int {
	if sh.members == 0 {
		return -1
	}
	switch p.Policy {
	case RoundRobin:
		return p.turn(sh)
	case LeastRequest:
		return p.leastLoaded(sh)
	case P2C:
		return p.lessLoaded(sh)
	case EWMA:
		return p.quicker(sh, shm.Now())
	case Maglev:
		if key != nil {
			return p.maglev.find(p, sh, keyHash(key))
		}
	case Ketama:
		if key != nil {
			return p.ketama.find(p, sh, keyHash(key))
		}
	}
	return p.draw(sh)
}

// remaining returns the shares of the fittest servers that are not in tried,
// those of them that have room.
func (p *Pool) remaining(tried []*Server) *shares {
	best := p.fittest(tried)
	p.rest.reset()
	if best == unfit {
		return &p.rest
	}
	now := p.now()
	for i, s := range p.servers {
		if s.rank == best && !slices.Contains(tried, s) && !p.flights.full(s.row, p.Connections) {
			p.rest.set(i, p.weight(s, now))
		}
	}
	return &p.rest
}

// fittest is the best rank among the servers that are not in tried.
func (p *Pool) fittest(tried []*Server) rank {
	best := unfit
	for _, s := range p.servers {
		if s.rank < best && !slices.Contains(tried, s) {
			best = s.rank
		}
	}
	return best
}

// Usable reports whether there is a server that is not in tried for Pick to find.
// If so and Pick finds none, those that it could take have Settings.Connections
// requests in flight, and are worth waiting for. Only the loop may call it.
func (p *Pool) Usable(tried []*Server) bool {
	p.refresh()
	return p.fittest(tried) != unfit
}
