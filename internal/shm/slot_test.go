package shm

import (
	"fmt"
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
