package lb

import (
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// admin is the word that says what the operator wants of a server:
//
//	time it was enabled, ms 40 | weight 16 | spare 6 | state 2
//
// A weight of 0 is the configuration's. A zero word is a server that the operator
// never spoke of. The time is that of the last change from out of use to in use.
type admin uint64

// States of a server by the operator's word.
const (
	enabled uint64 = iota
	draining
	disabled
)

const (
	adminWeightShift  = 8
	adminChangedShift = adminWeightShift + 16
)

func (a admin) state() uint64  { return uint64(a) & 3 }
func (a admin) weight() int    { return int(a >> adminWeightShift & maxWeight) }
func (a admin) changed() int64 { return int64(a>>adminChangedShift) * int64(time.Millisecond) }
func (a admin) out() bool      { return a.state() != enabled }

func (a admin) with(state uint64, now int64) admin {
	if a.out() && state == enabled {
		a &= 1<<adminChangedShift - 1
		a |= admin(now/int64(time.Millisecond)) << adminChangedShift
	}
	return a&^3 | admin(state)
}

func (a admin) weighing(n int) admin {
	n = min(max(n, 0), maxWeight)
	return a&^(maxWeight<<adminWeightShift) | admin(n)<<adminWeightShift
}

func (a admin) String() string {
	switch a.state() {
	case draining:
		return "draining"
	case disabled:
		return "disabled"
	}
	return ""
}

// Enable puts s into use again, after Drain or Disable. Like these it holds for
// all workers at once, over reloads, crashes and upgrades, and may be called from
// any goroutine.
func (s *Server) Enable() { s.order(enabled) }

// Drain has s picked no more. Its requests in flight go on, and so do its probes.
func (s *Server) Drain() { s.order(draining) }

// Disable has s neither picked nor probed any more. Its requests in flight go on.
func (s *Server) Disable() { s.order(disabled) }

// SetWeight makes n, at most 65535, the weight of s until it is set again; 0: that
// of the configuration.
func (s *Server) SetWeight(n int) {
	s.change(func(a admin) admin { return a.weighing(n) })
}

func (s *Server) order(state uint64) {
	now := shm.Now()
	s.change(func(a admin) admin { return a.with(state, now) })
}

func (s *Server) change(to func(admin) admin) {
	for {
		old := s.admin()
		if s.cell.Admin.CompareAndSwap(uint64(old), uint64(to(old))) {
			s.tell()
			return
		}
	}
}

func (s *Server) admin() admin { return admin(s.cell.Admin.Load()) }

// disabled reports whether the operator has forbidden to probe s.
func (s *Server) disabled() bool { return s.admin().state() == disabled }

// Info is what there is to know of a server.
type Info struct {
	Address    string
	Weight     int // in force
	Configured int // the weight of the configuration
	Backup     bool
	State      State
	Since      time.Time     // see Server.State
	Reason     string        // likewise
	Admin      string        // "", "draining", "disabled"
	Ejected    time.Duration // how much longer; 0: not ejected
	InFlight   int           // requests, of all workers
}

// Info returns what is known of s. It may be called from any goroutine.
func (s *Server) Info() Info {
	spec := s.spec.Load()
	i := Info{
		Address:    s.Address,
		Weight:     s.weight(),
		Configured: spec.Weight,
		Backup:     spec.Backup,
		Admin:      s.admin().String(),
		InFlight:   s.pool.flights.sum(s.row),
	}
	i.State, i.Since, i.Reason = s.State()
	if left := ejection(s.cell.Eject.Load()).until() - shm.Now(); left > 0 {
		i.Ejected = time.Duration(left)
	}
	return i
}
