package limiter

import (
	"math"
	"sync/atomic"
	"testing"
)

func tableOf(buckets int, countBits uint) *table {
	return &table{make([]atomic.Uint64, buckets*bucketWords), uint64(buckets - 1), countBits}
}

// hashOf is a hash with that fingerprint that belongs to the first bucket.
func hashOf(fingerprint uint64, countBits uint) uint64 { return fingerprint << (countBits + tagBits) }

func TestTableTake(t *testing.T) {
	for _, countBits := range []uint{20, 32} {
		tab := tableOf(1, countBits)
		for fingerprint := range uint64(7) { // fingerprint 0 in window 0 is the hardest
			for _, want := range []uint64{1, 2, 3, 4, 4} {
				window, place := tab.take(0, 0, hashOf(fingerprint, countBits), 3, false)
				if window != 0 || place != want {
					t.Fatalf("key %d: got place %d in window %d; want %d in 0", fingerprint, place, window, want)
				}
			}
		}
		if _, place := tab.take(0, 0, hashOf(7, countBits), 3, false); place != 0 {
			t.Errorf("eighth key: got place %d; want 0", place)
		}
		if _, place := tab.take(1, 0, hashOf(7, countBits), 3, false); place != 1 {
			t.Errorf("eighth key, next window: got place %d; want 1", place)
		}
		if window, place := tab.take(0, 0, hashOf(7, countBits), 3, false); window != 1 || place != 0 {
			t.Errorf("bucket ahead: got place %d in window %d; want 0 in 1", place, window)
		}
	}
}

// A slot that was used in window 0 is dead in every later one, however the bucket
// came there.
func TestTableOldSlotsStayDead(t *testing.T) {
	const countBits = 20
	for step := uint64(1); step < 40; step++ {
		tab := tableOf(1, countBits)
		for fingerprint := range uint64(7) {
			tab.take(0, 0, hashOf(fingerprint, countBits), 9, false)
		}
		for window := step; window < 100; window += step {
			// Another key keeps the bucket moving and uses the first slot only.
			if _, place := tab.take(window, 0, hashOf(9, countBits), 9, false); place != 1 {
				t.Fatalf("steps of %d, window %d: new key: got place %d; want 1", step, window, place)
			}
			if window < 16 {
				continue
			}
			for fingerprint := range uint64(6) {
				if _, place := tab.take(window, 0, hashOf(fingerprint, countBits), 9, false); place != 1 {
					t.Fatalf("steps of %d, window %d: key %d: got place %d; want 1", step, window, fingerprint, place)
				}
			}
			break
		}
	}
}

// A process whose header is out of date does not touch what it sees.
func TestTableStaleHeader(t *testing.T) {
	const countBits = 20
	for ahead := uint64(1); ahead < 16; ahead++ {
		tab := tableOf(1, countBits)
		b := (*bucket)(tab.words)
		tab.take(100+ahead, 0, hashOf(1, countBits), 9, false)
		before := b[1].Load()
		if _, ok := b.takeIn(100, hashOf(2, countBits), 9, countBits, false); ok {
			t.Errorf("%d windows behind: take: got ok; want not", ahead)
		}
		b.advance(100, 101, countBits)
		if got := b[1].Load(); got != before || b[0].Load() != 100+ahead {
			t.Errorf("%d windows behind: slot: got %#x; want %#x", ahead, got, before)
		}
	}
}

func TestCountsDoNotWrap(t *testing.T) {
	tab := tableOf(1, 32)
	tab.words[1].Store(usedBit | 3<<36 | 5<<32 | math.MaxUint32 - 1)
	tab.words[0].Store(5)
	for _, want := range []uint64{MaxMax, MaxMax + 1, MaxMax + 1} {
		if _, place := tab.take(5, 0, hashOf(3, 32), MaxMax, false); place != want {
			t.Errorf("place in table: got %d; want %d", place, want)
		}
	}
	s := newTestSketch(4)
	for _, c := range s.find(77) {
		c.Store(5<<32 | math.MaxUint32 - 1)
	}
	for _, want := range []uint64{MaxMax, MaxMax + 1, MaxMax + 1} {
		if _, place := s.take(5, 77, MaxMax, false); place != want {
			t.Errorf("place in sketch: got %d; want %d", place, want)
		}
	}
}
