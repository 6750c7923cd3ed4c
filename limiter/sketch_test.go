package limiter

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func newTestSketch(width int) *sketch {
	return &sketch{make([]atomic.Uint64, rowCount*width), uint64(width)}
}

func TestSketchTake(t *testing.T) {
	s := newTestSketch(1024)
	for _, c := range []struct{ now, window, place uint64 }{
		{3, 3, 1},
		{3, 3, 2},
		{3, 3, 3},
		{3, 3, 3}, // refused
		{4, 4, 1},
		{3, 4, 0}, // all cells ahead
		{1 << 31, 1 << 31, 1},
	} {
		// Only the lower half of a window is in a cell.
		const base = 1 << 40
		if window, place := s.take(base+c.now, 77, 2, false); window != base+c.window || place != c.place {
			t.Errorf("take in %d: got place %d in window %d; want %d in %d",
				c.now, place, window-base, c.place, c.window)
		}
	}
}

// However much keys share cells, none gets more than its limit.
func TestSketchNeverAdmitsTooMany(t *testing.T) {
	const keys, limit = 64, 20
	s := newTestSketch(16)
	admitted := make([]atomic.Int64, keys)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20_000 {
				k := rand.Uint64N(keys)
				if _, place := s.take(9, mix(k), limit, false); place <= limit {
					admitted[k].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for k := range admitted {
		if n := admitted[k].Load(); n > limit {
			t.Errorf("key %d: admitted %d; want at most %d", k, n, limit)
		}
	}
}

// A process that was killed halfway leaves some rows raised; nothing is lost.
func TestSketchHalfDone(t *testing.T) {
	for raised := range rowCount {
		s := newTestSketch(1024)
		s.take(9, 77, 5, false)
		cells := s.find(77)
		for _, c := range cells[:raised] {
			raise(c, 9<<32|2)
		}
		if _, place := s.take(9, 77, 5, false); place != 2 {
			t.Errorf("%d rows raised: got place %d; want 2", raised, place)
		}
	}
}

// Conservative update: 4,000 keys in four rows of 4,096 cells, ten times each.
func TestSketchAccuracy(t *testing.T) {
	const keys, limit = 4000, 10
	s := newTestSketch(4096)
	refused := 0
	for range limit {
		for k := range uint64(keys) {
			if _, place := s.take(9, mix(k), limit, false); place > limit {
				refused++
			}
		}
	}
	if refused > keys*limit/20 {
		t.Errorf("refused of %d within the limit: got %d; want at most 1 in 20", keys*limit, refused)
	}
}
