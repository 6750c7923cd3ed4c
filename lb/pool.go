package lb

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// A Spec names one server of an upstream.
type Spec struct {
	Address string // "ip:port" or "unix:/path"
	Weight  int    // its share of requests, 1 to 65535; less than 1 counts as 1
	Backup  bool   // used only while no other server is usable
}

// Settings say how a pool works. They never change.
type Settings struct {
	Name    string
	Policy  Policy
	Checked bool // servers are up or down as a Prober finds them; else always up

	// SlowStart is how long a server that comes up, from being down, ejected or
	// out by the operator's word, takes until it has its full share, growing from
	// a tenth of it; 0: at once. Keyed policies know none: it would move keys.
	SlowStart time.Duration

	// Panic is the percentage of usable servers among the primaries below which
	// health is not believed any more and all of them are used; 0: never.
	Panic int

	Eject       Ejection
	Connections int // requests in flight per server, over all workers; 0: unbounded
	Slot        int // of this worker
}

// A Pool is the servers of one upstream, as one worker picks from them. What it
// does not say otherwise of belongs to the loop.
type Pool struct {
	Settings
	seg     *shm.Segment
	flights *flights
	known   atomic.Pointer[[]*Server] // servers, for all goroutines

	servers []*Server
	share   shares  // of the servers that are fittest now
	rest    shares  // room for a pick that must pass some of them over
	credit  []int64 // of each server: see turn
	loads   []int64 // requests in flight that were picked here, to each server
	load    int64   // requests in flight that were picked here
	rand    *rand.Rand
	maglev  *maglev        // nil: another policy, or no servers
	ketama  *ketama        // likewise
	density *atomic.Uint64 // of ketama's points

	// When share is to be made anew: see refresh.
	changes *atomic.Uint64 // of the upstream's servers, told by all workers
	heard   uint64         // what changes was
	until   int64          // time from which on share is wrong by itself; 0: none
	cursor  int            // the server whose look is next to be compared
	stale   bool           // share is wrong already
}

// topics is how many words of one kind there are for upstreams. Those whose names
// meet in one share it, which is rare and harmless.
const topics = 1 << 14

// NewPool returns a pool of those servers. The pool does not own seg, which must
// outlive it; what the segment knows of the servers holds. One process calls it
// from one goroutine at a time, and nobody else has s.Slot.
func NewPool(seg *shm.Segment, s Settings, servers []Spec) (*Pool, error) {
	p := &Pool{Settings: s, seg: seg, rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	words, err := seg.Words("lb/changes", topics)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", s.Name, err)
	}
	at := seg.Hash("lb/changes", []byte(s.Name)) % topics
	p.changes = &words[at]
	if words, err = seg.Words("lb/density", topics); err != nil {
		return nil, fmt.Errorf("upstream %s: %w", s.Name, err)
	}
	p.density = &words[at]
	if p.flights, err = openFlights(seg, s.Slot); err != nil {
		return nil, fmt.Errorf("upstream %s: requests in flight: %w", s.Name, err)
	}
	if _, err := p.Replace(servers); err != nil {
		return nil, err
	}
	return p, nil
}

// Replace makes specs the servers of p, and returns the servers that are so no
// more. One that stays, by its address, keeps its *Server and what is in flight
// to it; its weight and whether it is a backup become as specs say. Of two specs
// with one address the first counts. If it fails, nothing has changed.
func (p *Pool) Replace(specs []Spec) (gone []*Server, err error) {
	specs = distinct(specs)
	next, err := p.arrange(specs)
	if err != nil {
		return nil, err
	}
	for i, s := range next {
		s.spec.Store(&specs[i])
	}
	gone = p.seat(next)
	p.weigh()
	p.hash()
	return gone, nil
}

// seat makes next the servers of p, each with the load that it has, and returns
// those that have lost their place.
func (p *Pool) seat(next []*Server) (gone []*Server) {
	loads := make([]int64, len(next))
	for i, s := range next {
		if s.place != nowhere {
			loads[i] = p.loads[s.place]
		}
	}
	for _, s := range p.servers {
		s.place = nowhere
	}
	for i, s := range next {
		s.place, s.sharing = i, false
	}
	for _, s := range p.servers {
		if s.place == nowhere {
			gone = append(gone, s)
		}
	}
	p.servers, p.loads, p.credit = next, loads, make([]int64, len(next))
	p.known.Store(&next)
	p.share.weights, p.rest.weights = make([]int64, len(next)), make([]int64, len(next))
	p.cursor, p.stale = 0, true
	return gone
}

// distinct returns a copy of specs with weights in bounds, without those whose
// address came before.
func distinct(specs []Spec) []Spec {
	seen := make(map[string]bool, len(specs))
	var d []Spec
	for _, s := range specs {
		if !seen[s.Address] {
			seen[s.Address] = true
			s.Weight = min(max(s.Weight, 1), maxWeight)
			d = append(d, s)
		}
	}
	return d
}

// arrange returns the servers that specs name: p's own, and new ones.
func (p *Pool) arrange(specs []Spec) ([]*Server, error) {
	own := make(map[string]*Server, len(p.servers))
	for _, s := range p.servers {
		own[s.Address] = s
	}
	next := make([]*Server, len(specs))
	for i, spec := range specs {
		if next[i] = own[spec.Address]; next[i] != nil {
			continue
		}
		cell, err := p.seg.Server(p.Name, spec.Address)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: server %s: %w", p.Name, spec.Address, err)
		}
		next[i] = &Server{Address: spec.Address, pool: p, cell: cell, row: p.seg.Index(cell), name: keyHash([]byte(spec.Address)), place: nowhere}
	}
	return next, nil
}

// Servers returns the servers of p in the order they were given in. It may be
// called from any goroutine; the caller must not change the slice.
func (p *Pool) Servers() []*Server { return *p.known.Load() }

// RetryAfter returns when it is worth coming back after Pick found no server:
// when the next probe is due, if all are down, in whole seconds, at least one. It
// may be called from any goroutine.
func RetryAfter(p *Pool) time.Duration { return p.retryAfter(shm.Now()) }

func (p *Pool) retryAfter(now int64) time.Duration {
	var wait time.Duration
	for i, s := range p.Servers() {
		if s.state() != Down || s.admin().out() {
			return time.Second // full, tried already, or at the operator's will: who knows
		}
		left := time.Duration(int64(s.cell.Due.Load()) - now)
		if i == 0 || left < wait {
			wait = left
		}
	}
	// Rounded down, plus one: at the instant the probe is due its result is not in.
	return max(wait, 0).Truncate(time.Second) + time.Second
}
