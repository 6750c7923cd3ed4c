package limiter

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// sliding is the counter of Window.
//
// Windows are as for the estimator. Of a key it keeps how many of its requests were
// admitted in the running window and in the last. Of the last, that part counts which
// is not yet a window ago, rounded down: last * (length - elapsed) / length. A request
// is admitted if that and the running window's, with itself, are at most Max.
//
// A state of the ledger is
//
//	window mod 4096: 12 bits | requests in the window before: 24 bits | in it: 24 bits
//
// so a verdict and what it is about are one compare-and-swap, and that is exact across
// processes, by this definition. A key is idle when both counts are zero or its window
// is not the last or the running one.
//
// No process goes by its own clock if the state or the page's date, a window too, is
// ahead: it goes on at the beginning of that window. Of 4096 windows, a state may be up
// to 1024 ahead and 3071 behind. That this is not ambiguous is the care of who raises
// the date: before, he clears the states that will be 1024 windows old, and he must
// raise it before he counts in a window that is as far ahead. What remains is a process
// that stops for 1024 windows between two adjacent instructions.
type sliding struct {
	ledger
	length int64 // of a window, in ns
}

const (
	runBits  = 24 // of a count
	runMask  = 1<<runBits - 1
	turn     = 1 << 12 // windows that a state tells apart
	maxAhead = turn / 4
	tagShift = versionBits + 2*runBits // of a state's window
)

func newSliding(seg *shm.Segment, name string, window time.Duration, keys int, takes *atomic.Uint64) (*sliding, error) {
	l, err := newLedger(seg, name, keys, takes)
	return &sliding{l, int64(window)}, err
}

// runs is the requests of a key that were admitted in a window and in the one before.
type runs struct{ window, last, running uint64 }

// runsAt is what a state says in the window that runs at that time, or in its own if
// that is later.
func runsAt(window, state uint64) runs {
	last, running := state>>(versionBits+runBits)&runMask, state>>versionBits&runMask
	if last|running == 0 {
		return runs{window: window}
	}
	switch age := (window - state>>tagShift) % turn; {
	case age == 0:
		return runs{window, last, running}
	case age == 1:
		return runs{window, running, 0}
	case age >= turn-maxAhead:
		return runs{window + turn - age, last, running}
	}
	return runs{window: window}
}

func (r runs) idle() bool { return r.last|r.running == 0 }

// value is the state for that, without its version.
func (r runs) value() uint64 { return r.window%turn<<(2*runBits) | r.last<<runBits | r.running }

func (s *sliding) take(now int64, hash uint64, r *rate, dry bool) tally {
	page := s.page(hash)
	for {
		date := page[dateAt].Load()
		window := max(uint64(now/s.length), date)
		if window-date >= maxAhead {
			moveOn(page, date, window)
			continue
		}
		slot, state, ok := page.find(hash)
		if !ok && !dry {
			if window != date {
				moveOn(page, date, window)
				continue
			}
			last, full := page.claim(hash, func(state uint64) bool { return runsAt(window, state).idle() })
			if !full {
				continue
			}
			if t, ok := s.overflow(page, last, now, 0, hash, r); ok {
				t.counted = 0
				return t
			}
			continue
		}
		k := runsAt(window, state)
		if k.idle() {
			k.running = s.inherited(now, hash, r)
		}
		t := s.judge(now, k, r, dry)
		k.running++
		if dry || !t.admitted || page.set(slot, state, k.value()) {
			return t
		}
	}
}

// moveOn raises the date of a page to window, unless somebody else does.
func moveOn(p *page, date, window uint64) {
	for i := range pageSlots {
		state := p[statesAt+i].Load()
		// The states are of windows less than half a turn from the date.
		after := int64(state>>tagShift-date) << tagShift >> tagShift
		if int64(window-date)-after < maxAhead || state>>versionBits == 0 {
			continue
		}
		// The date proves that the state is not of a later window.
		if p[dateAt].Load() != date || !p.set(i, state, 0) {
			return
		}
	}
	p[dateAt].CompareAndSwap(date, window)
}

// inherited is how many requests of a key that begins anew the sketch knows.
func (s *sliding) inherited(now int64, hash uint64, r *rate) uint64 {
	ahead := s.known(now, hash) - now
	if ahead <= 0 {
		return 0
	}
	return min(uint64((ahead+r.interval-1)/r.interval), r.max)
}

// judge is the algorithm: what is to be said of one more request.
func (s *sliding) judge(now int64, k runs, r *rate, dry bool) tally {
	start := int64(k.window) * s.length
	left := min(start+s.length-now, s.length) // less if a state is ahead of now
	used := scale(k.last, uint64(left), uint64(s.length)) + k.running
	if used >= r.max {
		return tally{used: r.max, reset: start + s.wait(k, r.max) - now, counted: k.window}
	}
	if !dry {
		used++
	}
	return tally{admitted: true, used: used, reset: start + s.length - now, counted: k.window}
}

// wait is how long after the beginning of its window a key may make a request again.
func (s *sliding) wait(k runs, limit uint64) int64 {
	if k.running >= limit {
		return s.length + s.fade(k.running, limit)
	}
	return s.fade(k.last, limit-k.running)
}

// fade is how long after the beginning of a window less than limit is left of last,
// the requests of the window before.
func (s *sliding) fade(last, limit uint64) int64 {
	if last < limit {
		return 0
	}
	// last*left/length < limit, which is last*left < limit*length.
	hi, lo := bits.Mul64(limit, uint64(s.length))
	lo, borrow := bits.Sub64(lo, 1, 0)
	left, _ := bits.Div64(hi-borrow, lo, last)
	return s.length - int64(left)
}

// scale is n*part/whole, rounded down; part is at most whole.
func scale(n, part, whole uint64) uint64 {
	if n == 0 {
		return 0
	}
	hi, lo := bits.Mul64(n, part)
	q, _ := bits.Div64(hi, lo, whole)
	return q
}

func (s *sliding) refund(_ int64, hash uint64, _ *rate, counted uint64) {
	page := s.page(hash)
	for {
		slot, state, ok := page.find(hash)
		if !ok {
			return
		}
		later := (state>>tagShift - counted) % turn
		k := runs{counted + later, state >> (versionBits + runBits) & runMask, state >> versionBits & runMask}
		switch {
		case later == 0 && k.running != 0:
			k.running--
		case later == 1 && k.last != 0:
			k.last--
		default:
			return
		}
		if page.set(slot, state, k.value()) {
			return
		}
	}
}

func (s *sliding) reset(_ int64, hash uint64) {
	page := s.page(hash)
	for {
		slot, state, ok := page.find(hash)
		if !ok || page.set(slot, state, 0) {
			return
		}
	}
}
