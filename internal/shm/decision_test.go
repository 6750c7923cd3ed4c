package shm

import (
	"sync"
	"testing"
)

func TestDecision(t *testing.T) {
	s := newSegment(t)
	d, reader := s.Decision(), again(t, s).Decision()
	if got := reader.Committed(); got != (Record{}) {
		t.Errorf("at first: got %+v; want none", got)
	}
	record := func(config uint64) Record {
		r := Record{Config: config, Generation: uint32(config)}
		for i := range r.Digest {
			r.Digest[i] = byte(config)
		}
		return r
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for last := uint64(0); last < 3000; {
			got := reader.Committed()
			if got.Config < last || got.Config > 0 && got != record(got.Config) {
				t.Errorf("after %d: got %+v", last, got)
				return
			}
			last = got.Config
		}
	})
	for config := uint64(3); config <= 3000; config += 3 {
		d.Commit(record(config))
	}
	wg.Wait()
	// A writer killed before its last store has touched the other half only.
	other := ^d.state.Load() & 1
	d.digests[other][0].Store(99)
	d.generations[other].Store(99)
	if got := reader.Committed(); got != record(3000) {
		t.Errorf("after half a commit: got %+v; want 3000", got)
	}
}

func TestIncarnations(t *testing.T) {
	s := newSegment(t)
	if first, second := s.Decision().Own(), again(t, s).Decision().Own(); first != 1 || second != 2 {
		t.Errorf("owners: got %d and %d; want 1 and 2", first, second)
	}
	if got := s.Decision().Incarnation(); got != 2 {
		t.Errorf("incarnation: got %d; want 2", got)
	}
}
