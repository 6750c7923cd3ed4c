package lb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestPolicyNames(t *testing.T) {
	for p := range policies {
		if got, ok := ParsePolicy(p.String()); !ok || got != p {
			t.Errorf("%v: parsed as %v, %v; want itself", p, got, ok)
		}
		if got, want := p.Keyed(), p == Maglev || p == Ketama; got != want {
			t.Errorf("%v: keyed is %v; want %v", p, got, want)
		}
	}
	for _, name := range []string{"", "unknown", "Random", "roundrobin", "random "} {
		if got, ok := ParsePolicy(name); ok {
			t.Errorf("%q: parsed as %v; want none", name, got)
		}
	}
}

// weighted returns a pool of servers with those weights, all up.
func weighted(t testing.TB, policy Policy, weights ...int) *Pool {
	t.Helper()
	specs := many(len(weights))
	for i, w := range weights {
		specs[i].Weight = w
	}
	return settledPool(t, newSegment(t), Settings{Name: "one", Policy: policy, Checked: true}, specs...)
}

// counts returns how often each server of p is picked of n times, with requests
// in flight all the time that end in the order in which they began.
func counts(p *Pool, n, inFlight int) []int {
	got := make([]int, len(p.servers))
	flying := make([]*Server, inFlight)
	var key [8]byte
	for i := range n {
		s := p.Pick(nil, strconv.AppendUint(key[:0], rand.Uint64()>>34, 36))
		got[s.place]++
		if inFlight == 0 {
			s.Done(Succeeded, 1000)
			continue
		}
		if last := flying[i%inFlight]; last != nil {
			last.Done(Succeeded, 1000)
		}
		flying[i%inFlight] = s
	}
	for _, s := range flying {
		if s != nil {
			s.Done(Succeeded, 1000)
		}
	}
	return got
}

// Of a million picks each server has its share, within half a percent of all.
func TestSharesAreThoseOfTheWeights(t *testing.T) {
	const picks = 1_000_000
	for policy := range policies {
		for _, c := range []struct {
			weights  []int
			inFlight int
		}{
			{[]int{1, 1}, 0},
			{[]int{5, 3, 2}, 0},
			{[]int{100, 1, 50, 49}, 0},
			{[]int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0},
			{[]int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 100},
			{[]int{5, 3, 2}, 1000},
		} {
			p := weighted(t, policy, c.weights...)
			total := 0
			for _, w := range c.weights {
				total += w
			}
			for i, got := range counts(p, picks, c.inFlight) {
				share, want := float64(got)/picks, float64(c.weights[i])/float64(total)
				if math.Abs(share-want) > 0.005 {
					t.Errorf("%v of %v, %d in flight: server %d has %.2f %%; want %.2f %% within 0.5", policy, c.weights, c.inFlight, i, share*100, want*100)
				}
			}
		}
	}
}

// The smooth round robin never leaves a server further from its share than the
// others can be owed, and one with weight w of W has no more than W/(W-w) requests
// in a row, rounded up.
func TestRoundRobinIsSmooth(t *testing.T) {
	for _, policy := range []Policy{RoundRobin, LeastRequest} {
		for _, weights := range [][]int{{1, 1}, {1, 1, 1, 1, 1, 1, 1}, {5, 1, 1}, {3, 2, 1}, {100, 1, 50, 49}, {7, 7, 1, 30, 2, 2, 2, 9}} {
			t.Run(fmt.Sprint(policy, weights), func(t *testing.T) { smooth(t, weighted(t, policy, weights...), weights) })
		}
	}
}

func smooth(t *testing.T, p *Pool, weights []int) {
	total, equal := 0, true
	for _, w := range weights {
		total += w
		equal = equal && w == weights[0]
	}
	got, longest := make([]int, len(weights)), make([]int, len(weights))
	last, run, off := -1, 0, 0.0
	for n := 1; n <= 100_000; n++ {
		s := p.Pick(nil, nil)
		i := s.place
		s.Done(Succeeded, 0)
		if i != last {
			last, run = i, 0
		}
		run++
		got[i]++
		longest[i] = max(longest[i], run)
		for j, w := range weights {
			off = max(off, math.Abs(float64(got[j])-float64(n*w)/float64(total)))
		}
	}
	for i, w := range weights {
		most := (total + total - w - 1) / (total - w)
		if equal {
			most = 1
		}
		if longest[i] > most {
			t.Errorf("server of weight %d was picked %d times in a row; want at most %d", w, longest[i], most)
		}
	}
	// It starts anywhere in its turn, so twice as far as from its beginning.
	if limit := 2 * float64(len(weights)-1) / 2; off > max(limit, 1) {
		t.Errorf("a server was %.2f requests off its share; want at most %.2f", off, limit)
	}
}

func TestPickOfEachPolicyAllocatesNothing(t *testing.T) {
	for policy := range policies {
		p := weighted(t, policy, 3, 1, 1, 1)
		key, tried := []byte("a key"), []*Server{p.Servers()[1]}
		got := testing.AllocsPerRun(1000, func() {
			p.Pick(nil, key).Done(Succeeded, 1000)
			p.Pick(tried, key).Done(Errored, 1000)
			p.Pick(nil, nil).Done(Abandoned, 0)
			p.Usable(tried)
		})
		if got != 0 {
			t.Errorf("%v: %v allocations per pick; want 0", policy, got)
		}
	}
}

// A pick that passes servers over goes by the policy among the others.
func TestRetriesSpreadByWeight(t *testing.T) {
	for policy := range policies {
		p := weighted(t, policy, 1, 2, 1, 100)
		tried := []*Server{p.servers[3]}
		got := make([]int, 4)
		const picks = 100_000
		for i := range picks {
			s := p.Pick(tried, strconv.AppendInt(nil, int64(i), 10))
			got[s.place]++
			s.Done(Succeeded, 1000)
		}
		for i, want := range []float64{0.25, 0.5, 0.25, 0} {
			// The ring that 104 weights share has few points for one of them.
			if share := float64(got[i]) / picks; math.Abs(share-want) > 0.04 {
				t.Errorf("%v: server %d has %.1f %% of the retries; want %.1f %%", policy, i, share*100, want*100)
			}
		}
	}
}
