package main

import (
	"math"
	"testing"
	"time"
)

func TestBucketsFollowEachOtherWithoutGap(t *testing.T) {
	var h histogram
	for i := range h.counts[:len(h.counts)-1] {
		d := longestIn(i)
		if d < 0 {
			break // no duration is as long
		}
		if got := bucketOf(d); got != i {
			t.Fatalf("bucket of %d, the longest in %d: got %d", d, i, got)
		}
		if d < math.MaxInt64 {
			if got := bucketOf(d + 1); got != i+1 {
				t.Fatalf("bucket of %d: got %d; want %d", d+1, got, i+1)
			}
		}
	}
	h.add(math.MaxInt64)
}

func TestPercentilesAreCloseAndNeverLow(t *testing.T) {
	var h histogram
	if got := h.percentile(99); got != 0 {
		t.Errorf("p99 of nothing: got %v; want 0", got)
	}
	for i := 1; i <= 10000; i++ {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for d, want := range map[time.Duration]int{0: 10000, 5 * time.Millisecond: 5000, time.Second: 0} {
		if got := h.over(d); got > want || got < want-want/32-1 {
			t.Errorf("over %v: got %d; want %d, or 1/32 fewer", d, got, want)
		}
	}
	for p, want := range map[float64]time.Duration{0: time.Microsecond, 50: 5 * time.Millisecond, 99: 9900 * time.Microsecond, 100: 10 * time.Millisecond} {
		if got := h.percentile(p); got < want || got > want+want/32+1 {
			t.Errorf("p%g: got %v; want %v, or 1/32 more", p, got, want)
		}
	}
}
