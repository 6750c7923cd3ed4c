package lb

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// A Check says how the servers of a pool are probed.
type Check struct {
	Interval time.Duration // from one probe's start to the next, ±10 %; 0: 1 s, at least 10 ms
	Timeout  time.Duration // of one probe; 0: 1 s
	Rise     int           // passes in a row until a server is up: 1 to 255, what is less counts as 1
	Fall     int           // failures in a row until it is down: likewise

	// Probe reports what is wrong with the server at address, nil if nothing is.
	// It runs on a goroutine of its own and must return once ctx is done. Nil:
	// ProbeTCP.
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
	if c.Probe == nil {
		c.Probe = ProbeTCP
	}
}

// A Prober makes the health checks of one pool in one worker, of those servers
// whose lease the worker holds.
//
// When a server is probed next is in the shared segment, not here. A prober
// claims a probe by moving that time one interval on, by compare-and-swap: so a
// prober that is replaced by a reload, or overlaps with the one it replaces,
// makes no probe twice and none early.
//
// The lease lasts 3/2 intervals and is renewed when an eighth of that is gone,
// by turns at most an eighth of an interval apart: a holder that dies is replaced
// within two intervals, one that stalls for one interval keeps its lease.
type Prober struct {
	pool    *Pool
	check   Check
	slot    int
	log     *slog.Logger
	targets []*target // of Run's goroutine
	probes  sync.WaitGroup
}

// A target is a server as one prober sees it.
type target struct {
	*Server
	started int64       // of the latest probe by this prober; 0: none
	busy    atomic.Bool // that probe has not ended
}

// NewProber returns a prober of p for the worker in slot. Changes of state are
// logged to log, by the one worker that found them.
func NewProber(p *Pool, check Check, slot int, log *slog.Logger) *Prober {
	check.setDefaults()
	pr := &Prober{pool: p, check: check, slot: slot, log: log}
	for _, s := range p.servers {
		pr.targets = append(pr.targets, &target{Server: s})
	}
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

// turn takes and renews leases, appends the targets to probe now to due, and
// says when to come again. Coming again soon is how a prober hears of a lease
// that expired and of Server.Failed in another worker, without a descriptor
// between the workers; it costs a few loads per server.
func (p *Prober) turn(now int64, due []*target) ([]*target, time.Duration) {
	wait := min(p.check.Interval/8, 250*time.Millisecond)
	for _, t := range p.targets {
		if !hold(&t.cell.Lease, p.slot, now, p.term()) {
			continue
		}
		wait = min(wait, 50*time.Millisecond)
		if p.claim(t, now) {
			due = append(due, t)
		}
	}
	return due, wait
}

func (p *Prober) term() time.Duration { return p.check.Interval * 3 / 2 }

// gap is the least time between the starts of two probes of a server, however
// often Server.Failed asks for one.
func (p *Prober) gap() time.Duration { return min(p.check.Interval/4, 250*time.Millisecond) }

// claim reports whether t is to be probed now, and if so sets its next probe.
func (p *Prober) claim(t *target, now int64) bool {
	due := t.cell.Due.Load()
	left := time.Duration(int64(due) - now)
	if latest := p.check.Interval + p.check.Interval/10; left > latest {
		// Set by a configuration with a longer interval.
		t.cell.Due.CompareAndSwap(due, uint64(now+p.jittered()))
		return false
	}
	if left > 0 || t.busy.Load() || t.started != 0 && now-t.started < int64(p.gap()) {
		return false
	}
	if !t.cell.Due.CompareAndSwap(due, uint64(now+p.jittered())) {
		return false
	}
	t.started = now
	t.busy.Store(true)
	return true
}

// jittered returns the interval ±10 % in nanoseconds, so that many servers with
// one interval are not probed in step for ever.
func (p *Prober) jittered() int64 {
	tenth := int64(p.check.Interval / 10)
	return int64(p.check.Interval) - tenth + rand.Int64N(2*tenth+1)
}

func (p *Prober) probe(ctx context.Context, t *target) {
	defer t.busy.Store(false)
	ctx, cancel := context.WithTimeout(ctx, p.check.Timeout)
	defer cancel()
	err := p.check.Probe(ctx, t.Address)
	p.settle(t, shm.Now(), err)
}

// settle records the end of a probe and logs what it changed.
func (p *Prober) settle(t *target, now int64, err error) {
	if lease(t.cell.Lease.Load()).slot() != p.slot {
		return // we stalled so long that another has taken over: it knows better
	}
	for {
		old := health(t.cell.Health.Load())
		h := old.next(reasonOf(err), now, p.check.Rise, p.check.Fall)
		if h != old && !t.cell.Health.CompareAndSwap(uint64(old), uint64(h)) {
			continue
		}
		if h.state() != old.state() {
			p.announce(t, h.state(), err)
		}
		return
	}
}

func (p *Prober) announce(t *target, s State, err error) {
	text := fmt.Sprintf("upstream %s: server %s is %v", p.pool.name, t.Address, s)
	if s == Down {
		p.log.Warn(text + ": " + err.Error())
		return
	}
	p.log.Info(text)
}
