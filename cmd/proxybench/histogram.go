package main

import (
	"math"
	"math/bits"
	"time"
)

// A histogram counts durations in buckets as wide as 1/32 of what they hold, so
// that a percentile is at most 3 % too high. The zero value is empty.
type histogram struct {
	counts [(64 - subBits) << subBits]int
	total  int
}

// subBits is the binary logarithm of the buckets in each power of two.
const subBits = 5

// add counts d, which is not negative.
func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
}

// percentile returns the duration that p of 100 do not exceed, 0 if there is none.
func (h *histogram) percentile(p float64) time.Duration {
	need := max(1, int(math.Ceil(p/100*float64(h.total))))
	for i, n := range h.counts {
		if need -= n; need <= 0 {
			return longestIn(i)
		}
	}
	return 0
}

// over counts those that are longer than d by more than a bucket.
func (h *histogram) over(d time.Duration) (n int) {
	for _, count := range h.counts[bucketOf(d)+1:] {
		n += count
	}
	return n
}

// bucketOf drops the low bits of d, but for those under 64 ns, and counts the
// dropped ones in: buckets follow each other without a gap.
func bucketOf(d time.Duration) int {
	dropped := max(0, bits.Len64(uint64(d))-subBits-1)
	return dropped<<subBits + int(d>>dropped)
}

func longestIn(bucket int) time.Duration {
	dropped := max(0, bucket>>subBits-1)
	kept := bucket - dropped<<subBits
	return time.Duration(uint64(kept+1)<<dropped - 1)
}
