package limiter

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestSliding(t *testing.T) {
	const ms = int64(time.Millisecond)
	l := limiterOf(t, newSegment(t), Rule{Name: "api", Max: 4, Window: time.Second, Algorithm: Window})
	for _, c := range []struct {
		now  int64 // ms
		want Verdict
	}{
		{5000, Verdict{Admitted: true, Remaining: 3, Reset: time.Second}},
		{5900, Verdict{Admitted: true, Remaining: 2, Reset: 100 * time.Millisecond}},
		{5900, Verdict{Admitted: true, Remaining: 1, Reset: 100 * time.Millisecond}},
		{5900, Verdict{Admitted: true, Remaining: 0, Reset: 100 * time.Millisecond}},
		{5900, Verdict{Reset: 100*time.Millisecond + 1}}, // of 4, less than 4 are left after that
		{6000, Verdict{Reset: 1}},
		{6001, Verdict{Admitted: true, Remaining: 0, Reset: 999 * time.Millisecond}},
		{6200, Verdict{Reset: 50*time.Millisecond + 1}},
		{6500, Verdict{Admitted: true, Remaining: 0, Reset: 500 * time.Millisecond}}, // 2 and 2
		{6500, Verdict{Reset: 1}},
		{5999, Verdict{Reset: 501*time.Millisecond + 1}},                       // this clock is behind
		{7999, Verdict{Admitted: true, Remaining: 3, Reset: time.Millisecond}}, // of 2, none is left
		{9999, Verdict{Admitted: true, Remaining: 3, Reset: time.Millisecond}}, // all is over
		{9999999, Verdict{Admitted: true, Remaining: 3, Reset: time.Millisecond}},
	} {
		c.want.Limit, c.want.Window = 4, time.Second
		got := l.take(c.now*ms, []byte("a"))
		if got.counted = 0; got != c.want {
			t.Errorf("take at %d ms: got %+v; want %+v", c.now, got, c.want)
		}
	}
}

// Who waits for as long as a refusal says is admitted, and not a nanosecond before.
func TestResetIsTheTimeToWait(t *testing.T) {
	for _, algorithm := range []Algorithm{Estimator, Window, GCRA} {
		for _, limit := range []int64{1, 2, 3, 7, 1000, MaxWindowMax} {
			l := limiterOf(t, newSegment(t), Rule{
				Name: "api", Max: min(limit, int64(MinWindow)), Window: 7 * MinWindow, Algorithm: algorithm, Keys: 1,
			})
			key, now := []byte("a"), int64(time.Hour)
			if s, ok := l.rate.counter.(*sliding); ok {
				l.take(now, key)
				slot, state, _ := s.page(l.hasher.Hash(key)).find(l.hasher.Hash(key))
				s.page(l.hasher.Hash(key)).set(slot, state, runs{uint64(now / s.length), uint64(limit), uint64(limit) / 3}.value())
			}
			for refused := 0; refused < 100; {
				v := l.take(now, key)
				if v.Admitted {
					now += rand.Int64N(int64(time.Millisecond))
					if refused++; algorithm == Estimator && limit > 1000 {
						break // it is full only after as many
					}
					continue
				}
				if l.peek(now+int64(v.Reset)-1, key).Admitted {
					t.Fatalf("%v, limit %d: 1 ns before %v: admitted", algorithm, limit, v.Reset)
				}
				if now += int64(v.Reset); !l.peek(now, key).Admitted {
					t.Fatalf("%v, limit %d: after %v: refused", algorithm, limit, v.Reset)
				}
				refused++
			}
		}
	}
}

// A state of any age is read right, however seldom its page is visited.
func TestSlidingTurns(t *testing.T) {
	seg := newSegment(t)
	l := limiterOf(t, seg, Rule{Name: "api", Max: 1 << 20, Window: time.Second, Algorithm: Window, Keys: 1})
	s := l.rate.counter.(*sliding)
	r := rand.New(rand.NewPCG(1, 2))
	type seen struct{ window, last, running uint64 }
	var model [5]seen
	window := uint64(10_000)
	for range 20_000 {
		switch r.IntN(4) {
		case 0:
			window++
		case 1:
			window += r.Uint64N(5)
		case 2:
			window += r.Uint64N(3 * turn)
		}
		k := r.IntN(len(model))
		m := &model[k]
		switch window - m.window {
		case 0:
		case 1:
			m.last, m.running = m.running, 0
		default:
			m.last, m.running = 0, 0
		}
		m.window = window
		m.running++
		left := r.Uint64N(uint64(s.length)) + 1
		got := l.take(int64(window+1)*s.length-int64(left), []byte{byte(k)})
		want := m.last*left/uint64(s.length) + m.running
		if used := uint64(got.Limit - got.Remaining); used != want {
			t.Fatalf("window %d, key %d: used: got %d; want %d", window, k, used, want)
		}
	}
}
