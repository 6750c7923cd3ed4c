package limiter

import (
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// The sketch of arrival times
//
// It limits keys for which a ledger has no room, at an even pace: by GCRA, with the
// burst of GCRA's rule, or with the whole limit as the burst for Window. Like the
// sketch of counts it has four rows, and of a key one cell in each, which it shares
// with other keys. A cell is an arrival time (pacer.go) and only grows. The least of
// the four is not before the key's own: so no key gets more than its pace, and one
// gets less only if all its cells are shared with busier keys.
//
// To count, a process reads the key's first cell, then the others; raises the others
// to what the least becomes; and then the first, by a compare-and-swap that must
// succeed, to the same or at least by one nanosecond; else it begins again. So of two
// requests of a key the second has read what the first has raised. A process that dies
// halfway has counted a request that was not made.

type arrivals struct {
	cells []atomic.Uint64
	width uint64 // of a row; a power of two
}

func newArrivals(seg *shm.Segment, name string, keys int) (arrivals, error) {
	width := widthFor(keys)
	cells, err := seg.Words(name+"/arrivals", rowCount*int(width))
	return arrivals{cells, width}, err
}

func (a *arrivals) find(hash uint64) [rowCount]*atomic.Uint64 { return cellsOf(a.cells, a.width, hash) }

// of is the arrival time of the key with that hash, or a later one.
func (a *arrivals) of(hash uint64) int64 {
	cells := a.find(hash)
	least := cells[0].Load()
	for _, c := range cells[1:] {
		least = min(least, c.Load())
	}
	return int64(least)
}

// take counts a request of the key with that hash, of a page with that date.
func (a *arrivals) take(now, date int64, hash uint64, r *rate) tally {
	cells := a.find(hash)
	for {
		first := cells[0].Load()
		least := first
		for _, c := range cells[1:] {
			least = min(least, c.Load())
		}
		next, t := r.begin(now, date, int64(least), false)
		if !t.admitted {
			return t
		}
		for _, c := range cells[1:] {
			raise(c, uint64(next))
		}
		if cells[0].CompareAndSwap(first, max(first+1, uint64(next))) {
			return t
		}
	}
}
