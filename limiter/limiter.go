package limiter

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// Bounds of a Rule.
const (
	MaxMax      = math.MaxUint32 // a count has 32 bits
	MinWindow   = 100 * time.Millisecond
	MaxWindow   = 24 * time.Hour
	MaxKeys     = 1 << 24 // 512 MiB of table
	DefaultKeys = 1_000_000
)

// A Rule is what to limit to. Limiters of one name, window and number of keys
// count together, in whichever process and configuration they are.
type Rule struct {
	Name   string        // of the rate limit
	Max    int64         // requests per window, 1 to MaxMax
	Window time.Duration // MinWindow to MaxWindow
	Keys   int           // how many keys in one window are counted exactly, up to MaxKeys; 0: DefaultKeys

	// SketchTakes, if not nil, counts the Takes that the sketch answered.
	SketchTakes *atomic.Uint64
}

func (r *Rule) check() error {
	switch {
	case r.Max < 1 || r.Max > MaxMax:
		return fmt.Errorf("%d requests per window is not between 1 and %d", r.Max, int64(MaxMax))
	case r.Window < MinWindow || r.Window > MaxWindow:
		return fmt.Errorf("window %v is not between %v and %v", r.Window, MinWindow, MaxWindow)
	case r.Keys < 0 || r.Keys > MaxKeys:
		return fmt.Errorf("%d keys is not between 1 and %d", r.Keys, MaxKeys)
	}
	return nil
}

// A Limiter enforces one Rule. Its methods may be called from any goroutine; it
// is valid for as long as its segment is mapped.
type Limiter struct {
	hasher shm.Hasher
	tables []table // each smaller than the next
	sketch sketch
	limit  uint64
	length int64        // of a window, in ns
	window atomic.Int64 // the window that was running at the last Take: spares a division
	takes  *atomic.Uint64
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
	name := fmt.Sprintf("limiter/%s/%v", r.Name, r.Window)
	tables, err := newTables(seg, name, r)
	if err != nil {
		return nil, err
	}
	sketch, err := newSketch(seg, name, r.Keys)
	if err != nil {
		return nil, err
	}
	return &Limiter{
		hasher: seg.Hasher(r.Name),
		tables: tables,
		sketch: sketch,
		limit:  uint64(r.Max),
		length: int64(r.Window),
		takes:  r.SketchTakes,
	}, nil
}

// Take counts one request for key, unless key has used up its window: what is
// refused is not counted. It never blocks, allocates or fails.
func (l *Limiter) Take(key []byte) Verdict { return l.take(shm.Now(), key) }

func (l *Limiter) take(now int64, key []byte) Verdict {
	window, place := l.count(now, l.hasher.Hash(key))
	return Verdict{
		Admitted:  place <= l.limit,
		Limit:     int64(l.limit),
		Remaining: int64(l.limit - min(place, l.limit)),
		Reset:     time.Duration(int64(window+1)*l.length - now),
	}
}

// count is take without the niceties: the window that the request was counted in,
// and its place among those of its key in it, from 1; more than the limit if it has none.
func (l *Limiter) count(now int64, hash uint64) (window, place uint64) {
	window = l.windowAt(now)
	for {
		in, place := l.countIn(window, hash)
		if in == window {
			return window, place
		}
		window = in // another process is ahead; this happens at the end of a window
	}
}

// countIn is count in one window. If what it meets is in a later one already, it
// returns that and counts nothing.
func (l *Limiter) countIn(now, hash uint64) (window, place uint64) {
	for i := range l.tables {
		window, place = l.tables[i].take(now, hash, l.limit)
		if place != 0 || window != now {
			return window, place
		}
	}
	l.takes.Add(1)
	return l.sketch.take(now, hash, l.limit)
}

func (l *Limiter) windowAt(now int64) uint64 {
	w := l.window.Load()
	if uint64(now-w*l.length) >= uint64(l.length) {
		w = now / l.length
		l.window.Store(w)
	}
	return uint64(w)
}
