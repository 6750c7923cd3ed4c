package limiter

import (
	"fmt"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
)

// BenchmarkAcquire is an Acquire and its Release, with so many keys and so many
// workers that have places of them.
func BenchmarkAcquire(b *testing.B) {
	for _, workers := range []int{1, 2, 4} {
		for _, keys := range []int{1, 100, 10_000} {
			b.Run(fmt.Sprintf("workers=%d/keys=%d", workers, keys), func(b *testing.B) {
				seg := newSegment(b)
				var c *Concurrency
				names := make([][]byte, keys)
				for slot := range workers {
					c = concurrencyOf(b, seg, ConcurrencyRule{Name: "bench", Max: 100, Slot: slot})
					for i := range names {
						names[i] = fmt.Appendf(nil, "client-%d", i)
						c.Acquire(names[i])
					}
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					h, _ := c.Acquire(names[i])
					c.Release(h)
					if i++; i == keys {
						i = 0
					}
				}
			})
		}
	}
}

// BenchmarkAcquireRefused is what a client costs that has all its places taken.
func BenchmarkAcquireRefused(b *testing.B) {
	c := concurrencyOf(b, newSegment(b), ConcurrencyRule{Name: "bench", Max: 1})
	key := []byte("client")
	c.Acquire(key)
	for b.Loop() {
		c.Acquire(key)
	}
}

func concurrencyOf(t testing.TB, seg *shm.Segment, r ConcurrencyRule) *Concurrency {
	t.Helper()
	c, err := NewConcurrency(seg, r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
