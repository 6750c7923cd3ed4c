package lb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb/reason"
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

func (s *sightings) last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[len(s.at)-1]
}

// span returns the time from the first to the last.
func (s *sightings) span() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[len(s.at)-1].Sub(s.at[0])
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

// An interval is that from start to start, without what it takes a prober to look.
func TestProbesAreOnTime(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Millisecond, time.Second, time.Minute} {
		seg := newSegment(t)
		bubble(t, func(t *testing.T) {
			var seen sightings
			stop := start(NewProber(newPool(t, seg, true, Spec{Address: "a"}), Check{Interval: interval, Probe: seen.probe}, 0, discard))
			time.Sleep(400 * interval)
			stop()
			late := min(5*time.Millisecond, interval/64)
			if shortest, longest := seen.gaps(); shortest < interval*9/10 || longest > interval*11/10+late {
				t.Errorf("interval %v: probes were %v to %v apart; want ±10%%, %v late at most", interval, shortest, longest, late)
			}
			// Jitter has it off by more than 6 once in five million runs.
			if got := seen.count(); got < 392 || got > 407 {
				t.Errorf("interval %v: %d probes in 400 intervals; want 400", interval, got)
			}
		})
	}
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
		if shortest < 900*time.Millisecond || longest > 1105*time.Millisecond {
			t.Errorf("probes were %v to %v apart; want 0.9s to 1.105s", shortest, longest)
		}
		// A minute of ±10 %: off by more than 4 % once in a million times.
		if got := seen.count(); got < 58 || got > 63 {
			t.Errorf("%d probes in a minute; want 60", got)
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
// to stop leaves just that. Whenever that happens, the server's next probe comes
// within two intervals of its last one. The real kill is in process_test.go.
func TestDeadHolderIsReplacedWithinTwoIntervals(t *testing.T) {
	for _, interval := range []time.Duration{50 * time.Millisecond, time.Second, time.Minute} {
		t.Run(interval.String(), func(t *testing.T) {
			seg := newSegment(t)
			bubble(t, func(t *testing.T) {
				var seen [2]sightings
				run := func(slot int) (stop func()) {
					p := newPool(t, seg, true, Spec{Address: "a"})
					return start(NewProber(p, Check{Interval: interval, Probe: seen[slot].probe}, slot, discard))
				}
				holder, other := 0, 1
				stops := [2]func(){}
				stops[holder] = run(holder)
				synctest.Wait()
				stops[other] = run(other)
				for phase := range 40 { // up to 1.17 intervals after a probe
					before, others := seen[holder].count(), seen[other].count()
					for wait := 0; seen[holder].count() == before; wait++ {
						if wait == 2000 {
							t.Fatalf("phase %d: the holder has not probed for two intervals", phase)
						}
						time.Sleep(interval / 1000)
					}
					time.Sleep(interval * time.Duration(phase*3) / 100)
					if got := seen[other].count() - others; got != 0 {
						t.Fatalf("phase %d: %d probes by the other one; want none while the holder lives", phase, got)
					}
					stops[holder]()
					last := seen[holder].last()
					time.Sleep(2*interval - time.Since(last))
					if got := seen[other].count() - others; got < 1 || got > 2 {
						t.Errorf("phase %d: in two intervals after the dead one's last probe %d by the other; want 1 or 2", phase, got)
					}
					// The dead one's successor does not get the lease back.
					stops[holder] = run(holder)
					holder, other = other, holder
				}
				stops[0]()
				stops[1]()
				all := sightings{at: slices.SortedFunc(slices.Values(slices.Concat(seen[0].at, seen[1].at)), time.Time.Compare)}
				shortest, longest := all.gaps()
				if shortest < interval*9/10 || longest > interval*7/4 {
					t.Errorf("probes were %v to %v apart; want 0.9 to 1.75 of %v", shortest, longest, interval)
				}
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

// tally counts probes by address.
type tally struct {
	mu sync.Mutex
	of map[string]int
}

func (y *tally) probe(_ context.Context, address string) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.of == nil {
		y.of = make(map[string]int)
	}
	y.of[address]++
	return nil
}

// take returns the counts and forgets them.
func (y *tally) take() map[string]int {
	y.mu.Lock()
	defer y.mu.Unlock()
	of := y.of
	y.of = nil
	return of
}

// A server that comes is probed at once, one that goes no more, and one that
// stays as if nothing had happened, even in the midst of a probe.
func TestProberFollowsThePool(t *testing.T) {
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		var seen tally
		var slow atomic.Int32
		check := Check{Interval: 2 * time.Second, Timeout: 5 * time.Second, Initial: Up}
		check.Probe = func(ctx context.Context, address string) error {
			if address == "slow" && slow.Add(1) > 1 {
				t.Error("slow was probed again while a probe was under way")
			}
			if address == "slow" {
				<-ctx.Done()
				slow.Add(-1)
			}
			return seen.probe(ctx, address)
		}
		p := newPool(t, seg, true)
		defer start(NewProber(p, check, 0, discard))()
		for _, c := range []struct {
			servers []Spec
			want    map[string]int // probes that ended meanwhile
		}{
			{nil, nil},
			{[]Spec{{Address: "a"}}, map[string]int{"a": 1}},
			{[]Spec{{Address: "b"}, {Address: "slow"}, {Address: "a"}}, map[string]int{"b": 1}},
			{[]Spec{{Address: "slow"}, {Address: "c"}}, map[string]int{"c": 1}},
			{[]Spec{{Address: "c"}, {Address: "slow"}, {Address: "b"}}, nil}, // b is not due yet
		} {
			if _, err := p.Replace(c.servers); err != nil {
				t.Fatal(err)
			}
			time.Sleep(260 * time.Millisecond)
			got := seen.take()
			if !maps.Equal(got, c.want) {
				t.Errorf("%v: in 260ms got probes %v; want %v", c.servers, got, c.want)
			}
			for _, s := range p.Servers() {
				if !s.Up() {
					t.Errorf("%v: %s is not up; want it so from the beginning", c.servers, s.Address)
				}
			}
		}
		time.Sleep(3 * time.Second) // slow is due once more
		if _, err := p.Replace(nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(260 * time.Millisecond)
		seen.take()
		time.Sleep(time.Minute)
		if got := seen.take(); !maps.Equal(got, map[string]int{"slow": 1}) {
			t.Errorf("without servers: got probes %v; want the end of the one that was under way", got)
		}
	})
}

// The operator's word holds for all workers, whoever has the lease.
func TestDisabledServersAreNotProbed(t *testing.T) {
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		var seen tally
		for slot := range 2 {
			p := newPool(t, seg, true, Spec{Address: "a"}, Spec{Address: "b"})
			defer start(NewProber(p, Check{Interval: time.Second, Probe: seen.probe}, slot, discard))()
		}
		operator := newPool(t, seg, true, Spec{Address: "a"}, Spec{Address: "b"}).Servers()
		time.Sleep(5 * time.Second)
		operator[0].Disable()
		operator[1].Drain()
		seen.take()
		time.Sleep(time.Minute)
		if got := seen.take(); got["a"] != 0 || got["b"] < 55 {
			t.Errorf("in a minute, a disabled and b draining: got probes %v; want none of a and 60 of b", got)
		}
		operator[0].Enable()
		time.Sleep(130 * time.Millisecond)
		if got := seen.take(); got["a"] != 1 {
			t.Errorf("130ms after a was enabled: got probes %v; want one of a", got)
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

// One that stood still until another took over does not overrule it. But who just
// lost the lease for a moment has seen what he has seen.
func TestLateResultOfALostLeaseIsDropped(t *testing.T) {
	for _, c := range []struct {
		name string
		slot int // that has the lease when the probe ends
		took time.Duration
		want State
	}{
		{"in time", 0, 2 * time.Second, Down},
		{"late, and the lease is still there", 0, time.Minute, Down},
		{"in time, and the lease is gone", 1, 2 * time.Second, Down},
		{"late, and the lease is gone", 1, 2600 * time.Millisecond, Up},
	} {
		p := newPool(t, newSegment(t), true, Spec{Address: "a"})
		pr := NewProber(p, Check{Interval: time.Second, Timeout: 2 * time.Second}, 0, discard)
		now := shm.Now()
		due, _ := pr.turn(now, nil)
		if len(due) != 1 || !pr.claim(due[0], now) {
			t.Fatalf("%s: %d probes due at first; want 1, to be claimed", c.name, len(due))
		}
		if pr.claim(due[0], now) {
			t.Errorf("%s: claimed twice", c.name)
		}
		set(due[0].Server, Up)
		due[0].cell.Lease.Store(uint64(makeLease(c.slot, now+int64(time.Hour))))
		pr.settle(due[0], now+int64(c.took), syscall.ETIMEDOUT)
		if got, _, _ := due[0].State(); got != c.want {
			t.Errorf("%s: server is %v; want %v", c.name, got, c.want)
		}
	}
}

// Two claim the same probe at the same time by the clock, as often as it takes
// for them to meet between any two instructions.
func TestClaimHasOneWinner(t *testing.T) {
	const rounds = 2000
	seg := newSegment(t)
	var wins [2]atomic.Int64
	var start [rounds]atomic.Int64 // of a round, when both are ready for it
	var wg sync.WaitGroup
	for slot := range wins {
		r := NewProber(newPool(t, seg, true, Spec{Address: "a"}), Check{}, slot, discard)
		wg.Go(func() {
			for round := range int64(rounds) {
				// Who comes second says when.
				if !start[round].CompareAndSwap(0, 1) {
					start[round].Store(shm.Now() + int64(2*time.Microsecond))
				}
				at := start[round].Load()
				for at == 1 {
					runtime.Gosched()
					at = start[round].Load()
				}
				for shm.Now() < at {
				}
				if r.claim(r.targets[0], at+round*int64(time.Hour)) { // the one before is due
					wins[slot].Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := wins[0].Load() + wins[1].Load(); got != rounds {
		t.Errorf("%d claims of %d probes; want one each", got, rounds)
	}
}

// What one worker finds out, all see, with the reason.
func TestReasonIsSeenByAll(t *testing.T) {
	seg := newSegment(t)
	elsewhere := newPool(t, seg, true, Spec{Address: "a"}).Servers()[0]
	pr := NewProber(newPool(t, seg, true, Spec{Address: "a"}), Check{}, 0, discard)
	due, _ := pr.turn(shm.Now(), nil)
	for _, c := range []struct {
		err  error
		want string
	}{
		{reason.HTTP(503), "HTTP status 503"},
		{fmt.Errorf("%w: shutting down", reason.GRPCHealth(2)), "gRPC health NOT_SERVING"},
		{fmt.Errorf("connect: %w", syscall.ECONNREFUSED), "connection refused"},
		{fmt.Errorf("TLS handshake: %w", reason.TimedOut), "no answer in time"},
		{errors.New("anything else"), "probe failed"},
		{nil, ""},
	} {
		pr.settle(due[0], shm.Now(), c.err)
		if _, _, got := elsewhere.State(); got != c.want {
			t.Errorf("%v: another worker has %q; want %q", c.err, got, c.want)
		}
	}
}

// With Initial up, all pools have a server that was never probed as up, and the
// first failure makes it down; what is known already comes before that.
func TestInitialState(t *testing.T) {
	for _, c := range []struct {
		initial, known, want State
	}{
		{Unknown, Unknown, Unknown},
		{Up, Unknown, Up},
		{Up, Down, Down},
		{Unknown, Up, Up},
	} {
		seg := newSegment(t)
		elsewhere := newPool(t, seg, true, Spec{Address: "a"}).Servers()[0]
		if c.known != Unknown {
			set(elsewhere, c.known)
		}
		pr := NewProber(newPool(t, seg, true, Spec{Address: "a"}), Check{Initial: c.initial, Fall: 3}, 0, discard)
		if got, _, _ := elsewhere.State(); got != c.want {
			t.Errorf("initial %v of a server that is %v: got %v; want %v", c.initial, c.known, got, c.want)
		}
		if c.known != Unknown {
			continue
		}
		due, _ := pr.turn(shm.Now(), nil)
		pr.settle(due[0], shm.Now(), syscall.ECONNREFUSED)
		if got, _, _ := elsewhere.State(); got != Down {
			t.Errorf("initial %v: after the first probe failed got %v; want down", c.initial, got)
		}
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
