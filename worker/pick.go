package worker

import (
	"errors"
	"slices"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/worker/loop"
)

// lookEvery is how often it is seen whether another worker has made room at a
// server; what this one makes is used at once.
const lookEvery = 10 * time.Millisecond

var errFull = errors.New("all servers have as many requests as limits.connections allows")

// pick chooses a server. Every server that it has chosen is parted from once.
func (x *exchange) pick() error {
	u := x.upstream
	x.result = lb.Abandoned
	x.account.asked, x.account.answered = 0, 0
	if len(u.waiting) == 0 {
		if x.picked = u.pool.Pick(x.tried, x.key); x.picked != nil {
			return nil
		}
		if !u.pool.Usable(x.tried) {
			return errNoneUsable
		}
	}
	return x.queue()
}

// queue waits in line for a server that has room.
func (x *exchange) queue() error {
	u := x.upstream
	if len(u.waiting) >= u.config.Limits.Pending {
		x.w.count(shm.PendingRefused)
		return errFull
	}
	x.w.count(shm.Pending)
	u.waiting = append(u.waiting, x)
	u.usher.call()
	giveUp := earlier(x.t.After(u.config.Timeouts.Connect), x.deadline)
	for {
		err := x.awaitTurn(giveUp)
		if x.picked != nil {
			return nil
		}
		if err != nil {
			if err == errFull {
				x.w.count(shm.PendingRefused)
			}
			i := slices.Index(u.waiting, x)
			u.waiting = slices.Delete(u.waiting, i, i+1)
			return err
		}
	}
}

// awaitTurn waits for an event of the client, or for admit.
func (x *exchange) awaitTurn(giveUp int64) error {
	c := x.c
	if c.failed() || c.gone() && !x.req.HasBody() {
		return errClientGone
	}
	err := x.t.WaitAny(giveUp, &c.Conn, nil)
	switch {
	case x.late():
		return errRequest
	case err != nil:
		return errFull
	}
	return nil
}

// admit gives those who wait, in order, the servers that have room.
func (u *upstream) admit() {
	for i := 0; i < len(u.waiting); {
		x := u.waiting[i]
		if x.picked = u.pool.Pick(x.tried, x.key); x.picked != nil {
			u.waiting = slices.Delete(u.waiting, i, i+1)
			x.t.Wake()
			continue
		}
		if len(x.tried) == 0 {
			return // nor is there any for those behind
		}
		i++
	}
}

// An usher is a coroutine that looks for room while somebody waits.
type usher struct {
	u    *upstream
	busy bool
}

func (s *usher) call() {
	if !s.busy {
		s.busy = true
		s.u.w.loop.Spawn(s)
	}
}

// Run is for the loop.
func (s *usher) Run(t *loop.Task) {
	for len(s.u.waiting) > 0 {
		t.Sleep(lookEvery)
		s.u.admit()
	}
	s.busy = false
}

// Crashed is for the loop.
func (s *usher) Crashed(v any, stack []byte) {
	s.busy = false
	s.u.w.log.Error("bug: panic in a queue", "panic", v, "upstream", s.u.config.Name, "stack", string(stack))
}

// part tells the balancer how the chosen server has done, if there is one.
func (x *exchange) part() {
	s, u := x.picked, x.upstream
	if s == nil {
		return
	}
	x.picked = nil
	if s.Done(x.result, x.waited()) {
		x.w.count(shm.Ejections)
		x.w.log.Warn("server ejected", "upstream", u.config.Name, "server", s.Address, "for", s.Info().Ejected.Round(10*time.Millisecond))
	}
	if len(u.waiting) > 0 {
		u.admit()
	}
}

// waited is how long the chosen server took to respond, or if it failed how long
// it has not responded for by now; 0: it was not asked.
func (x *exchange) waited() time.Duration {
	if a := &x.account; x.result == lb.Errored && a.asked != 0 && a.answered == 0 {
		return time.Duration(max(x.t.Now()-a.asked, 1))
	}
	return x.upstreamTime()
}

// rate is what a response with this status says about its server.
func rate(status int) lb.Outcome {
	if status >= 500 {
		return lb.Errored
	}
	return lb.Succeeded
}

// blame notes that the exchange failed with err, if that was the server's doing.
func (x *exchange) blame(err error) {
	if statusOf(err) < 500 || err == errRequest && x.awaitsClient() {
		return
	}
	x.result = lb.Errored
}

// awaitsClient reports whether it is the client that the exchange waits for.
func (x *exchange) awaitsClient() bool {
	if x.account.answered != 0 {
		return !x.down.onSrc
	}
	return !x.up.done && x.upErr == nil && x.up.onSrc
}
