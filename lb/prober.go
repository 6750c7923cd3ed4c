package lb

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb/reason"
)

// A Check says how the servers of a pool are probed.
type Check struct {
	Interval time.Duration // from one probe's start to the next, ±10 %; 0: 1 s, at least 10 ms
	Timeout  time.Duration // of one probe; 0: 1 s
	Rise     int           // passes in a row until a server is up: 1 to 255, what is less counts as 1
	Fall     int           // failures in a row until it is down: likewise

	// Initial is what a server is before its first probe has ended. Unknown, the
	// zero value: used only while none is up. Up: used as the others are. Either
	// way that probe alone decides; and what the segment knows comes before it.
	Initial State

	// Probe reports what is wrong with the server at address, nil if nothing is.
	// It runs on a goroutine of its own and must return once ctx is done. What
	// reason.Of finds in the error, all workers are told. Required.
	Probe func(ctx context.Context, address string) error
}

func (c *Check) setDefaults() {
	if c.Interval <= 0 {
		c.Interval = time.Second
	}
	c.Interval = max(c.Interval, 10*time.Millisecond)
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	c.Rise = min(max(c.Rise, 1), maxStreak)
	c.Fall = min(max(c.Fall, 1), maxStreak)
}

// A Prober makes the health checks of one pool in one worker, of those servers
// whose lease the worker holds. It follows the pool's servers as they change.
//
// When a server is probed next is in the shared segment, not here. A prober
// claims a probe by moving that time one interval on, by compare-and-swap: so a
// prober that is replaced by a reload, or overlaps with the one it replaces,
// makes no probe twice and none early; nor does a worker that was stopped, and
// goes on believing in a lease that another has taken over.
//
// The lease lasts half an interval and is renewed when an eighth of that is
// gone. At worst its holder dies with a lease just renewed and a probe just due,
// 1.1 intervals after the last one: 0.5 later the lease is free, 0.125 later the
// others have seen it. No server waits two intervals for its next probe.
type Prober struct {
	pool    *Pool
	check   Check
	slot    int
	log     *slog.Logger
	targets []*target // of Run's goroutine
	probes  sync.WaitGroup
}

// A target is a server as one prober sees it. While a probe is under way, it
// belongs to that probe's goroutine.
type target struct {
	*Server
	busy    atomic.Bool // a probe by this prober has not ended
	started int64       // the latest probe by this prober; 0: none
}

// NewProber returns a prober of p for the worker in slot. Changes of state are
// logged to log, by the one worker that found them.
func NewProber(p *Pool, check Check, slot int, log *slog.Logger) *Prober {
	check.setDefaults()
	pr := &Prober{pool: p, check: check, slot: slot, log: log}
	pr.follow(shm.Now()) // now, so that no pick comes before Check.Initial
	return pr
}

// Run probes until ctx is done. It returns when all its goroutines are gone,
// which is at most Check.Timeout later: a probe under way is carried to its
// end, else reloads in quick succession would hide a server that answers nothing.
// The leases stay with the slot, for the prober to come.
func (p *Prober) Run(ctx context.Context) {
	defer p.probes.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var due []*target
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		var wait time.Duration
		due, wait = p.turn(shm.Now(), due[:0])
		for _, t := range due {
			p.probes.Go(func() { p.probe(context.WithoutCancel(ctx), t) })
		}
		timer.Reset(wait)
	}
}

// follow makes the servers of the pool the targets. A server that stays keeps
// its target, and with it the probe that may be under way.
func (p *Prober) follow(now int64) {
	servers := p.pool.Servers()
	if slices.EqualFunc(p.targets, servers, func(t *target, s *Server) bool { return t.Server == s }) {
		return
	}
	known := make(map[*Server]*target, len(p.targets))
	for _, t := range p.targets {
		known[t.Server] = t
	}
	targets := make([]*target, len(servers))
	for i, s := range servers {
		targets[i] = known[s]
		if targets[i] != nil {
			continue
		}
		targets[i] = &target{Server: s}
		if p.check.Initial == Up {
			p.presume(s, now)
		}
	}
	p.targets = targets
}

// presume makes s up if nothing is known of it.
func (p *Prober) presume(s *Server, now int64) {
	if s.cell.Health.CompareAndSwap(0, uint64(presumed(now, p.check.Fall))) {
		s.tell()
	}
}

// turn takes and renews leases, appends the targets to probe now to due, and
// says when to come again: when the next probe is due, but soon in any case. That
// is how a prober hears of a lease that expired and of Server.Failed in another
// worker, without a descriptor between the workers; it costs a few loads per
// server.
func (p *Prober) turn(now int64, due []*target) ([]*target, time.Duration) {
	p.follow(now)
	wait := min(p.check.Interval/8, 250*time.Millisecond)
	least := min(p.check.Interval/64, 5*time.Millisecond) // between turns, of however many servers
	for _, t := range p.targets {
		if t.disabled() || !hold(&t.cell.Lease, p.slot, now, p.term()) {
			continue
		}
		wait = min(wait, 50*time.Millisecond)
		if t.busy.Load() {
			continue
		}
		if left := p.left(t, now); left > 0 {
			wait = min(wait, max(left, least))
			continue
		}
		t.busy.Store(true)
		due = append(due, t)
	}
	return due, wait
}

func (p *Prober) term() time.Duration { return p.check.Interval / 2 }

// gap is the least time between the starts of two probes of a server, however
// often Server.Failed asks for one.
func (p *Prober) gap() time.Duration { return min(p.check.Interval/4, 250*time.Millisecond) }

// left returns how long it is until the next probe of t.
func (p *Prober) left(t *target, now int64) time.Duration {
	due := t.cell.Due.Load()
	left := time.Duration(int64(due) - now)
	if latest := p.check.Interval + p.check.Interval/10; left > latest {
		// Set by a configuration with a longer interval.
		left = time.Duration(p.jittered())
		t.cell.Due.CompareAndSwap(due, uint64(now+int64(left)))
	}
	if t.started == 0 {
		return left
	}
	return max(left, p.gap()-time.Duration(now-t.started))
}

// claim reports whether the probe of t that is due is this prober's to make, and
// if so sets the next one.
func (p *Prober) claim(t *target, now int64) bool {
	due := t.cell.Due.Load()
	if int64(due) > now || !t.cell.Due.CompareAndSwap(due, uint64(now+p.jittered())) {
		return false
	}
	t.started = now
	return true
}

// jittered returns the interval ±10 % in nanoseconds, so that many servers with
// one interval are not probed in step for ever.
func (p *Prober) jittered() int64 {
	tenth := int64(p.check.Interval / 10)
	return int64(p.check.Interval) - tenth + rand.Int64N(2*tenth+1)
}

// probe claims and makes one probe. The claim comes last before the connect: who
// is killed between the two takes a probe with him.
func (p *Prober) probe(ctx context.Context, t *target) {
	defer t.busy.Store(false)
	ctx, cancel := context.WithTimeout(ctx, p.check.Timeout)
	defer cancel()
	if !p.claim(t, shm.Now()) {
		return
	}
	err := p.check.Probe(ctx, t.Address)
	p.settle(t, shm.Now(), err)
}

// settle records the end of a probe and logs what it changed.
func (p *Prober) settle(t *target, now int64, err error) {
	late := time.Duration(now-t.started) > p.check.Timeout+p.term()
	if late && lease(t.cell.Lease.Load()).slot() != p.slot {
		return // we stood still so long that another has taken over: it knows better
	}
	for {
		old := health(t.cell.Health.Load())
		h := old.next(reason.Of(err), now, p.check.Rise, p.check.Fall)
		if h != old && !t.cell.Health.CompareAndSwap(uint64(old), uint64(h)) {
			continue
		}
		if h.state() != old.state() {
			t.tell()
			p.announce(t, h.state(), err)
		}
		return
	}
}

func (p *Prober) announce(t *target, s State, err error) {
	text := fmt.Sprintf("upstream %s: server %s is %v", p.pool.Name, t.Address, s)
	if s == Down {
		p.log.Warn(text + ": " + err.Error())
		return
	}
	p.log.Info(text)
}
