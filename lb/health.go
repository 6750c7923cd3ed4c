package lb

import (
	"time"

	"github.com/proxyd/proxyd/lb/reason"
)

// A State is what is known about a server.
type State uint8

// The states of a server.
const (
	Unknown State = iota // has a health check, and no probe has ended yet
	Up
	Down
)

func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return "unknown"
}

// health is the word that says how a server is. It is changed as a whole, by
// compare-and-swap, so no process ever sees one half of it:
//
//	time of change, ms 40 | reason 14 | streak 8 | state 2
//
// The streak counts the latest probes in a row that speak against the state. A
// zero word is a server never probed. 40 bits of milliseconds since boot are
// more than 34 years.
type health uint64

const (
	streakShift  = 2
	reasonShift  = streakShift + 8
	changedShift = reasonShift + 14

	maxStreak = 1<<8 - 1
)

const passed reason.Code = 0

func pack(s State, streak int, r reason.Code, changed int64) health {
	ms := uint64(changed / int64(time.Millisecond))
	return health(ms<<changedShift | uint64(r)<<reasonShift | uint64(streak)<<streakShift | uint64(s))
}

func (h health) state() State        { return State(h & 3) }
func (h health) streak() int         { return int(h >> streakShift & maxStreak) }
func (h health) reason() reason.Code { return reason.Code(h>>reasonShift) & reason.Max }

// changed returns when the state last changed, on the clock of shm.Now.
func (h health) changed() int64 { return int64(h>>changedShift) * int64(time.Millisecond) }

// presumed is the health of a server that is taken to be up before it was ever
// probed. It is one failure away from down, for its first probe decides alone,
// too.
func presumed(now int64, fall int) health { return pack(Up, fall-1, passed, now) }

// next returns the health after a probe that ended with r. The first probe of
// a server decides alone; after that it takes rise passes in a row to be up, fall
// failures in a row to be down.
func (h health) next(r reason.Code, now int64, rise, fall int) health {
	result, need := Up, rise
	if r != passed {
		result, need = Down, fall
	}
	switch {
	case h.state() == Unknown:
		return pack(result, 0, r, now)
	case h.state() == result:
		return pack(result, 0, r, h.changed()) // for what is down, the latest reason
	case h.streak()+1 >= need:
		return pack(result, 0, r, now)
	}
	return pack(h.state(), h.streak()+1, h.reason(), h.changed())
}
