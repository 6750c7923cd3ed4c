package shm

import (
	"fmt"
	"sync"
	"testing"
)

func TestCounterNames(t *testing.T) {
	seen := make(map[string]Counter)
	for c := range NumCounters {
		name := c.String()
		if other, ok := seen[name]; ok || name == "" {
			t.Errorf("name of counter %d: got %q, that of counter %d", c, name, other)
		}
		seen[name] = c
	}
	for _, c := range []Counter{-1, NumCounters} {
		if got := c.String(); got != "proxyd_unknown" {
			t.Errorf("name of counter %d: got %s; want proxyd_unknown", c, got)
		}
	}
	for class := range Counter(5) {
		want := fmt.Sprintf("proxyd_responses_%dxx_total", class+1)
		if got := (Responses1xx + class).String(); got != want {
			t.Errorf("counter of status %dxx: got %s; want %s", class+1, got, want)
		}
	}
}

func TestOccupy(t *testing.T) {
	s := newSegment(t).Slot(MaxSlots - 1)
	s.Counters[Requests].Store(5)
	s.Counters[ActiveConnections].Store(3)
	before := Now()
	s.Occupy(123)
	if got := s.Pid.Load(); got != 123 {
		t.Errorf("pid: got %d; want 123", got)
	}
	if got := s.Beat.Load(); got < before || got > Now() {
		t.Errorf("beat: got %d; want now", got)
	}
	if got := s.Counters[Requests].Load(); got != 5 {
		t.Errorf("total: got %d; want 5, what the last holder left", got)
	}
	if got := s.Counters[ActiveConnections].Load(); got != 0 {
		t.Errorf("gauge: got %d; want 0", got)
	}
}

func TestDecision(t *testing.T) {
	s := newSegment(t)
	d, reader := s.Decision(), again(t, s).Decision()
	if config, digest := reader.Committed(); config != 0 || digest != [32]byte{} {
		t.Errorf("at first: got %d, %x; want none", config, digest)
	}
	digestOf := func(config uint64) (digest [32]byte) {
		for i := range digest {
			digest[i] = byte(config)
		}
		return digest
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for last := uint64(0); last < 3000; {
			config, digest := reader.Committed()
			if config < last || digest != digestOf(config) {
				t.Errorf("after %d: got %d with %x", last, config, digest)
				return
			}
			last = config
		}
	})
	for config := uint64(3); config <= 3000; config += 3 {
		d.Commit(config, digestOf(config))
	}
	wg.Wait()
	// A writer killed before its last store has touched the other half only.
	d.digests[^d.state.Load()&1][0].Store(99)
	if config, digest := reader.Committed(); config != 3000 || digest != digestOf(3000) {
		t.Errorf("after half a commit: got %d, %x; want 3000", config, digest)
	}
}
