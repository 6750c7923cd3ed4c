package lb

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
)

func TestReplace(t *testing.T) {
	for _, policy := range []Policy{RoundRobin, LeastRequest, Maglev, Ketama} {
		t.Run(policy.String(), func(t *testing.T) { replace(t, policy) })
	}
}

func replace(t *testing.T, policy Policy) {
	p := settledPool(t, newSegment(t), Settings{Name: "one", Policy: policy}, Spec{Address: "a"}, Spec{Address: "b"}, Spec{Address: "c"})
	a, b, c := p.servers[0], p.servers[1], p.servers[2]
	before := p.Servers()
	for range 30 {
		p.Pick(nil, nil)
	}
	loads := map[*Server]int64{a: p.loads[0], b: p.loads[1], c: p.loads[2]}
	specs := []Spec{{Address: "d", Weight: 1 << 20}, {Address: "c", Weight: 3}, {Address: "a", Backup: true}, {Address: "c", Weight: 9}}
	gone, err := p.Replace(specs)
	if err != nil {
		t.Fatal(err)
	}
	if len(gone) != 1 || gone[0] != b {
		t.Errorf("gone: got %v; want b only", gone)
	}
	if len(before) != 3 || before[1] != b {
		t.Errorf("the list given out before has changed: %v", before)
	}
	now := p.Servers()
	if len(now) != 3 || now[0].Address != "d" || now[1] != c || now[2] != a {
		t.Fatalf("servers: got %v; want d, and c and a as they were", now)
	}
	for i, want := range []Info{
		{Address: "d", Weight: maxWeight, Configured: maxWeight, State: Up},
		{Address: "c", Weight: 3, Configured: 3, State: Up, InFlight: int(loads[c])},
		{Address: "a", Weight: 1, Configured: 1, Backup: true, State: Up, InFlight: int(loads[a])},
	} {
		if got := now[i].Info(); got != want {
			t.Errorf("server %d: got %+v; want %+v", i, got, want)
		}
	}
	if specs[0].Weight != 1<<20 {
		t.Error("the caller's list has changed")
	}
	if got := picked(p); got == "-" || strings.ContainsAny(got, "ab") {
		t.Errorf("picked %s; want c and d only", got)
	}
	for _, s := range []*Server{a, b, c} {
		for range loads[s] {
			s.Done(Succeeded, 0) // b has left
		}
		if got := s.Info().InFlight; got != 0 {
			t.Errorf("server %s: %d in flight after all have ended; want none", s.Address, got)
		}
	}
	if p.load != 0 {
		t.Errorf("the pool has %d in flight; want none", p.load)
	}
	if gone, err := p.Replace(nil); err != nil || len(gone) != 3 || p.Pick(nil, []byte("key")) != nil || p.Usable(nil) {
		t.Errorf("no servers: gone %v, %v; want 3 gone and no pick", gone, err)
	}
}

func TestReplaceThatFailsChangesNothing(t *testing.T) {
	seg := newSegment(t)
	p := settledPool(t, seg, Settings{Name: "one"}, Spec{Address: "a"}, Spec{Address: "b"})
	for i := 2; i < shm.MaxServers; i++ {
		if _, err := seg.Server("many", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	gone, err := p.Replace([]Spec{{Address: "a", Weight: 9}, {Address: "new"}})
	if err == nil || !strings.Contains(err.Error(), "upstream one: server new: ") || gone != nil {
		t.Errorf("got %v, gone %v; want an error that names the server, none gone", err, gone)
	}
	if got := picked(p); got != "ab" || p.servers[0].Info().Weight != 1 {
		t.Errorf("picked %s, weight of a is %d; want ab, 1", got, p.servers[0].Info().Weight)
	}
}
