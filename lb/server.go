package lb

import (
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// avoidance is how long a server is passed over after a connect to it failed:
// long enough that a burst does not find it again, short enough that a server
// without a health check is tried again soon.
const avoidance = time.Second

// nowhere is the place of a server that has left its pool.
const nowhere = -1

// A Server is one server of a Pool.
type Server struct {
	Address string // "ip:port" or "unix:/path"; never changes

	pool *Pool
	cell *shm.Server          // what all workers know about it
	row  int                  // of it in flights
	name uint64               // hash of Address
	spec atomic.Pointer[Spec] // see Pool.Replace

	// Of the loop alone.
	place   int // in Pool.servers; nowhere: it has left
	rank    rank
	sharing bool // it has a part in Pool.share
	seen    look // what rank was made from
	latency latency
	weighed int // its weight in force when share was made last
}

// An Outcome is how a request to a server ended.
type Outcome uint8

// The outcomes.
const (
	Abandoned Outcome = iota // says nothing of the server: the client left, a kept connection was stale
	Succeeded                // the server answered
	Errored                  // connect, reset, time-out, nonsense, or a status of 500 and more
)

// Done says that a request for which s was picked has ended, and how, and that it
// took so long until the head of the response; 0: unknown. It reports whether this
// ejected s. Only the loop may call it; s may have left its pool.
func (s *Server) Done(o Outcome, took time.Duration) (ejected bool) {
	s.pool.left(s)
	if s.pool.Policy == EWMA && (took > 0 || o == Errored) {
		s.latency.observe(o, took, shm.Now())
	}
	if s.pool.Eject.Errors > 0 {
		return s.note(o)
	}
	return false
}

// left is the reverse of enter.
func (p *Pool) left(s *Server) {
	if s.place != nowhere {
		if p.loads[s.place] == 0 {
			panic("bug: more requests to " + s.Address + " ended than began")
		}
		p.loads[s.place]--
	}
	p.load--
	p.flights.leave(s.row)
}

// Failed reports that a connect to s failed. All workers pass s over for a
// second while another server is usable and, if s has a health check, it is
// probed at once. Failed may be called from any goroutine.
func (s *Server) Failed() { s.failed(shm.Now()) }

func (s *Server) failed(now int64) {
	if before := s.cell.Avoid.Swap(uint64(now + int64(avoidance))); int64(before) <= now {
		s.tell()
	}
	if !s.pool.Checked || health(s.cell.Health.Load()).state() == Down {
		return // a server that is down goes on being probed at its interval
	}
	if due := s.cell.Due.Load(); int64(due) > now {
		// Losing to the prober is as good as winning: it is probing just now.
		s.cell.Due.CompareAndSwap(due, uint64(now))
	}
}

// tell has all workers look at the servers of the upstream again at their next
// pick. Whoever changes what is known of s tells it, after the change.
func (s *Server) tell() { s.pool.changes.Add(1) }

// Up reports whether s is known to be up. It may be called from any goroutine.
func (s *Server) Up() bool { return s.state() == Up }

// State returns what is known about s, since when, and for a server that is
// down the reason of the last failed probe in short. The time is zero if s was
// never probed or has no health check. It may be called from any goroutine.
func (s *Server) State() (state State, since time.Time, reason string) {
	if !s.pool.Checked {
		return Up, time.Time{}, ""
	}
	h := health(s.cell.Health.Load())
	if h.state() == Unknown {
		return Unknown, time.Time{}, ""
	}
	since = time.Now().Add(time.Duration(h.changed() - shm.Now()))
	return h.state(), since, h.reason().String()
}

func (s *Server) state() State {
	if !s.pool.Checked {
		return Up
	}
	return health(s.cell.Health.Load()).state()
}

// avoidedUntil returns until when s is avoided because a connect to it failed; 0
// if it is not.
func (s *Server) avoidedUntil(now int64) int64 {
	until := s.cell.Avoid.Load()
	if until == 0 || int64(until) > now {
		return int64(until)
	}
	s.cell.Avoid.CompareAndSwap(until, 0)
	return 0
}
