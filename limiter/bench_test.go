package limiter

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkTake(b *testing.B) {
	for _, keys := range []int{1, 100, 10_000, 1_000_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			l := limiterOf(b, newSegment(b), Rule{Name: "bench", Max: 1e8, Window: time.Second})
			names := make([][]byte, keys)
			for i := range names {
				names[i] = fmt.Appendf(nil, "client-%d", i)
				l.Take(names[i])
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				l.Take(names[i])
				if i++; i == keys {
					i = 0
				}
			}
		})
	}
}

// BenchmarkTakeRefused is the path of a client that is over its limit.
func BenchmarkTakeRefused(b *testing.B) {
	l := limiterOf(b, newSegment(b), Rule{Name: "bench", Max: 1, Window: time.Hour})
	key := []byte("client")
	for b.Loop() {
		l.Take(key)
	}
}

func BenchmarkTakeParallel(b *testing.B) {
	l := limiterOf(b, newSegment(b), Rule{Name: "bench", Max: 1e8, Window: time.Second})
	names := make([][]byte, 100)
	for i := range names {
		names[i] = fmt.Appendf(nil, "client-%d", i)
	}
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			l.Take(names[i%len(names)])
		}
	})
}

func BenchmarkSketch(b *testing.B) {
	l := limiterOf(b, newSegment(b), Rule{Name: "bench", Max: 1e8, Window: time.Second})
	for i := range b.N {
		l.sketch.take(1, mix(uint64(i%10_000)), l.limit)
	}
}
