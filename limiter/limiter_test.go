package limiter

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

func TestNewRefuses(t *testing.T) {
	seg := newSegment(t)
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{Rule{Max: 0, Window: time.Second}, "rate limit api: 0 requests per window is not between 1 and 4294967295"},
		{Rule{Max: -1, Window: time.Second}, "rate limit api: -1 requests per window is not between 1 and 4294967295"},
		{Rule{Max: 1 << 32, Window: time.Second}, "rate limit api: 4294967296 requests per window is not between 1 and 4294967295"},
		{Rule{Max: 1, Window: 99 * time.Millisecond}, "rate limit api: window 99ms is not between 100ms and 24h0m0s"},
		{Rule{Max: 1, Window: 25 * time.Hour}, "rate limit api: window 25h0m0s is not between 100ms and 24h0m0s"},
		{Rule{Max: 1, Window: time.Second, Keys: -1}, "rate limit api: -1 keys is not between 1 and 16777216"},
		{Rule{Max: 1, Window: time.Second, Keys: 1<<24 + 1}, "rate limit api: 16777217 keys is not between 1 and 16777216"},
		{Rule{Max: 1 << 24, Window: time.Second, Algorithm: Window}, "rate limit api: 16777216 requests per window is not between 1 and 16777215"},
		{Rule{Max: 1, Window: time.Second, Algorithm: 3}, "rate limit api: there is no algorithm 3"},
		{Rule{Max: 1, Window: time.Second, Algorithm: GCRA, Burst: -1}, "rate limit api: a burst of -1 is not between 1 and 288230376"},
		{Rule{Max: 2e8, Window: MinWindow, Algorithm: GCRA}, "rate limit api: 200000000 requests in 100ms is more than one per nanosecond"},
		{
			Rule{Max: 1, Window: time.Second, Overrides: map[string]Rate{"x": {0, time.Second}}},
			`rate limit api: override of "x": 0 requests per window is not between 1 and 4294967295`,
		},
	} {
		c.rule.Name = "api"
		if _, err := New(seg, c.rule); err == nil || err.Error() != c.want {
			t.Errorf("New(%+v): got error %v; want %s", c.rule, err, c.want)
		}
	}
	for _, r := range []Rule{
		{Name: "largest", Max: MaxMax, Window: MaxWindow, Keys: MaxKeys},
		{Name: "smallest", Max: 1, Window: MinWindow, Keys: 1},
		{Name: "usual", Max: 1e8, Window: time.Second},
	} {
		if _, err := New(seg, r); err != nil {
			t.Errorf("New(%+v): %v", r, err)
		}
	}
}

func TestNewSegmentFull(t *testing.T) {
	seg := newSegment(t)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = New(seg, Rule{Name: fmt.Sprint(i), Max: 1, Window: time.Second, Keys: MaxKeys})
	}
	if err == nil || !strings.Contains(err.Error(), "a restart frees it") {
		t.Errorf("error when the segment is full: got %v; want one that says that a restart frees it", err)
	}
}

func TestTake(t *testing.T) {
	l := limiterOf(t, newSegment(t), Rule{Name: "api", Max: 2, Window: time.Second})
	const s, ms = int64(time.Second), int64(time.Millisecond)
	for _, c := range []struct {
		now  int64
		key  string
		want Verdict
	}{
		{5 * s, "a", Verdict{Admitted: true, Limit: 2, Remaining: 1, Reset: time.Second}},
		{5*s + 400*ms, "a", Verdict{Admitted: true, Limit: 2, Remaining: 0, Reset: 600 * time.Millisecond}},
		{5*s + 400*ms, "b", Verdict{Admitted: true, Limit: 2, Remaining: 1, Reset: 600 * time.Millisecond}},
		{5*s + 500*ms, "a", Verdict{Admitted: false, Limit: 2, Remaining: 0, Reset: 500 * time.Millisecond}},
		{6*s - 1, "a", Verdict{Admitted: false, Limit: 2, Remaining: 0, Reset: 1}},
		{6 * s, "a", Verdict{Admitted: true, Limit: 2, Remaining: 1, Reset: time.Second}},
		{6*s - 1, "a", Verdict{Admitted: true, Limit: 2, Remaining: 0, Reset: time.Second + 1}}, // this clock is behind
		{6 * s, "a", Verdict{Admitted: false, Limit: 2, Remaining: 0, Reset: time.Second}},
		{9999 * s, "", Verdict{Admitted: true, Limit: 2, Remaining: 1, Reset: time.Second}},
		{9999 * s, "a", Verdict{Admitted: true, Limit: 2, Remaining: 1, Reset: time.Second}},
	} {
		c.want.Window = time.Second
		got := l.take(c.now, []byte(c.key))
		if got.counted = 0; got != c.want {
			t.Errorf("take(%d, %q): got %+v; want %+v", c.now, c.key, got, c.want)
		}
	}
}

func TestTakeReadsTheClock(t *testing.T) {
	l := limiterOf(t, newSegment(t), Rule{Name: "api", Max: 1, Window: MinWindow})
	deadline := time.Now().Add(5 * time.Second)
	for admitted := 0; admitted < 3; {
		v := l.Take([]byte("a"))
		if v.Admitted {
			admitted++
		}
		if v.Reset <= 0 || v.Reset > MinWindow+time.Millisecond {
			t.Fatalf("Reset: got %v; want more than 0, at most %v", v.Reset, MinWindow)
		}
		if time.Now().After(deadline) {
			t.Fatalf("admitted in 5 s: got %d; want 3", admitted)
		}
	}
}

func TestAppendHeaders(t *testing.T) {
	for _, c := range []struct {
		v    Verdict
		want string
	}{
		{
			Verdict{Admitted: false, Limit: 10, Remaining: 0, Reset: 1},
			"X-Rate-Limit-Limit: 10\r\nX-Rate-Limit-Remaining: 0\r\nX-Rate-Limit-Reset: 1\r\nRetry-After: 1\r\n",
		},
		{
			Verdict{Admitted: false, Limit: 1e8, Remaining: 0, Reset: time.Minute + 1},
			"X-Rate-Limit-Limit: 100000000\r\nX-Rate-Limit-Remaining: 0\r\nX-Rate-Limit-Reset: 61\r\nRetry-After: 61\r\n",
		},
		{
			Verdict{Admitted: true, Limit: 10, Remaining: 3, Reset: 2 * time.Second},
			"X-Rate-Limit-Limit: 10\r\nX-Rate-Limit-Remaining: 3\r\nX-Rate-Limit-Reset: 2\r\n",
		},
	} {
		if got := string(c.v.AppendHeaders(nil)); got != c.want {
			t.Errorf("%+v.AppendHeaders:\ngot  %q\nwant %q", c.v, got, c.want)
		}
	}
}

// A reload makes new Limiters on the same segment.
func TestCountsOutliveLimiter(t *testing.T) {
	seg := newSegment(t)
	rule := Rule{Name: "api", Max: 3, Window: time.Hour}
	now := int64(time.Hour)
	key := []byte("a")
	limiterOf(t, seg, rule).take(now, key)
	limiterOf(t, seg, rule).take(now, key)
	if got := limiterOf(t, seg, rule).take(now, key); !got.Admitted || got.Remaining != 0 {
		t.Errorf("third of three: got %+v; want it admitted, 0 remaining", got)
	}
	rule.Max = 5
	if got := limiterOf(t, seg, rule).take(now, key); !got.Admitted || got.Remaining != 1 {
		t.Errorf("fourth, limit raised to 5: got %+v; want it admitted, 1 remaining", got)
	}
	rule.Max = 2
	if got := limiterOf(t, seg, rule).take(now, key); got.Admitted || got.Remaining != 0 {
		t.Errorf("fifth, limit lowered to 2: got %+v; want it refused, 0 remaining", got)
	}
	rule.Name = "other"
	if got := limiterOf(t, seg, rule).take(now, key); !got.Admitted || got.Remaining != 1 {
		t.Errorf("first of another rule: got %+v; want it admitted, 1 remaining", got)
	}
}

// Nobody who stays within the limit is refused because of others.
func TestDistinctKeysAreNotRefused(t *testing.T) {
	for _, algorithm := range []Algorithm{Estimator, Window, GCRA} {
		for _, keys := range []int{100_000, 1_000_000} {
			t.Run(fmt.Sprintf("%v/%d", algorithm, keys), func(t *testing.T) { distinctKeys(t, algorithm, keys) })
		}
	}
}

func distinctKeys(t *testing.T, algorithm Algorithm, keys int) {
	var sketched atomic.Uint64
	l := limiterOf(t, newSegment(t), Rule{
		Name: "api", Max: 1, Window: time.Second, Algorithm: algorithm, Keys: 1_000_000, SketchTakes: &sketched,
	})
	const now = 8 * int64(time.Second)
	var key []byte
	for i := range 100_000 { // what is over
		key = fmt.Appendf(key[:0], "client-%d", i)
		l.take(now-int64(time.Second)-1, key)
	}
	sketched.Store(0)
	refused := 0
	for i := range keys {
		key = fmt.Appendf(key[:0], "client-%d", i)
		if !l.take(now, key).Admitted {
			refused++
		}
	}
	if refused != 0 {
		t.Errorf("refused of %d distinct keys at 1/s: got %d; want 0", keys, refused)
	}
	if got := sketched.Load(); got > uint64(keys)/500 {
		t.Errorf("takes by the sketch: got %d; want at most %d", got, keys/500)
	}
	for i := range keys {
		key = fmt.Appendf(key[:0], "client-%d", i)
		if l.take(now, key).Admitted {
			t.Fatalf("second take of %s: got admitted; want refused", key)
		}
	}
}

// Every size of table, with every key of it in use.
func TestEveryKeyIsLimited(t *testing.T) {
	for _, keys := range []int{1, 2, 7, 100, 16_384, 16_386, 50_000} {
		for _, limit := range []int64{2, 1 << 20} {
			l := limiterOf(t, newSegment(t), Rule{Name: "api", Max: limit, Window: time.Second, Keys: keys})
			l.rate.max = 2 // with slots as for the other
			for n := range uint64(4) {
				for i := range keys {
					key := fmt.Appendf(nil, "client-%d", i)
					if got := l.take(1e9, key).Admitted; got != (n < 2) {
						t.Fatalf("%d keys of limit %d: take %d of %s: got admitted %v; want %v",
							keys, limit, n+1, key, got, n < 2)
					}
				}
			}
		}
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	seg := newSegment(t)
	var charges []Charge
	for _, algorithm := range []Algorithm{Estimator, Window, GCRA} {
		l := limiterOf(t, seg, Rule{
			Name: "api", Max: 1e6, Window: time.Second, Algorithm: algorithm, Keys: 1,
			Overrides: map[string]Rate{"kkk": {Max: 1, Window: time.Hour}},
		})
		charges = append(charges, Charge{Limiter: l})
	}
	keys := make([][]byte, 20) // most of them in the sketch
	for i := range keys {
		keys[i] = []byte(strings.Repeat("k", i*30))
	}
	buf := make([]byte, 0, 256)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		for c := range charges {
			charges[c].Key = keys[i%len(keys)]
			l := charges[c].Limiter
			v := l.Take(charges[c].Key)
			l.Refund(charges[c].Key, v)
			l.Peek([]byte("kkk"))
			l.Reset(charges[c].Key)
		}
		_, v := TakeAll(charges)
		buf = v.AppendHeaders(buf[:0])
		i++
	}); n != 0 {
		t.Errorf("allocations per request: got %v; want 0", n)
	}
}

// Whatever is in memory, a Take ends, and after 16 windows it counts right.
func TestGarbage(t *testing.T) {
	seg := newSegment(t)
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		l := limiterOf(t, seg, Rule{Name: fmt.Sprint(round), Max: 2, Window: time.Second, Keys: 8})
		words := l.rate.counter.(*estimator).table.words
		for i := range words {
			words[i].Store(r.Uint64())
		}
		words[0].Store(r.Uint64N(10))
		words[bucketWords].Store(r.Uint64N(10))
		key := []byte("a")
		for now := range 20 {
			l.take(int64(now)*1e9, key)
		}
		for n, want := range []bool{true, true, false} {
			if got := l.take(30e9, key).Admitted; got != want {
				t.Fatalf("round %d: take %d: got admitted %v; want %v", round, n+1, got, want)
			}
		}
	}
}

func newSegment(t testing.TB) *shm.Segment {
	t.Helper()
	seg, err := shm.Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { seg.Close() })
	return seg
}

func limiterOf(t testing.TB, seg *shm.Segment, r Rule) *Limiter {
	t.Helper()
	l, err := New(seg, r)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *Limiter) take(now int64, key []byte) (v Verdict) {
	l.takeInto(now, key, &v)
	return v
}

func (l *Limiter) peek(now int64, key []byte) (v Verdict) {
	l.peekInto(now, key, &v)
	return v
}
