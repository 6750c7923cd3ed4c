package limiter

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

func TestNewConcurrencyRefuses(t *testing.T) {
	seg := newSegment(t)
	for _, c := range []struct {
		rule ConcurrencyRule
		want string
	}{
		{ConcurrencyRule{}, "0 requests at once is not between 1 and 1000000"},
		{ConcurrencyRule{Max: MaxHeld + 1}, "1000001 requests at once is not between 1 and 1000000"},
		{ConcurrencyRule{Max: 1, Keys: -1}, "-1 keys is not between 1 and 262144"},
		{ConcurrencyRule{Max: 1, Keys: MaxHeldKeys + 1}, "262145 keys is not between 1 and 262144"},
		{ConcurrencyRule{Max: 1, Slot: -1}, "slot -1 is not between 0 and 63"},
		{ConcurrencyRule{Max: 1, Slot: shm.MaxSlots}, "slot 64 is not between 0 and 63"},
	} {
		c.rule.Name = "api"
		if _, err := NewConcurrency(seg, c.rule); err == nil || err.Error() != "concurrency limit api: "+c.want {
			t.Errorf("NewConcurrency(%+v): got error %v; want %s", c.rule, err, c.want)
		}
	}
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = NewConcurrency(seg, ConcurrencyRule{Name: fmt.Sprint(i), Max: 1, Keys: MaxHeldKeys, Slot: shm.MaxSlots - 1})
	}
	if err == nil || !strings.Contains(err.Error(), "a restart frees it") {
		t.Errorf("error when the segment is full: got %v; want one that says that a restart frees it", err)
	}
}

func TestAcquire(t *testing.T) {
	seg := newSegment(t)
	workers := make([]*Concurrency, 3)
	for slot := range workers {
		workers[slot] = concurrencyOf(t, seg, ConcurrencyRule{Name: "api", Max: 4, Slot: slot * 31})
	}
	var held []Handle
	for i := range 6 {
		h, ok := workers[i%3].Acquire([]byte("a"))
		if want := i < 4; ok != want {
			t.Errorf("place %d: got %v; want %v", i+1, ok, want)
		}
		if held = append(held, h); !ok && h != (Handle{}) {
			t.Errorf("handle of a refusal: got %+v; want zero", h)
		}
	}
	if _, ok := workers[0].Acquire([]byte("b")); !ok {
		t.Error("another key: got refused; want admitted")
	}
	for i, h := range held {
		workers[0].Release(h)
		if got, want := workers[i%3].InUse([]byte("a")), int64(max(3-i, 0)); got != want {
			t.Errorf("in use after %d releases: got %d; want %d", i+1, got, want)
		}
	}
	if admitted, refused := workers[1].Counts(); admitted != 5 || refused != 2 {
		t.Errorf("Counts: got %d, %d; want 5, 2", admitted, refused)
	}
}

func TestReleasedTwice(t *testing.T) {
	c := concurrencyOf(t, newSegment(t), ConcurrencyRule{Name: "api", Max: 1})
	h, _ := c.Acquire([]byte("a"))
	c.Release(h)
	defer func() {
		if got, want := fmt.Sprint(recover()), "bug: a place of a concurrency limit is released twice"; got != want {
			t.Errorf("second Release: got panic %q; want %q", got, want)
		}
		if got := c.InUse([]byte("a")); got != 0 {
			t.Errorf("in use: got %d; want 0", got)
		}
	}()
	c.Release(h)
}

// A reload makes a new Concurrency on the same segment.
func TestPlacesOutliveConcurrency(t *testing.T) {
	seg := newSegment(t)
	rule := ConcurrencyRule{Name: "api", Max: 2}
	old := concurrencyOf(t, seg, rule)
	h, _ := old.Acquire([]byte("a"))
	rule.Max = 1
	c := concurrencyOf(t, seg, rule)
	if _, ok := c.Acquire([]byte("a")); ok {
		t.Error("second place, limit lowered to 1: got admitted; want refused")
	}
	if _, ok := old.Acquire([]byte("a")); !ok {
		t.Error("second place, limit of 2: got refused; want admitted")
	}
	c.Release(h)
	if got := old.InUse([]byte("a")); got != 1 {
		t.Errorf("in use: got %d; want 1", got)
	}
	rule.Name = "other"
	if got := concurrencyOf(t, seg, rule).InUse([]byte("a")); got != 0 {
		t.Errorf("in use of another limit: got %d; want 0", got)
	}
}

// With more keys than there is room for no key has more places than it may, and as
// many as it may if there is room for it.
func TestTooManyKeysHeld(t *testing.T) {
	const limit = 5
	c := concurrencyOf(t, newSegment(t), ConcurrencyRule{Name: "api", Max: limit, Keys: 1}) // two buckets
	held := make([][]Handle, 40)
	full := 0
	for i := range held {
		for range limit + 2 {
			if h, ok := c.Acquire(fmt.Appendf(nil, "client-%d", i)); ok {
				held[i] = append(held[i], h)
			}
		}
		switch n := len(held[i]); {
		case n > limit:
			t.Errorf("client-%d: got %d places; want at most %d", i, n, limit)
		case n == limit:
			full++
		}
	}
	if most := 2 * laneWords; full < most-2 || full > most {
		t.Errorf("keys with all their places: got %d; want %d to %d", full, most-2, most)
	}
	for _, h := range slices.Concat(held...) {
		c.Release(h)
	}
	for i := range held {
		if got := c.InUse(fmt.Appendf(nil, "client-%d", i)); got != 0 {
			t.Errorf("client-%d: in use at last: got %d; want 0", i, got)
		}
	}
	for i := range c.lanes.own {
		if w := c.lanes.own[i].Load(); i%laneWords == 0 && w<<tenancyBits != 0 || w&heldMask != 0 {
			t.Errorf("word %d when all is given back: got %#x; want no count", i, w)
		}
	}
}

// Nobody is refused because of others as long as there is room.
func TestKeysHeldDoNotMeet(t *testing.T) {
	const keys = 10_000
	c := concurrencyOf(t, newSegment(t), ConcurrencyRule{Name: "api", Max: 2})
	for place := range 3 {
		for i := range keys {
			if _, ok := c.Acquire(fmt.Appendf(nil, "client-%d", i)); ok != (place < 2) {
				t.Fatalf("client-%d, place %d: got %v; want %v", i, place+1, ok, place < 2)
			}
		}
	}
}

// The dead hold nothing, the living keep what they hold.
func TestTenants(t *testing.T) {
	gone := exec.Command(os.Args[0], "-test.run=^$")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	dead, living := gone.Process.Pid, os.Getppid()
	for _, c := range []struct {
		name   string
		tenant int // of slot 1
		slot   int // the pid that the slot bears
		freed  bool
	}{
		{"living", living, living, false},
		{"living, slot not known", living, 0, false},
		{"dead", dead, dead, true},
		{"dead, slot not known", dead, 0, true},
		{"slot is another's", living, os.Getpid(), true},
	} {
		seg := newSegment(t)
		mine := concurrencyOf(t, seg, ConcurrencyRule{Name: "api", Max: 1, Slot: 0})
		theirs := concurrencyOf(t, seg, ConcurrencyRule{Name: "api", Max: 1, Slot: 1})
		theirs.Acquire([]byte("a"))
		seg.Slot(1).Pid.Store(int64(c.slot))
		mine.lanes.tenants[1].Store(theirs.lanes.tenancy<<personBits | uint64(c.tenant)<<randomBits)
		if _, ok := mine.Acquire([]byte("a")); ok != c.freed {
			t.Errorf("%s: got place %v; want %v", c.name, ok, c.freed)
		}
	}
}

// Who moves into a slot finds nothing in its lane, and keeps it when it comes again.
func TestMoveIn(t *testing.T) {
	const other = 77 << randomBits // a process
	for _, tenancy := range []uint64{0, 1, 9, tenancyMask - 1, tenancyMask} {
		for _, old := range []uint64{tenancy<<personBits | other, tenancy << personBits} {
			seg := newSegment(t)
			rule := ConcurrencyRule{Name: "api", Max: 1000, Slot: 2}
			c := concurrencyOf(t, seg, rule)
			for i := range c.lanes.own { // words of all tenancies up to now
				at := heldBits
				if i%laneWords == 0 {
					at = personBits
				}
				c.lanes.own[i].Store(rand.Uint64()&^(tenancyMask<<at) | rand.Uint64N(tenancy+1)<<at)
			}
			c.lanes.tenants[2].Store(old)
			c = concurrencyOf(t, seg, rule)
			if want := (tenancy + 1) & tenancyMask; c.lanes.tenancy != want {
				t.Fatalf("tenancy after %d: got %d; want %d", tenancy, c.lanes.tenancy, want)
			}
			for i := range 5000 {
				if got := c.InUse(fmt.Appendf(nil, "client-%d", i)); got != 0 {
					t.Fatalf("tenancy %d: in use: got %d; want 0", c.lanes.tenancy, got)
				}
			}
			c.Acquire([]byte("a"))
			if got := concurrencyOf(t, seg, rule).InUse([]byte("a")); got != 1 {
				t.Errorf("in use when the process opens the limit again: got %d; want 1", got)
			}
		}
	}
}

func TestAcquireAllocatesNothing(t *testing.T) {
	c := concurrencyOf(t, newSegment(t), ConcurrencyRule{Name: "api", Max: 2, Keys: 1})
	keys := make([][]byte, 20)
	for i := range keys {
		keys[i] = []byte(strings.Repeat("k", i*30))
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		h, _ := c.Acquire(keys[i%len(keys)])
		c.Acquire(keys[0])
		c.Release(h)
		i++
	}); n != 0 {
		t.Errorf("allocations per Acquire: got %v; want 0", n)
	}
}

// Of two who want the last place at the same time one gets it.
func TestLastPlace(t *testing.T) {
	rounds := uint64(50_000)
	if testing.Short() {
		rounds = 10_000
	}
	seg := newSegment(t)
	var arrived, winners, wrong atomic.Uint64
	meet := func(n uint64) {
		arrived.Add(1)
		for spins := 0; arrived.Load() < 2*n; spins++ {
			if spins > 1000 {
				runtime.Gosched()
			}
		}
	}
	var wg sync.WaitGroup
	for slot := range 2 {
		c := concurrencyOf(t, seg, ConcurrencyRule{Name: "api", Max: 1, Slot: slot})
		wg.Go(func() {
			for round := range rounds {
				meet(2*round + 1)
				h, ok := c.Acquire([]byte("a"))
				if ok {
					winners.Add(1)
				}
				if meet(2*round + 2); winners.Load() != round+1 {
					wrong.Add(1)
				}
				c.Release(h)
			}
		})
	}
	wg.Wait()
	if got := wrong.Load(); got != 0 || winners.Load() != rounds {
		t.Errorf("winners of %d rounds: got %d; want one in each", rounds, winners.Load())
	}
}

func TestHottestInUse(t *testing.T) {
	c := concurrencyOf(t, newSegment(t), ConcurrencyRule{Name: "api", Max: 10})
	long := strings.Repeat("x", 100)
	for key, n := range map[string]int{"a": 3, "b": 12, long: 5, "gone": 1} {
		for range n {
			if h, ok := c.Acquire([]byte(key)); ok && key == "gone" {
				c.Release(h)
			}
		}
	}
	for i := range 5000 { // short ones
		h, _ := c.Acquire(fmt.Appendf(nil, "client-%d", i))
		c.Release(h)
	}
	want := []HotKey{{Key: "b", Count: 10, Refused: 2}, {Key: long[:64], Cut: true, Count: 5}, {Key: "a", Count: 3}}
	deadline := time.Now().Add(5 * time.Second)
	for { // a second may end in between, and another
		got := c.Hottest(3)
		if slices.Equal(got, want) {
			break
		}
		got[0].Refused = want[0].Refused
		if !slices.Equal(got, want) || time.Now().After(deadline) {
			t.Fatalf("Hottest(3): got %+v; want %+v", got, want)
		}
		c.Acquire([]byte("b"))
		c.Acquire([]byte("b"))
	}
}
