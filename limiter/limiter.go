package limiter

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// A Limiter enforces one Rule. Its methods may be called from any goroutine; it
// is valid for as long as its segment is mapped.
type Limiter struct {
	hasher    shm.Hasher
	rate      rate             // of keys without an override
	overrides map[string]*rate // nil if there are none
	hot       hot
	running   atomic.Int64 // the rule's window that the last Take was in: spares a division
}

// A rate is how many requests a key may make, and what counts them.
type rate struct {
	counter  counter
	max      uint64        // requests per window
	window   time.Duration // is exact
	capacity uint64        // requests that a key which was idle may make at once
	interval int64         // from one request to the next at an even pace, in ns
}

// A counter is an algorithm with its memory. Times are those of shm.Now.
type counter interface {
	// take counts a request of the key with that hash unless it is too many for r.
	// If dry, it does not, but says whether it would.
	take(now int64, hash uint64, r *rate, dry bool) tally

	// refund takes back a request that take has counted, as far as what has come in
	// since would have been admitted without it as well.
	refund(now int64, hash uint64, r *rate, counted uint64)

	// reset forgets the requests of a key.
	reset(now int64, hash uint64)
}

// A tally is what a counter says of a request.
type tally struct {
	admitted bool
	used     uint64 // of the rate's capacity, with this request if it was counted
	reset    int64  // ns until there is more, or if it was admitted until all is there again
	counted  uint64 // if it was admitted, what refund wants to know; 0: cannot be taken back
}

// New makes the Limiter of a rule on the counts that seg has for it, or on new
// ones. It fails if the rule is out of bounds or seg is full.
func New(seg *shm.Segment, r Rule) (*Limiter, error) {
	l, err := build(seg, r)
	if err != nil {
		return nil, fmt.Errorf("rate limit %s: %w", r.Name, err)
	}
	return l, nil
}

func build(seg *shm.Segment, r Rule) (*Limiter, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Keys == 0 {
		r.Keys = DefaultKeys
	}
	if r.SketchTakes == nil {
		r.SketchTakes = new(atomic.Uint64)
	}
	l := &Limiter{hasher: seg.Hasher(r.Name)}
	var err error
	if l.hot, err = newHot(seg, fmt.Sprintf("limiter/%s/%v", r.Name, r.Window), l.hasher, nil); err != nil {
		return nil, err
	}
	counters, err := newCounters(seg, r)
	if err != nil {
		return nil, err
	}
	l.rate = r.rate(Rate{r.Max, r.Window}, counters)
	if len(r.Overrides) != 0 {
		l.overrides = make(map[string]*rate, len(r.Overrides))
	}
	for key, o := range r.Overrides {
		rate := r.rate(o, counters)
		l.overrides[key] = &rate
	}
	return l, nil
}

// newCounters makes the counters of a rule, one for each window that has counts of
// its own. That of an override has room for the keys which have it.
func newCounters(seg *shm.Segment, r Rule) (map[time.Duration]counter, error) {
	keys := map[time.Duration]int{r.Window: r.Keys}
	most := map[time.Duration]int64{r.Window: r.Max}
	for _, o := range r.Overrides {
		if r.Algorithm == GCRA {
			break // an arrival time is one at any rate
		}
		if o.Window != r.Window {
			keys[o.Window]++
		}
		most[o.Window] = max(most[o.Window], o.Max)
	}
	counters := make(map[time.Duration]counter)
	for window := range keys {
		c, err := newCounter(seg, r, Rate{most[window], window}, keys[window])
		if err != nil {
			return nil, err
		}
		counters[window] = c
	}
	return counters, nil
}

func newCounter(seg *shm.Segment, r Rule, rate Rate, keys int) (counter, error) {
	name := fmt.Sprintf("limiter/%s/%v/%v", r.Name, r.Algorithm, rate.Window)
	switch r.Algorithm {
	case Window:
		return newSliding(seg, name, rate.Window, keys, r.SketchTakes)
	case GCRA:
		return newPacer(seg, name, keys, r.SketchTakes)
	default:
		return newEstimator(seg, name, rate, keys, r.SketchTakes)
	}
}

func (r *Rule) rate(of Rate, counters map[time.Duration]counter) rate {
	c, ok := counters[of.Window]
	if !ok {
		c = counters[r.Window] // GCRA has but one
	}
	capacity := of.Max
	if r.Algorithm == GCRA {
		capacity = max(r.Burst, 1)
	}
	return rate{c, uint64(of.Max), of.Window, uint64(capacity), intervalOf(of)}
}

// Take counts one request for key, unless key has had all that it may have: what is
// refused is not counted. It never blocks, allocates or fails.
func (l *Limiter) Take(key []byte) (v Verdict) {
	l.takeInto(shm.Now(), key, &v)
	return v
}

// takeInto fills in v, which is too large to be passed from function to function in
// registers: that would cost half as much again.
func (l *Limiter) takeInto(now int64, key []byte, v *Verdict) {
	hash, r := l.hasher.Hash(key), l.rateOf(key)
	t := r.counter.take(now, hash, r, false)
	l.hot.note(l.windowAt(now), hash, key, t.used, !t.admitted)
	r.tell(v, t)
}

// Peek tells what Take would say, but counts nothing: Remaining is what there is.
func (l *Limiter) Peek(key []byte) (v Verdict) {
	l.peekInto(shm.Now(), key, &v)
	return v
}

func (l *Limiter) peekInto(now int64, key []byte, v *Verdict) {
	r := l.rateOf(key)
	r.tell(v, r.counter.take(now, l.hasher.Hash(key), r, true))
}

// Refund takes back the request for key that v is the verdict of, so that another
// may take its place; once, and only if the request came to nothing. It never lets
// more through than the limit, so there are requests that it leaves counted: those
// of a sketch, and part of one for GCRA, if others came after it.
func (l *Limiter) Refund(key []byte, v Verdict) { l.refund(shm.Now(), key, v) }

func (l *Limiter) refund(now int64, key []byte, v Verdict) {
	if v.Admitted && v.counted != 0 {
		r := l.rateOf(key)
		r.counter.refund(now, l.hasher.Hash(key), r, v.counted)
	}
}

// Reset forgets what key has used, but for what a sketch has counted.
func (l *Limiter) Reset(key []byte) {
	l.rateOf(key).counter.reset(shm.Now(), l.hasher.Hash(key))
}

func (l *Limiter) rateOf(key []byte) *rate {
	if l.overrides != nil {
		if r, ok := l.overrides[string(key)]; ok {
			return r
		}
	}
	return &l.rate
}

// tell makes a verdict of a tally.
func (r *rate) tell(v *Verdict, t tally) {
	v.Admitted = t.admitted
	v.Limit = int64(r.max)
	v.Remaining = int64(r.capacity - min(t.used, r.capacity))
	v.Reset = time.Duration(max(t.reset, 1))
	v.Window = r.window
	v.counted = t.counted
}

// windowAt is the number of the rule's window that runs at that time.
func (l *Limiter) windowAt(now int64) uint64 {
	if w := l.running.Load(); uint64(now-w*int64(l.rate.window)) < uint64(l.rate.window) {
		return uint64(w)
	}
	return l.nextWindow(now)
}

func (l *Limiter) nextWindow(now int64) uint64 {
	w := now / int64(l.rate.window)
	l.running.Store(w)
	return uint64(w)
}
