package tlsconn

import (
	"runtime"
	"slices"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
)

// A step of a handshake holds the loop for 0.1 to 1 ms, and each event of a turn
// may bring one. So that a flood of them leaves room for all else, a turn begins
// steps for turnTime only; those that come after wait in line for the next turns.
// Handshakes that have begun go first, and none begins that has waited for half of
// its time: else a flood would leave each with too little of it to end.
const (
	turnTime = time.Millisecond
	perTurn  = 16 // that are woken to try: no more will fit
)

// A Gate bounds what the handshakes of a loop's clients take of it at a time. It
// is used on that loop only.
type Gate struct {
	loop    *loop.Loop
	turn    int64     // loop time of the turn that began
	began   time.Time // steps at
	hellos  line      // that wait for their first step
	steps   line      // that wait for a further one
	posted  bool      // admit will be called
	jobs    line      // that wait for a processor besides the loop's
	working int       // that have one
}

// NewGate returns the gate of l. A loop has one.
func NewGate(l *loop.Loop) *Gate { return &Gate{loop: l} }

// Waiting returns how many handshakes wait for their turn.
func (g *Gate) Waiting() int { return len(g.hellos) + len(g.steps) }

// A line is of connections whose handshakes wait, first come first served.
type line []*Conn

// wait waits until c is the first in line and open says so.
func (l *line) wait(c *Conn, deadline int64, open func() bool) error {
	if len(*l) == 0 && open() {
		return nil
	}
	*l = append(*l, c)
	defer func() {
		i := slices.Index(*l, c)
		*l = slices.Delete(*l, i, i+1)
		l.wake(1) // c may have been woken for a place that it does not take
	}()
	for !c.raw.Failed() && c.raw.Open() {
		if err := c.task.WaitAny(deadline, c.raw, nil); err != nil {
			return err
		}
		if (*l)[0] == c && open() {
			return nil
		}
	}
	return errGone
}

// wake lets the first n in line try.
func (l line) wake(n int) {
	for _, c := range l[:min(n, len(l))] {
		c.task.Wake()
	}
}

// begin waits until c may do the first step of its handshake.
func (g *Gate) begin(c *Conn) error {
	deadline := c.deadline
	if deadline != 0 {
		deadline -= (deadline - c.task.Now()) / 2
	}
	return g.hellos.wait(c, deadline, func() bool { return len(g.steps) == 0 && g.open() })
}

// resume waits until c may do a further one.
func (g *Gate) resume(c *Conn) error { return g.steps.wait(c, c.deadline, g.open) }

// open reports whether this turn has time for a step.
func (g *Gate) open() bool {
	if now := g.loop.Now(); g.turn != now {
		g.turn, g.began = now, time.Now()
		return true
	}
	if time.Since(g.began) < turnTime {
		return true
	}
	g.admitLater()
	return false
}

func (g *Gate) admitLater() {
	if !g.posted {
		g.posted = true
		g.loop.Post(g.admit)
	}
}

// admit is called in a turn after one that had no time left.
func (g *Gate) admit() {
	g.posted = false
	g.steps.wake(perTurn)
	g.hellos.wake(perTurn)
	if g.Waiting() > 0 {
		g.admitLater()
	}
}

// beginJob waits until there is a processor for c's work besides that which the
// loop needs. More goroutines would take the loop's, for 10 ms at a time.
func (g *Gate) beginJob(c *Conn) error {
	err := g.jobs.wait(c, c.deadline, func() bool { return g.working < max(1, runtime.GOMAXPROCS(0)-1) })
	if err == nil {
		g.working++
	}
	return err
}

func (g *Gate) endJob() {
	g.working--
	g.jobs.wake(1)
}
