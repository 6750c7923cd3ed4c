package limiter

import (
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// pacer is the counter of GCRA, the generic cell rate algorithm (ITU-T I.371, 1993).
//
// Of a key it keeps one number: the time at which its next request would arrive if
// they came at an even pace, of one per interval. A request moves it on by an
// interval, from now if it was in the past. A request is admitted if after that it is
// no more than the depth, Burst intervals, ahead of now. So the times of the requests
// admitted in a window of any length and phase span at most that length and the depth,
// and no more than length/interval + Burst are admitted. A key is idle when its time
// is past.
//
// A request's now is what its process has read from the clock, or the page's date if
// that is later and the key begins anew. An arrival time is in ns of shm.Now; as a
// state of the ledger it has 60 bits.
type pacer struct{ ledger }

func newPacer(seg *shm.Segment, name string, keys int, takes *atomic.Uint64) (*pacer, error) {
	l, err := newLedger(seg, name, keys, takes)
	return &pacer{l}, err
}

// maxLag is how old a process's reading of the clock can be when it comes to use it.
// A worker that stops for ten seconds is replaced.
const maxLag = int64(time.Minute)

// depth is how far ahead of now an arrival time may be.
func (r *rate) depth() int64 { return int64(r.capacity) * r.interval }

// pace is the algorithm: what becomes of an arrival time.
func (r *rate) pace(now, arrival int64, dry bool) (next int64, t tally) {
	depth := r.depth()
	if arrival > now+depth+maxLag {
		arrival = now + depth // it is of another rate, and would be nearer if it were of this one
	}
	next = max(arrival, now) + r.interval
	if ahead := next - now; ahead > depth {
		return arrival, tally{used: r.capacity, reset: ahead - depth}
	}
	t = tally{admitted: true, counted: uint64(next)}
	if dry {
		next -= r.interval
	}
	t.used = uint64((next - now + r.interval - 1) / r.interval)
	t.reset = next - now
	return next, t
}

// begin is pace for a key that begins anew, from no earlier than date: its request
// comes then if its process is behind.
func (r *rate) begin(now, date, arrival int64, dry bool) (next int64, t tally) {
	at := now
	if arrival <= date {
		at = max(now, date)
	}
	next, t = r.pace(at, arrival, dry)
	t.reset += at - now
	return next, t
}

func (p *pacer) take(now int64, hash uint64, r *rate, dry bool) tally {
	page := p.page(hash)
	idle := func(state uint64) bool { return int64(state>>versionBits) <= now }
	for {
		slot, state, ok := page.find(hash)
		if !ok && !dry {
			raise(&page[dateAt], uint64(now))
			last, full := page.claim(hash, idle)
			if !full {
				continue
			}
			if t, ok := p.overflow(page, last, now, int64(page[dateAt].Load()), hash, r); ok {
				return t
			}
			continue
		}
		arrival := int64(state >> versionBits)
		var next int64
		var t tally
		if arrival > now {
			next, t = r.pace(now, arrival, dry)
		} else {
			date := int64(page[dateAt].Load())
			next, t = r.begin(now, date, max(arrival, p.known(max(now, date), hash)), dry)
		}
		if dry || next == arrival || page.set(slot, state, uint64(next)) {
			return t
		}
	}
}

// refund undoes the last request of a key. It cannot undo one that others came after:
// the time since then was theirs as well. Nor one that the sketch has counted: to lower
// a cell would be to let the other keys of the cell have more.
func (p *pacer) refund(_ int64, hash uint64, r *rate, counted uint64) {
	page := p.page(hash)
	if slot, state, ok := page.find(hash); ok && state>>versionBits == counted {
		page.set(slot, state, counted-uint64(r.interval))
	}
}

func (p *pacer) reset(_ int64, hash uint64) {
	page := p.page(hash)
	for {
		slot, state, ok := page.find(hash)
		if !ok || page.set(slot, state, 0) {
			return
		}
	}
}
