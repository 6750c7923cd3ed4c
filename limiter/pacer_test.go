package limiter

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

func TestPacer(t *testing.T) {
	const ms = int64(time.Millisecond)
	l := limiterOf(t, newSegment(t), Rule{Name: "api", Max: 10, Window: time.Second, Algorithm: GCRA, Burst: 3})
	for _, c := range []struct {
		now  int64 // ms
		want Verdict
	}{
		{1000, Verdict{Admitted: true, Remaining: 2, Reset: 100 * time.Millisecond}},
		{1000, Verdict{Admitted: true, Remaining: 1, Reset: 200 * time.Millisecond}},
		{1000, Verdict{Admitted: true, Remaining: 0, Reset: 300 * time.Millisecond}},
		{1000, Verdict{Reset: 100 * time.Millisecond}},
		{1099, Verdict{Reset: time.Millisecond}},
		{1100, Verdict{Admitted: true, Remaining: 0, Reset: 300 * time.Millisecond}},
		{1350, Verdict{Admitted: true, Remaining: 1, Reset: 150 * time.Millisecond}},
		{9000, Verdict{Admitted: true, Remaining: 2, Reset: 100 * time.Millisecond}},
		{8000, Verdict{Reset: 900 * time.Millisecond}}, // this clock is behind
	} {
		c.want.Limit, c.want.Window = 10, time.Second
		got := l.take(c.now*ms, []byte("a"))
		if got.counted = 0; got != c.want {
			t.Errorf("take at %d ms: got %+v; want %+v", c.now, got, c.want)
		}
	}
}

// A key of an earlier rate, which allowed it to be far ahead, is held to this one.
func TestPacerForgetsAnotherRate(t *testing.T) {
	seg := newSegment(t)
	rule := Rule{Name: "api", Max: 1, Window: time.Hour, Algorithm: GCRA, Burst: 1000}
	key, now := []byte("a"), int64(time.Hour)
	for old := limiterOf(t, seg, rule); old.take(now, key).Admitted; {
	}
	rule.Max, rule.Burst = 3600, 1
	l := limiterOf(t, seg, rule)
	if got := l.take(now, key); got.Admitted || got.Reset != time.Second {
		t.Errorf("first at the new rate: got %+v; want it refused for 1s", got)
	}
	if got := l.take(now+int64(time.Second), key); !got.Admitted {
		t.Errorf("a second later: got %+v; want it admitted", got)
	}
}

// However much keys share cells, none gets more than its pace.
func TestArrivalsNeverAdmitTooMany(t *testing.T) {
	a := &arrivals{make([]atomic.Uint64, rowCount*8), 8}
	r := &rate{max: 1000, window: time.Second, capacity: 5, interval: int64(time.Millisecond)}
	const keys = 32
	var log history
	for now := int64(0); now < int64(2*time.Second); now += rand.Int64N(int64(20 * time.Microsecond)) {
		k := rand.IntN(keys)
		if a.take(now, 0, mix(uint64(k)), r).admitted {
			log = append(log, request{key: k, now: now})
		}
	}
	log.checkPace(t, r)
	if len(log) == 0 {
		t.Error("nothing admitted")
	}
}

// What a full page has left to the sketch is not forgotten when the key finds room.
func TestLedgerInheritsFromSketch(t *testing.T) {
	for _, algorithm := range []Algorithm{Window, GCRA} {
		var sketched atomic.Uint64
		l := limiterOf(t, newSegment(t), Rule{
			Name: "api", Max: 4, Window: time.Second, Algorithm: algorithm, Burst: 4, Keys: 1, SketchTakes: &sketched,
		})
		start := int64(100 * time.Second)
		for i := range pageSlots { // who fill the only page, of which "0" is idle first
			for range 1 + i {
				l.take(start, []byte{'0' + byte(i)})
			}
		}
		late := []byte("late")
		for range 3 {
			if !l.take(start, late).Admitted {
				t.Fatalf("%v: refused within its limit", algorithm)
			}
		}
		if got := sketched.Load(); got != 3 {
			t.Fatalf("%v: takes by the sketch: got %d; want 3", algorithm, got)
		}
		l.Reset([]byte{'0'})
		admitted := 0
		for range 9 {
			if l.take(start, late).Admitted {
				admitted++
			}
		}
		if got := sketched.Load(); got != 3 || admitted != 1 {
			t.Errorf("%v: with room: got %d more admitted, %d by the sketch in all; want 1, 3", algorithm, admitted, got)
		}
	}
}
