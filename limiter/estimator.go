package limiter

import (
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// estimator is the counter of Estimator: a table, and a sketch for keys that find no
// room in it.
type estimator struct {
	table  table
	sketch sketch
	length int64 // of a window, in ns
	takes  *atomic.Uint64

	// current is the window that runs and how many of the table's buckets are the
	// first few in it (table.go): window << sizeBits | the power of two. Its cache
	// line changes once a window.
	current *atomic.Uint64

	// census is how many keys of one hash in sampleKeys have come in this window.
	census *atomic.Uint64
}

const (
	sizeBits   = 6
	sampleBits = 6 // one key in 64 is in the sample
)

func newEstimator(seg *shm.Segment, name string, r Rate, keys int, takes *atomic.Uint64) (*estimator, error) {
	table, err := newTable(seg, name, keys, r.Max)
	if err != nil {
		return nil, err
	}
	sketch, err := newSketch(seg, name, keys)
	if err != nil {
		return nil, err
	}
	words, err := seg.Words(name+"/current", 2*bucketWords)
	if err != nil {
		return nil, err
	}
	return &estimator{table, sketch, int64(r.Window), takes, &words[0], &words[bucketWords]}, nil
}

func (e *estimator) take(now int64, hash uint64, r *rate, dry bool) tally {
	window, place := e.quick(now, hash, r.max, dry)
	if place == 0 {
		window, place = e.place(now, hash, r.max, dry)
	}
	if place == 1 && hash>>(64-sampleBits) == 0 && !dry {
		e.census.Add(1)
	}
	t := tally{
		admitted: place <= r.max,
		used:     min(place, r.max),
		reset:    int64(window+1)*e.length - now,
		counted:  window,
	}
	if dry && t.admitted {
		t.used--
	}
	return t
}

// quick is place for nearly all requests: the key is in its first bucket, and nobody
// is in the way. Else it counts nothing, and place is 0.
func (e *estimator) quick(now int64, hash, limit uint64, dry bool) (window, place uint64) {
	current := e.current.Load()
	window = current >> sizeBits
	b := e.table.bucket(hash & (1<<(current%(1<<sizeBits)) - 1))
	if now-int64(window)*e.length >= e.length || b[0].Load() != window {
		return window, 0
	}
	place, ok := b.takeIn(window, hash, limit, e.table.bits, dry)
	if !ok {
		return window, 0
	}
	return window, place
}

// place is the window that the request was counted in, and its place among those of
// its key in it, from 1; more than the limit if it has none.
func (e *estimator) place(now int64, hash, limit uint64, dry bool) (window, place uint64) {
	for {
		window, size := e.enter(now)
		in, place := e.table.take(window, size, hash, limit, dry)
		if in == window && place == 0 {
			in, place = e.overflow(window, hash, limit, dry)
		}
		if in == window {
			return window, place
		}
		now = int64(in) * e.length // another process is ahead; this happens at the end of a window
	}
}

func (e *estimator) overflow(window, hash, limit uint64, dry bool) (in, place uint64) {
	if !dry {
		e.takes.Add(1)
	}
	return e.sketch.take(window, hash, limit, dry)
}

// enter is the window of that time, or the one that others are in already, and how
// many buckets are the first few in it.
func (e *estimator) enter(now int64) (window, size uint64) {
	current := e.current.Load()
	for now-int64(current>>sizeBits)*e.length >= e.length {
		current = e.begin(current, uint64(now/e.length))
	}
	return current >> sizeBits, current & (1<<sizeBits - 1)
}

// begin begins window to, unless another process does, and returns what current is now.
func (e *estimator) begin(current, to uint64) uint64 {
	keys := e.census.Load() << sampleBits
	if e.current.CompareAndSwap(current, to<<sizeBits|e.table.sizeFor(keys)) {
		e.census.Store(0)
	}
	return e.current.Load()
}

func (e *estimator) refund(_ int64, hash uint64, _ *rate, counted uint64) {
	current := e.current.Load()
	if current>>sizeBits == counted {
		e.table.change(counted, current&(1<<sizeBits-1), hash, false)
	}
}

func (e *estimator) reset(now int64, hash uint64) {
	window, size := e.enter(now)
	e.table.change(window, size, hash, true)
}
