package lb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// start runs a prober until the returned stop, which waits for it.
func start(pr *Prober) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { pr.Run(ctx) })
	return func() { cancel(); wg.Wait() }
}

var discard = slog.New(slog.DiscardHandler)

// A sightings is what a server saw of its probes.
type sightings struct {
	mu sync.Mutex
	at []time.Time
}

func (s *sightings) probe(context.Context, string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	return nil
}

func (s *sightings) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

// gaps returns the shortest and the longest time between two probes.
func (s *sightings) gaps() (shortest, longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shortest = time.Duration(1<<63 - 1)
	for i := 1; i < len(s.at); i++ {
		gap := s.at[i].Sub(s.at[i-1])
		shortest, longest = min(shortest, gap), max(longest, gap)
	}
	return shortest, longest
}

// Ten reloads a second in each of two workers, each reload with both the old
// and the new prober at work for a while: the server sees one steady prober.
func TestReloadsNeitherHastenNorDelayProbes(t *testing.T) {
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		var seen sightings
		check := Check{Interval: time.Second, Probe: seen.probe}
		server := newPool(t, seg, true, Spec{Address: "a"}).Servers()[0]
		stops := [2]func(){func() {}, func() {}}
		for round := range 600 {
			for slot := range 2 {
				next := start(NewProber(newPool(t, seg, true, Spec{Address: "a"}), check, slot, discard))
				time.Sleep(20 * time.Millisecond)
				stops[slot]()
				stops[slot] = next
				if holder := lease(server.cell.Lease.Load()).slot(); holder != 0 {
					t.Fatalf("reload %d: slot %d has the lease; want slot 0, which took it first", round, holder)
				}
			}
			time.Sleep(60 * time.Millisecond)
		}
		stops[0]()
		stops[1]()
		shortest, longest := seen.gaps()
		if shortest < 900*time.Millisecond || longest > 1200*time.Millisecond {
			t.Errorf("probes were %v to %v apart; want 0.9s to 1.2s", shortest, longest)
		}
		if got := seen.count(); got < 52 || got > 68 {
			t.Errorf("%d probes in a minute; want about 60", got)
		}
	})
}

// A probe that takes longer than it is from one reload to the next still counts.
func TestReloadsDoNotHideAServerThatHangs(t *testing.T) {
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		server := newPool(t, seg, true, Spec{Address: "a"}).Servers()[0]
		var underWay, most atomic.Int32
		check := Check{Interval: time.Second, Timeout: 700 * time.Millisecond, Fall: 2}
		check.Probe = func(ctx context.Context, _ string) error {
			most.Store(max(most.Load(), underWay.Add(1)))
			defer underWay.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		}
		set(server, Up)
		began := time.Now()
		var stops []func()
		for server.Up() && time.Since(began) < time.Minute {
			stop := start(NewProber(newPool(t, seg, true, Spec{Address: "a"}), check, 0, discard))
			time.Sleep(100 * time.Millisecond)
			stops = append(stops, sync.OnceFunc(stop))
			go stops[len(stops)-1]()
		}
		if took := time.Since(began); took > 2100*time.Millisecond {
			t.Errorf("down after %v; want 2.1s, the time of two probes", took)
		}
		if got := most.Load(); got != 1 {
			t.Errorf("%d probes at once; want 1", got)
		}
		for _, stop := range stops {
			stop()
		}
	})
}

// What a kill -9 leaves is a lease that nobody renews; and a prober that is told
// to stop leaves just that. The real kill is in process_test.go.
func TestDeadHolderIsReplacedWithinTwoIntervals(t *testing.T) {
	for _, interval := range []time.Duration{50 * time.Millisecond, time.Second, time.Minute} {
		t.Run(interval.String(), func(t *testing.T) {
			seg := newSegment(t)
			bubble(t, func(t *testing.T) {
				var mine, other sightings
				run := func(slot int, seen *sightings) (stop func()) {
					p := newPool(t, seg, true, Spec{Address: "a"})
					return start(NewProber(p, Check{Interval: interval, Probe: seen.probe}, slot, discard))
				}
				stopMine := run(0, &mine)
				synctest.Wait()
				stopOther := run(1, &other)
				time.Sleep(10*interval + interval/3)
				if other.count() != 0 || mine.count() < 8 {
					t.Fatalf("%d probes by the holder, %d by the other; want about 10 and none", mine.count(), other.count())
				}
				stopMine()
				time.Sleep(2 * interval)
				if got := other.count(); got != 1 {
					t.Errorf("%d probes by the other in two intervals after the holder's death; want 1", got)
				}
				// The dead one's successor does not get it back.
				before := mine.count()
				stopMine = run(0, &mine)
				time.Sleep(5 * interval)
				if got := mine.count() - before; got != 0 {
					t.Errorf("%d probes by the respawned one; want none", got)
				}
				stopMine()
				stopOther()
			})
		})
	}
}

func TestRespawnedWorkerKeepsTheLease(t *testing.T) {
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		var seen, other sightings
		run := func(slot int, seen *sightings) (stop func()) {
			p := newPool(t, seg, true, Spec{Address: "a"})
			return start(NewProber(p, Check{Interval: time.Second, Probe: seen.probe}, slot, discard))
		}
		stop := run(5, &seen)
		synctest.Wait()
		stopOther := run(6, &other)
		for range 30 {
			time.Sleep(700 * time.Millisecond)
			stop() // dead
			time.Sleep(300 * time.Millisecond)
			stop = run(5, &seen)
		}
		stop()
		stopOther()
		if other.count() != 0 {
			t.Errorf("%d probes by the other worker; want none", other.count())
		}
		if shortest, longest := seen.gaps(); shortest < 900*time.Millisecond || longest > 1450*time.Millisecond {
			t.Errorf("probes were %v to %v apart; want 0.9s to 1.45s", shortest, longest)
		}
	})
}

// A failed connect in a worker that holds no lease has the holder probe at once.
func TestFailedAsksForAProbe(t *testing.T) {
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		var alive atomic.Bool
		var probes atomic.Int32
		alive.Store(true)
		check := Check{Interval: 10 * time.Second, Fall: 3, Probe: func(context.Context, string) error {
			probes.Add(1)
			if alive.Load() {
				return nil
			}
			return syscall.ECONNREFUSED
		}}
		stop := start(NewProber(newPool(t, seg, true, Spec{Address: "a"}), check, 0, discard))
		defer stop()
		elsewhere := newPool(t, seg, true, Spec{Address: "a"}).Servers()[0]
		time.Sleep(5 * time.Second)
		if got := probes.Load(); got != 1 || !elsewhere.Up() {
			t.Fatalf("%d probes, up %v; want 1 and up", got, elsewhere.Up())
		}

		elsewhere.Failed()
		time.Sleep(51 * time.Millisecond)
		if got := probes.Load(); got != 2 || !elsewhere.Up() {
			t.Fatalf("asked once: %d probes, up %v; want 2 and up", got, elsewhere.Up())
		}
		for range 10000 {
			elsewhere.Failed()
			time.Sleep(100 * time.Microsecond)
		}
		if got := probes.Load() - 2; got < 3 || got > 5 {
			t.Errorf("asked 10,000 times in a second: %d probes; want at most one in 250ms", got)
		}

		alive.Store(false)
		began := time.Now()
		for elsewhere.Up() && time.Since(began) < time.Minute {
			elsewhere.Failed()
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took > 950*time.Millisecond {
			t.Errorf("three probes took %v while connects failed; want under 0.95s", took)
		}
		time.Sleep(time.Second)
		before := probes.Load()
		for range 1000 {
			elsewhere.Failed()
			time.Sleep(time.Millisecond)
		}
		if got := probes.Load() - before; got != 0 {
			t.Errorf("a server that is down: asked for %d probes; want none but at the interval", got)
		}
	})
}

func TestShorterIntervalTakesEffectAtOnce(t *testing.T) {
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		var seen sightings
		run := func(interval time.Duration) (stop func()) {
			p := newPool(t, seg, true, Spec{Address: "a"})
			return start(NewProber(p, Check{Interval: interval, Probe: seen.probe}, 0, discard))
		}
		stop := run(time.Hour)
		time.Sleep(time.Minute)
		stop()
		stop = run(time.Second)
		time.Sleep(10 * time.Second)
		stop()
		if got := seen.count(); got < 8 || got > 12 {
			t.Errorf("%d probes; want about 10", got)
		}
	})
}

// One that stalled until another took over does not overrule it.
func TestLateResultOfALostLeaseIsDropped(t *testing.T) {
	p := newPool(t, newSegment(t), true, Spec{Address: "a"})
	pr := NewProber(p, Check{}, 0, discard)
	now := shm.Now()
	due, _ := pr.turn(now, nil)
	if len(due) != 1 {
		t.Fatalf("%d probes due at first; want 1", len(due))
	}
	due[0].cell.Lease.Store(uint64(makeLease(1, now+int64(time.Second))))
	set(due[0].Server, Up)
	pr.settle(due[0], now, syscall.ETIMEDOUT)
	if !due[0].Up() {
		t.Error("the late result made the server down; want it dropped")
	}
}

func TestOnlyChangesAreLogged(t *testing.T) {
	var log bytes.Buffer
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	p := newPool(t, newSegment(t), true, Spec{Address: "1.1.1.1:443"})
	pr := NewProber(p, Check{Fall: 2}, 0, slog.New(handler))
	refused := fmt.Errorf("connect: %w", syscall.ECONNREFUSED)
	now := shm.Now()
	due, _ := pr.turn(now, nil)
	for i, err := range []error{nil, nil, refused, nil, refused, refused, errors.New("status 500"), refused, nil, nil} {
		pr.settle(due[0], now+int64(i), err)
	}
	want := `level=INFO msg="upstream one: server 1.1.1.1:443 is up"
level=WARN msg="upstream one: server 1.1.1.1:443 is down: connect: connection refused"
level=INFO msg="upstream one: server 1.1.1.1:443 is up"
`
	if got := log.String(); got != want {
		t.Errorf("log: got\n%s\nwant\n%s", got, want)
	}
}

// A turn that finds nothing to do, 20 a second and prober, is cheap.
func BenchmarkIdleTurn(b *testing.B) {
	p := newPool(b, newSegment(b), true, Spec{Address: "a"}, Spec{Address: "b"}, Spec{Address: "c"})
	pr := NewProber(p, Check{Interval: time.Hour}, 0, discard)
	var due []*target
	b.ReportAllocs()
	for b.Loop() {
		due, _ = pr.turn(shm.Now(), due[:0])
	}
}
