package worker

import (
	"fmt"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/limiter"
)

// A limit is a rate limit with what to count by.
type limit struct {
	config *config.RateLimit
	*limiter.Limiter
	style  limiter.Style
	dry    rehearsal
	counts counts
}

// A concurrency is a concurrency limit with what to count by.
type concurrency struct {
	config *config.ConcurrencyLimit
	*limiter.Concurrency
	dry rehearsal
}

// A held is a place in a concurrency limit, which the exchange gives back.
type held struct {
	limit *concurrency
	limiter.Handle
}

func (w *worker) newLimit(seg *shm.Segment, c *config.RateLimit) (*limit, error) {
	algorithm, ok := limiter.ParseAlgorithm(c.Algorithm)
	if !ok {
		return nil, fmt.Errorf("unknown algorithm %q", c.Algorithm)
	}
	l := &limit{config: c}
	if l.style, ok = limiter.ParseStyle(c.Headers); !ok {
		return nil, fmt.Errorf("unknown style of headers %q", c.Headers)
	}
	rule := limiter.Rule{
		Name: c.Name, Max: c.Max, Window: c.Window, Algorithm: algorithm, Burst: c.Burst, Keys: c.Keys,
		SketchTakes: &w.shared.Counters[shm.SketchTakes],
	}
	if len(c.Overrides) > 0 {
		rule.Overrides = make(map[string]limiter.Rate, len(c.Overrides))
		for key, r := range c.Overrides {
			rule.Overrides[key] = limiter.Rate(r)
		}
	}
	var err error
	if l.counts, err = newCounts(seg, c.Name, w.slot); err != nil {
		return nil, err
	}
	l.Limiter, err = limiter.New(seg, rule)
	return l, err
}

func (w *worker) newConcurrency(seg *shm.Segment, c *config.ConcurrencyLimit) (*concurrency, error) {
	l, err := limiter.NewConcurrency(seg, limiter.ConcurrencyRule{Name: c.Name, Max: c.Max, Keys: c.Keys, Slot: w.slot})
	if err != nil {
		return nil, err
	}
	return &concurrency{config: c, Concurrency: l}, nil
}

// A rehearsal says what a limit with dry_run would refuse.
type rehearsal struct {
	told int64 // loop time of the last line in the log
}

// note counts a request that would be refused. The log has one a second of them.
func (r *rehearsal) note(x *exchange, name string, key []byte) {
	x.w.count(shm.DryRunLimited)
	if now := x.t.Now(); r.told == 0 || now-r.told >= int64(time.Second) {
		r.told = now
		x.w.log.Info("dry_run: request would be refused", "limit", name, "key", string(key[:min(len(key), maxKeyInLog)]), "route", string(x.route.name))
	}
}

const maxKeyInLog = 64 // bytes

// retrySoon goes with what a concurrency limit refuses: nobody knows when there
// is room.
const retrySoon = "Retry-After: 1\r\n"

// admitted reports whether all limits of the route admit the request. If one does
// not, none has counted it. What they have to say to the client is in x.fields.
func (x *exchange) admitted() bool {
	r := x.route
	for _, c := range r.concurrency {
		if !x.occupy(c) {
			x.w.count(shm.ConcurrencyLimited)
			x.fields = append(x.fields, retrySoon...)
			return false
		}
	}
	if len(r.limits) > 0 && !x.charge() {
		x.w.count(shm.Limited)
		return false
	}
	for _, l := range r.rehearsed {
		x.scratch = x.scratch[:0]
		key := l.config.Key.Eval(x, &x.scratch)
		if key == nil {
			continue
		}
		ok := l.Take(key).Admitted
		if l.counts.add(ok); !ok {
			l.dry.note(x, l.config.Name, key)
		}
	}
	return true
}

// occupy takes a place in c, which vacate gives back.
func (x *exchange) occupy(c *concurrency) bool {
	x.scratch = x.scratch[:0]
	key := c.config.Key.Eval(x, &x.scratch)
	if key == nil {
		return true
	}
	h, ok := c.Acquire(key)
	switch {
	case ok:
		x.held = append(x.held, held{c, h})
	case c.config.DryRun:
		c.dry.note(x, c.config.Name, key)
		return true
	}
	return ok
}

// vacate gives back the places in concurrency limits.
func (x *exchange) vacate() {
	for i := range x.held {
		x.held[i].limit.Release(x.held[i].Handle)
	}
	clear(x.held)
	x.held = x.held[:0]
}

// charge counts the request for all rate limits of the route, or for none if one
// refuses it.
func (x *exchange) charge() bool {
	x.scratch, x.charges, x.charged = x.scratch[:0], x.charges[:0], x.charged[:0]
	for _, l := range x.route.limits {
		// Keys stand one behind the other in scratch, or in what it was before it grew.
		if key := l.config.Key.Eval(x, &x.scratch); key != nil {
			x.charges = append(x.charges, limiter.Charge{Limiter: l.Limiter, Key: key})
			x.charged = append(x.charged, l)
		}
	}
	if len(x.charges) == 0 {
		return true
	}
	at, v := limiter.TakeAll(x.charges)
	if l := x.charged[at]; l.style != limiter.None {
		x.fields = v.AppendFields(x.fields, l.style, l.config.Name)
	}
	if !v.Admitted {
		x.charged[at].counts.add(false)
		return false
	}
	for _, l := range x.charged {
		l.counts.add(true)
	}
	return true
}
