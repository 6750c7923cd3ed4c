package limiter

import (
	"math"
	"math/bits"
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// The sketch
//
// A count-min sketch (Cormode and Muthukrishnan, 2005) with conservative update
// (Estan and Varghese, 2002): a key has one cell in each of four rows, shares them
// with other keys, and the least of the four is at most too high. A cell is
//
//	window, its lower half: 32 bits | count: 32 bits
//
// As a number, it only ever grows: a cell of an older window is less than any of
// this one, and stands for a count of zero. It takes 13 years of windows of 100 ms
// for the window's half to overflow.
//
// To count, a process reads the four cells, and makes each of those that hold the
// least value v into v+1, in the order of the rows, the last of them by a
// compare-and-swap that must succeed; else it begins again. That last one is the
// instruction at which the least of the four cells becomes v+1: the rows before
// it were raised first, the rows after it were above v from the start, and cells
// never fall. It happens once for each v, so no two requests of a key are given
// the same place, and no more than the limit are admitted, whatever other keys do in
// the same cells. A process that dies halfway has raised cells that the next one
// finds above the least.

const (
	rowCount = 4
	minWidth = 1 << 16

	countMask = 1<<32 - 1
)

type sketch struct {
	cells []atomic.Uint64
	width uint64 // of a row; a power of two
}

// widthFor is the width of a sketch beside a table that is for so many keys: wide
// enough for the one key in a thousand that finds no room in a table which is full as
// planned, and for a quarter more keys than planned: of those, one in seven shares all
// four of its cells.
func widthFor(keys int) uint64 { return uint64(max(minWidth, 1<<bits.Len(uint(keys/4)))) }

// newSketch is the sketch of a rule with that many keys.
func newSketch(seg *shm.Segment, name string, keys int) (sketch, error) {
	width := widthFor(keys)
	cells, err := seg.Words(name+"/sketch", rowCount*int(width))
	return sketch{cells, width}, err
}

// take counts a request of the key with that hash, or not if dry. Place is as in
// table.take, but never 0 unless all its cells are in a later window.
func (s *sketch) take(now, hash, limit uint64, dry bool) (window, place uint64) {
	cells := s.find(hash)
	floor := now << 32
	for {
		low, last := uint64(math.MaxUint64), 0
		for i, c := range cells {
			if v := max(c.Load(), floor); v <= low {
				low, last = v, i
			}
		}
		if ahead := uint32(low>>32) - uint32(now); ahead != 0 {
			return now + uint64(ahead), 0
		}
		if low&countMask >= limit {
			return now, limit + 1
		}
		if dry {
			return now, low&countMask + 1
		}
		for _, c := range cells[:last] {
			raise(c, low+1)
		}
		old := cells[last].Load()
		if max(old, floor) == low && cells[last].CompareAndSwap(old, low+1) {
			return now, low&countMask + 1
		}
	}
}

func (s *sketch) find(hash uint64) [rowCount]*atomic.Uint64 { return cellsOf(s.cells, s.width, hash) }

// cellsOf is the cells of a key in a sketch. The table has taken the hash for its
// buckets, and the keys that come here have part of it in common: so it is mixed
// anew, twice.
func cellsOf(cells []atomic.Uint64, width, hash uint64) [rowCount]*atomic.Uint64 {
	a, b := mix(hash), mix(hash+0x9e3779b97f4a7c15)
	mask := width - 1
	return [rowCount]*atomic.Uint64{
		&cells[a&mask],
		&cells[width+a>>32&mask],
		&cells[2*width+b&mask],
		&cells[3*width+b>>32&mask],
	}
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func raise(c *atomic.Uint64, to uint64) {
	for {
		v := c.Load()
		if v >= to || c.CompareAndSwap(v, to) {
			return
		}
	}
}
