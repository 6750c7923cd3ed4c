package lb

import (
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// outcome makes one request to s end so.
func outcome(p *Pool, s *Server, o Outcome) (ejected bool) {
	p.enter(s)
	return s.Done(o, 0)
}

// ejecting returns the pools of two workers on one segment.
func ejecting(t *testing.T, seg *shm.Segment, e Ejection, servers int) (a, b *Pool) {
	t.Helper()
	s := Settings{Name: "one", Eject: e}
	a = settledPool(t, seg, s, many(servers)...)
	s.Slot = 1
	return a, settledPool(t, seg, s, many(servers)...)
}

func TestErrorsInARowEject(t *testing.T) {
	rule := Ejection{Errors: 5, For: 10 * time.Second, MaxPercent: 50}
	for _, c := range []struct {
		name, outcomes string // letters of Errored, Succeeded, Abandoned
		want           int    // which of them ejects; -1: none
	}{
		{"in a row", "eeeee", 4},
		{"too few", "eeee", -1},
		{"a success between", "eeeeseeee", -1},
		{"after a success", "eeseeeee", 7},
		{"what was abandoned says nothing", "eeaeaee", 6},
		{"what was under way says nothing", "eeeeeeeeeeeee", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := ejecting(t, newSegment(t), rule, 4)
			got := -1
			for i, letter := range []byte(c.outcomes) {
				p := []*Pool{a, b}[i%2] // all workers count together
				o := map[byte]Outcome{'e': Errored, 's': Succeeded, 'a': Abandoned}[letter]
				if outcome(p, p.servers[1], o) {
					if got >= 0 {
						t.Fatalf("ejected by %d and by %d again; want once", got, i)
					}
					got = i
				}
			}
			if got != c.want {
				t.Errorf("%s: ejected by outcome %d; want %d", c.outcomes, got, c.want)
			}
			for i, p := range []*Pool{a, b} {
				if got, want := share(p, p.servers[1]) == 0, c.want >= 0; got != want {
					t.Errorf("worker %d: passed over is %v; want %v", i, got, want)
				}
			}
			if left := a.servers[1].Info().Ejected; (left > 9*time.Second && left <= 10*time.Second+time.Millisecond) != (c.want >= 0) {
				t.Errorf("ejected for %v more; want 10s if at all", left)
			}
		})
	}
}

func TestEjectionsGrow(t *testing.T) {
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		const base = 10 * time.Second
		p, _ := ejecting(t, seg, Ejection{Errors: 2, For: base, MaxPercent: 100}, 3)
		s := p.servers[0]
		lasts := func() time.Duration {
			outcome(p, s, Errored)
			if !outcome(p, s, Errored) {
				t.Fatal("two errors did not eject")
			}
			left := s.Info().Ejected
			time.Sleep(left)
			if got := s.Info().Ejected; got != 0 {
				t.Errorf("ejected for %v more; want it over", got)
			}
			return left.Round(time.Second)
		}
		for i, want := range []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10} {
			if got := lasts(); got != want*base {
				t.Errorf("ejection %d in a row lasts %v; want %v", i+1, got, want*base)
			}
		}
		time.Sleep(10*base - time.Second) // as long as the last one, nearly
		if got := lasts(); got != 10*base {
			t.Errorf("soon after: lasts %v; want %v", got, 10*base)
		}
		time.Sleep(10*base + time.Second)
		if got := lasts(); got != base {
			t.Errorf("long after: lasts %v; want %v", got, base)
		}
	})
}

func TestEjectionsAreBounded(t *testing.T) {
	for _, c := range []struct{ servers, percent, want int }{
		{1, 100, 1}, {1, 99, 0}, {2, 50, 1}, {3, 50, 1}, {4, 50, 2}, {10, 10, 1}, {9, 10, 0}, {10, 100, 10}, {3, 66, 1}, {3, 67, 2},
	} {
		a, b := ejecting(t, newSegment(t), Ejection{Errors: 3, For: time.Minute, MaxPercent: c.percent}, c.servers)
		got := 0
		for i := range c.servers {
			for n := range 10 {
				p := []*Pool{a, b}[n%2]
				if outcome(p, p.servers[i], Errored) {
					got++
				}
			}
		}
		if got != c.want {
			t.Errorf("%d servers, %d %%: %d ejected; want %d", c.servers, c.percent, got, c.want)
		}
		if a.Pick(nil, nil) == nil {
			t.Errorf("%d servers, %d ejected: picked none; want one", c.servers, got)
		}
	}
	// One that may not be ejected is as soon as another one's time is over.
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		p, _ := ejecting(t, seg, Ejection{Errors: 3, For: time.Minute, MaxPercent: 50}, 2)
		for i := range 6 {
			if got, want := outcome(p, p.servers[i/3], Errored), i == 2; got != want {
				t.Errorf("error %d: ejected is %v; want %v", i, got, want)
			}
		}
		time.Sleep(time.Minute)
		if !outcome(p, p.servers[1], Errored) {
			t.Error("one more error after the other's ejection: not ejected; want ejected")
		}
	})
}

// Nothing is written while nothing fails.
func TestSuccessWritesNothing(t *testing.T) {
	p, _ := ejecting(t, newSegment(t), Ejection{Errors: 3, For: time.Minute, MaxPercent: 50}, 2)
	s := p.servers[0]
	s.cell.Eject.Store(uint64(makeEjection(0, 4, 0)))
	outcome(p, s, Succeeded)
	outcome(p, s, Abandoned)
	if got, want := ejection(s.cell.Eject.Load()), makeEjection(0, 4, 0); got != want {
		t.Errorf("word is %#x; want %#x still", got, want)
	}
}

func TestEjectionWord(t *testing.T) {
	for _, until := range []int64{0, int64(time.Millisecond), int64(40 * 365 * 24 * time.Hour / 2)} {
		for _, errors := range []int{0, 1, maxErrors} {
			e := makeEjection(until, maxTimes, errors)
			if e.until() != until || e.times() != maxTimes || e.errors() != errors {
				t.Errorf("%d, %d, %d: read back as %d, %d, %d", until, maxTimes, errors, e.until(), e.times(), e.errors())
			}
		}
	}
	e := makeEjection(0, 0, maxErrors)
	if got := e.next(0, &Ejection{Errors: 1 << 20}); got.errors() != maxErrors || got.times() != 0 {
		t.Errorf("one error more than can be counted: %d errors, %d ejections; want %d, 0", got.errors(), got.times(), maxErrors)
	}
}
