package lb

import (
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// avoidance is how long a server is passed over after a connect to it failed:
// long enough that a burst does not find it again, short enough that a server
// without a health check is tried again soon.
const avoidance = time.Second

// A Server is one server of a Pool. Its exported fields never change.
type Server struct {
	Address string // "ip:port" or "unix:/path"
	Weight  int    // at least 1

	cell    *shm.Server // what all workers know about it
	checked bool        // a prober decides whether it is up

	// Of the loop alone: see Pool.Pick.
	rank    rank
	current int
	sharing bool // it was among those that Pick chose from
}

// Failed reports that a connect to s failed. All workers pass s over for a
// second while another server is usable and, if s has a health check, it is
// probed at once. Failed may be called from any goroutine.
func (s *Server) Failed() { s.failed(shm.Now()) }

func (s *Server) failed(now int64) {
	s.cell.Avoid.Store(uint64(now + int64(avoidance)))
	if !s.checked || health(s.cell.Health.Load()).state() == Down {
		return // a server that is down goes on being probed at its interval
	}
	if due := s.cell.Due.Load(); int64(due) > now {
		// Losing to the prober is as good as winning: it is probing just now.
		s.cell.Due.CompareAndSwap(due, uint64(now))
	}
}

// Up reports whether s is known to be up. It may be called from any goroutine.
func (s *Server) Up() bool { return s.state() == Up }

// State returns what is known about s, since when, and for a server that is
// down the reason of the last failed probe in short. The time is zero if s was
// never probed or has no health check. It may be called from any goroutine.
func (s *Server) State() (state State, since time.Time, reason string) {
	if !s.checked {
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
	if !s.checked {
		return Up
	}
	return health(s.cell.Health.Load()).state()
}

// avoided reports whether a connect to s failed less than a second ago.
func (s *Server) avoided() bool {
	until := s.cell.Avoid.Load()
	if until == 0 {
		return false // nearly always, and without reading the clock
	}
	if int64(until) > shm.Now() {
		return true
	}
	s.cell.Avoid.CompareAndSwap(until, 0)
	return false
}
