package lb

import (
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// Ejection is when a server is taken out of use for what it answers, health checks
// or none. It is like Envoy's for errors in a row: MaxPercent is never exceeded, so
// a pool of n servers ejects none if MaxPercent is less than 100/n.
type Ejection struct {
	Errors     int           // in a row, of all workers together, until a server is ejected; 0: never
	For        time.Duration // times the number of ejections in a row, ten at most
	MaxPercent int           // of the servers of the pool that may be ejected at once
}

// ejection is the word that says how a server has answered lately:
//
//	ejected until, ms 40 | ejections in a row 8 | errors in a row 16
//
// It is changed as a whole. A zero word is a server that never erred.
type ejection uint64

const (
	timesShift = 16
	untilShift = timesShift + 8

	maxErrors = 1<<timesShift - 1
	maxTimes  = 10
)

func makeEjection(until int64, times, errors int) ejection {
	// Rounded up, so that a time that has come is not taken for none.
	ms := uint64((until + int64(time.Millisecond) - 1) / int64(time.Millisecond))
	return ejection(ms<<untilShift | uint64(times)<<timesShift | uint64(errors))
}

func (e ejection) errors() int  { return int(e & maxErrors) }
func (e ejection) times() int   { return int(e >> timesShift & 0xff) }
func (e ejection) until() int64 { return int64(e>>untilShift) * int64(time.Millisecond) }

// next returns what e is after one more error. An ejection is in a row with the
// last one if that has been over for no longer than it lasted.
func (e ejection) next(now int64, rule *Ejection) ejection {
	errors := min(e.errors()+1, maxErrors)
	if errors < rule.Errors {
		return makeEjection(e.until(), e.times(), errors)
	}
	times := 1
	if lasted := int64(rule.For) * int64(e.times()); e.times() > 0 && now-e.until() <= lasted {
		times = min(e.times()+1, maxTimes)
	}
	return makeEjection(now+int64(rule.For)*int64(times), times, 0)
}

// note remembers how a request to s ended, and reports whether this ejected
// s. In the steady state, without errors, that is one load of a word that nobody
// writes.
func (s *Server) note(o Outcome) bool {
	if o == Errored {
		return s.erred(shm.Now())
	}
	for o == Succeeded {
		e := ejection(s.cell.Eject.Load())
		if e.errors() == 0 || s.cell.Eject.CompareAndSwap(uint64(e), uint64(e&^maxErrors)) {
			break
		}
	}
	return false
}

func (s *Server) erred(now int64) bool {
	rule := &s.pool.Eject
	for {
		e := ejection(s.cell.Eject.Load())
		if e.until() > now {
			return false // what was under way when it was ejected
		}
		next := e.next(now, rule)
		if !s.cell.Eject.CompareAndSwap(uint64(e), uint64(next)) {
			continue
		}
		if next.until() <= now {
			return false
		}
		// Ejected first and counted then: of two workers that eject at once, at
		// least one sees both.
		if s.pool.ejected(now)*100 > rule.MaxPercent*len(s.pool.servers) {
			s.cell.Eject.CompareAndSwap(uint64(next), uint64(makeEjection(e.until(), e.times(), rule.Errors-1)))
			return false
		}
		s.tell()
		return true
	}
}

// ejected is how many servers of p are ejected.
func (p *Pool) ejected(now int64) (n int) {
	for _, s := range p.servers {
		if ejection(s.cell.Eject.Load()).until() > now {
			n++
		}
	}
	return n
}
