package limiter

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var everyAlgorithm = []Algorithm{Estimator, Window, GCRA}

func TestParseAlgorithm(t *testing.T) {
	for _, a := range everyAlgorithm {
		if got, ok := ParseAlgorithm(a.String()); !ok || got != a {
			t.Errorf("ParseAlgorithm(%q): got %v, %v; want %v", a, got, ok, a)
		}
	}
	if got, ok := ParseAlgorithm("leaky"); ok {
		t.Errorf("ParseAlgorithm(leaky): got %v; want none", got)
	}
}

func TestPeek(t *testing.T) {
	for _, a := range everyAlgorithm {
		l := limiterOf(t, newSegment(t), Rule{Name: "api", Max: 2, Window: time.Second, Algorithm: a, Burst: 2, Keys: 1})
		key, now := []byte("a"), int64(time.Hour)
		for _, want := range []int64{2, 1, 0, 0} {
			for range 3 {
				if got := l.peek(now, key); got.Remaining != want || got.Admitted != (want > 0) {
					t.Errorf("%v: Peek: got %+v; want %d remaining", a, got, want)
				}
			}
			if got := l.take(now, key); got.Admitted != (want > 0) || got.Remaining != max(want-1, 0) {
				t.Errorf("%v: Take: got %+v; want %d remaining", a, got, max(want-1, 0))
			}
		}
	}
}

func TestRefund(t *testing.T) {
	for _, a := range everyAlgorithm {
		l := limiterOf(t, newSegment(t), Rule{Name: "api", Max: 2, Window: time.Second, Algorithm: a, Burst: 2})
		key, now := []byte("a"), int64(time.Hour)
		first := l.take(now, key)
		second := l.take(now, key)
		l.refund(now, key, l.take(now, key)) // refused: nothing to take back
		if got := l.peek(now, key); got.Admitted {
			t.Errorf("%v: after the refund of a refusal: got %+v; want refused", a, got)
		}
		l.refund(now, key, second)
		if got := l.take(now, key); !got.Admitted || got.Remaining != 0 {
			t.Errorf("%v: after a refund: got %+v; want admitted, 0 remaining", a, got)
		}
		if a == GCRA {
			continue // others have come after the first
		}
		now += int64(time.Second)
		l.take(now, key)
		l.refund(now, key, first)
		if got := l.peek(now, key); got.Remaining != 1 { // of this window's one is used, or of the last one's two one is left
			t.Errorf("%v: after a refund of the last window: got %+v; want 1 remaining", a, got)
		}
	}
}

func TestReset(t *testing.T) {
	for _, a := range everyAlgorithm {
		l := limiterOf(t, newSegment(t), Rule{Name: "api", Max: 2, Window: time.Hour, Algorithm: a, Burst: 2})
		key, other := []byte("a"), []byte("b")
		l.Reset(key)
		for l.Take(key).Admitted {
		}
		l.Take(other)
		l.Reset(key)
		if got := l.Take(key); !got.Admitted || got.Remaining != 1 {
			t.Errorf("%v: after Reset: got %+v; want admitted, 1 remaining", a, got)
		}
		if got := l.Peek(other); got.Remaining != 1 {
			t.Errorf("%v: another key: got %+v; want 1 remaining", a, got)
		}
	}
}

func TestOverrides(t *testing.T) {
	for _, a := range everyAlgorithm {
		rule := Rule{
			Name: "api", Max: 1, Window: time.Second, Algorithm: a,
			Overrides: map[string]Rate{"big": {10, time.Second}, "slow": {1, time.Minute}},
		}
		if a == GCRA {
			rule.Burst = 1
		}
		seg := newSegment(t)
		start := int64(time.Millisecond) // at the very start of a window, all of the last one still counts
		// Admitted if they come each 100 ms for 3 s, well within a minute.
		for key, want := range map[string]int{"x": 3, "big": 30, "slow": 1} {
			l, n := limiterOf(t, seg, rule), 0
			start += 10 * int64(time.Minute)
			for i := range int64(30) {
				v := l.take(start+i*int64(100*time.Millisecond), []byte(key))
				if v.Admitted {
					n++
				}
				o, ok := rule.Overrides[key]
				if ok && (v.Limit != o.Max || v.Window != o.Window) || !ok && v.Limit != 1 {
					t.Fatalf("%v, %s: got %+v; want the key's own limit", a, key, v)
				}
			}
			if n != want {
				t.Errorf("%v, %s: admitted in 3 s: got %d; want %d", a, key, n, want)
			}
		}
	}
}

func TestTakeAll(t *testing.T) {
	seg := newSegment(t)
	now := int64(time.Hour)
	charge := func(name string, limit int64, window time.Duration, a Algorithm) Charge {
		rule := Rule{Name: name, Max: limit, Window: window, Algorithm: a, Keys: 100}
		if a == GCRA {
			rule.Burst = limit
		}
		return Charge{limiterOf(t, seg, rule), []byte("key")}
	}
	large := charge("large", 5, time.Second, Window)
	small := charge("small", 2, time.Second, Estimator)
	paced := charge("paced", 3, time.Minute, GCRA)
	for i, c := range []struct {
		charges   []Charge
		at        int
		admitted  bool
		remaining int64
	}{
		{nil, 0, true, 0},
		{[]Charge{large}, 0, true, 4},
		{[]Charge{large, small, paced}, 1, true, 1},
		{[]Charge{paced, large, small}, 2, true, 0},
		{[]Charge{large, paced, small}, 2, false, 0},
		{[]Charge{small, paced, large}, 0, false, 0},
		{[]Charge{paced}, 0, true, 0},
		{[]Charge{small, large, paced}, 2, false, 0}, // two refuse, and this one for longer
		{[]Charge{large}, 0, true, 1},                // what was refused was not charged
	} {
		var at int
		v := Verdict{Admitted: true}
		if len(c.charges) == 0 {
			at, v = TakeAll(c.charges)
		} else {
			at, v = takeAll(now, c.charges)
		}
		if at != c.at || v.Admitted != c.admitted || v.Remaining != c.remaining {
			t.Errorf("%d: got %+v of charge %d; want admitted %v, %d remaining of charge %d", i, v, at, c.admitted, c.remaining, c.at)
		}
	}
}

// Of a limit that is full only now and then, nothing is used up by requests that
// another one refuses, whoever comes in between.
func TestTakeAllRefundsWhatWasRaced(t *testing.T) {
	seg := newSegment(t)
	key := []byte("key")
	for _, a := range everyAlgorithm {
		wide := limiterOf(t, seg, Rule{Name: "wide", Max: 100_000, Window: MaxWindow, Algorithm: a, Burst: 100_000})
		narrow := limiterOf(t, seg, Rule{Name: "narrow before " + a.String(), Max: 1000, Window: MaxWindow})
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 1000 {
					if _, v := TakeAll([]Charge{{wide, key}, {narrow, key}}); v.Admitted {
						admitted.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if got := admitted.Load(); got != 1000 {
			t.Errorf("%v: admitted: got %d; want 1000", a, got)
		}
		used := 100_000 - wide.Peek(key).Remaining
		if most := int64(1000 + 4); used < 1000 || used > most {
			t.Errorf("%v: used of the wide limit: got %d; want 1000, at most %d", a, used, most)
		}
	}
}
