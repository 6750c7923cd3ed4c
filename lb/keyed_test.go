package lb

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"
)

var keyed = []Policy{Maglev, Ketama}

// owners returns the addresses of the servers that n keys have.
func owners(p *Pool, n int) []string {
	got := make([]string, n)
	for i := range got {
		s := p.Pick(nil, strconv.AppendInt(nil, int64(i), 10))
		got[i] = s.Address
		s.Done(Succeeded, 0)
	}
	return got
}

// moved is how many keys have another owner.
func moved(before, after []string) (n int) {
	for i := range before {
		if before[i] != after[i] {
			n++
		}
	}
	return n
}

// When one of n servers goes, down or out of the list, at most 1/n of the keys
// and one percent move; they come back when it does.
func TestFewKeysMove(t *testing.T) {
	const keys = 100_000
	for _, policy := range keyed {
		for _, n := range []int{2, 3, 10, 17, 100, 1000} {
			t.Run(fmt.Sprint(policy, n), func(t *testing.T) {
				specs := many(n)
				p := settledPool(t, newSegment(t), Settings{Name: "one", Policy: policy, Checked: true}, specs...)
				before := owners(p, keys)
				most := keys/n + keys/100
				lost := p.servers[n/2]
				set(lost, Down)
				down := owners(p, keys)
				for i, owner := range before {
					if owner != lost.Address && down[i] != owner {
						t.Fatalf("key %d moved from %s, which is up, to %s", i, owner, down[i])
					}
				}
				if got := moved(before, down); got > most || got == 0 {
					t.Errorf("down: %d of %d keys moved; want 1 to %d", got, keys, most)
				}
				set(lost, Up)
				if got := moved(before, owners(p, keys)); got != 0 {
					t.Errorf("up again: %d keys are elsewhere than before; want none", got)
				}
				if _, err := p.Replace(slices.Delete(slices.Clone(specs), n/2, n/2+1)); err != nil {
					t.Fatal(err)
				}
				if got := moved(before, owners(p, keys)); got > most || got == 0 {
					t.Errorf("gone: %d of %d keys moved; want 1 to %d", got, keys, most)
				}
				if _, err := p.Replace(specs); err != nil {
					t.Fatal(err)
				}
				if got := moved(before, owners(p, keys)); got != 0 {
					t.Errorf("back: %d keys are elsewhere than before; want none", got)
				}
			})
		}
	}
}

// Workers agree on the server of a key, whatever the order that they learnt the
// servers in and how they came to them.
func TestWorkersAgreeOnKeys(t *testing.T) {
	for _, policy := range keyed {
		seg := newSegment(t)
		s := Settings{Name: "one", Policy: policy}
		specs := many(12)
		a := settledPool(t, seg, s, specs[:3]...)
		if _, err := a.Replace(specs); err != nil {
			t.Fatal(err)
		}
		turned := slices.Clone(specs)
		slices.Reverse(turned)
		s.Slot = 1
		b := settledPool(t, seg, s, turned...)
		if got := moved(owners(a, 10_000), owners(b, 10_000)); got != 0 {
			t.Errorf("%v: two workers differ in %d of 10000 keys; want none", policy, got)
		}
		a.servers[5].SetWeight(7)
		if got := moved(owners(a, 10_000), owners(b, 10_000)); got != 0 {
			t.Errorf("%v: after a new weight two workers differ in %d of 10000 keys; want none", policy, got)
		}
	}
}

// With hardly any server left of many, keys still stay where they are.
func TestKeysStayWithTheLast(t *testing.T) {
	for _, policy := range keyed {
		p := settledPool(t, newSegment(t), Settings{Name: "one", Policy: policy, Checked: true}, many(1000)...)
		for _, s := range p.servers[3:] {
			set(s, Down)
		}
		before := owners(p, 3000)
		for _, s := range p.servers[:3] {
			n := 0
			for _, owner := range before {
				if owner == s.Address {
					n++
				}
			}
			if n < 700 || n > 1300 {
				t.Errorf("%v: the last three of 1000 servers: one has %d of 3000 keys; want about 1000", policy, n)
			}
		}
		if got := moved(before, owners(p, 3000)); got != 0 {
			t.Errorf("%v: %d keys moved without a change; want none", policy, got)
		}
	}
}

// One hot key does not overload its server: what is more than its bound goes on
// round the ring.
func TestKetamaBoundsLoad(t *testing.T) {
	const n, inFlight = 10, 1000
	p := settledPool(t, newSegment(t), Settings{Name: "one", Policy: Ketama}, many(n)...)
	for range inFlight {
		p.Pick(nil, []byte("hot"))
	}
	for i, load := range p.loads {
		if most := int64(inFlight*5/(4*n) + 1); load > most {
			t.Errorf("server %d has %d of %d requests in flight; want at most %d", i, load, inFlight, most)
		}
	}
	p = settledPool(t, newSegment(t), Settings{Name: "one", Policy: Maglev}, many(n)...)
	for range inFlight {
		p.Pick(nil, []byte("hot"))
	}
	if !slices.Contains(p.loads, inFlight) {
		t.Errorf("maglev: loads are %v; want all on one server", p.loads)
	}
}

// The density of the ring is left alone while it does, and found again if a
// segment holds nonsense.
func TestRingDensity(t *testing.T) {
	p := settledPool(t, newSegment(t), Settings{Name: "one", Policy: Ketama}, many(100)...)
	points := func() int { return len(p.ketama.points) }
	if got := points(); got < ringPoints-100 || got > ringPoints {
		t.Errorf("100 servers have %d points; want about %d", got, ringPoints)
	}
	density := p.density.Load()
	for _, n := range []int{30, 300} {
		if _, err := p.Replace(many(n)); err != nil {
			t.Fatal(err)
		}
		if got := p.density.Load(); got != density {
			t.Errorf("%d servers: the density became %d; want %d still", n, got, density)
		}
	}
	for _, c := range []struct {
		n       int
		weight  int
		density uint64
	}{{1, 1, density}, {2000, 1, density}, {3, maxWeight, density}, {50, 1, 1<<64 - 1}, {50, 1, 0}} {
		p.density.Store(c.density)
		specs := many(c.n)
		for i := range specs {
			specs[i].Weight = c.weight
		}
		if _, err := p.Replace(specs); err != nil {
			t.Fatal(err)
		}
		if got := points(); got < ringLeast || got > ringMost {
			t.Errorf("%d servers of weight %d, density was %d: %d points; want %d to %d", c.n, c.weight, c.density, got, ringLeast, ringMost)
		}
	}
}

// Tables are made on the loop when servers come and go.
func TestTablesAreMadeQuickly(t *testing.T) {
	for _, policy := range keyed {
		p := settledPool(t, newSegment(t), Settings{Name: "one", Policy: policy}, many(1000)...)
		best := time.Hour
		for range 5 {
			began := time.Now()
			p.hash()
			best = min(best, time.Since(began))
		}
		t.Logf("%v: a table of 1000 servers in %v", policy, best)
		if best > 250*time.Millisecond {
			t.Errorf("%v: a table of 1000 servers takes %v; want far less", policy, best)
		}
	}
}
