package shm

import "testing"

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		Now()
	}
}

func BenchmarkHash(b *testing.B) {
	h := newSegment(b).Hasher("api")
	key := []byte("client-12345")
	for b.Loop() {
		h.Hash(key)
	}
}
