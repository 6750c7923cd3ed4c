package lb

import (
	"fmt"
	"testing"
)

// many returns specs of n servers of weight 1.
func many(n int) []Spec {
	specs := make([]Spec, n)
	for i := range specs {
		specs[i].Address = fmt.Sprintf("10.0.%d.%d:80", i/256, i%256)
	}
	return specs
}

func benchmarkPools(b *testing.B, f func(b *testing.B, p *Pool)) {
	for policy := range policies {
		for _, n := range []int{2, 10, 1000} {
			b.Run(fmt.Sprintf("%v/%d", policy, n), func(b *testing.B) {
				p := settledPool(b, newSegment(b), Settings{Name: "one", Policy: policy, Checked: true}, many(n)...)
				b.ReportAllocs()
				f(b, p)
			})
		}
	}
}

// BenchmarkPick is a pick alone, as exchanges that never end would do it.
func BenchmarkPick(b *testing.B) {
	key := []byte("client-4711")
	benchmarkPools(b, func(b *testing.B, p *Pool) {
		for b.Loop() {
			key[7]++
			p.Pick(nil, key)
		}
	})
}

// BenchmarkPickDone is what an exchange pays in all.
func BenchmarkPickDone(b *testing.B) {
	key := []byte("client-4711")
	benchmarkPools(b, func(b *testing.B, p *Pool) {
		for b.Loop() {
			key[7]++
			p.Pick(nil, key).Done(Succeeded, 1000)
		}
	})
}
