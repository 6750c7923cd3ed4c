package lb

import (
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
)

// bounded returns the pool of the worker in slot, of two servers with at most
// that many requests in flight.
func bounded(t testing.TB, seg *shm.Segment, slot, connections int, policy Policy) *Pool {
	t.Helper()
	s := Settings{Name: "one", Policy: policy, Connections: connections, Slot: slot}
	return settledPool(t, seg, s, Spec{Address: "a"}, Spec{Address: "b", Weight: 50})
}

// full reports whether all servers that a pick could take have no room.
func full(p *Pool, tried ...*Server) bool { return p.Usable(tried) && p.remaining(tried).members == 0 }

func TestConnectionsAreBoundedOverAllWorkers(t *testing.T) {
	for policy := range policies {
		seg := newSegment(t)
		a, b := bounded(t, seg, 0, 3, policy), bounded(t, seg, 63, 3, policy)
		key := []byte("a key")
		var flying []*Server
		for i := range 6 {
			p := []*Pool{a, b}[i%2]
			if full(p) {
				t.Fatalf("%v: full with %d of 6 in flight", policy, i)
			}
			s := p.Pick(nil, key)
			if s == nil {
				t.Fatalf("%v: picked none with %d of 6 in flight", policy, i)
			}
			flying = append(flying, s)
		}
		for _, p := range []*Pool{a, b} {
			if s := p.Pick(nil, key); s != nil || !full(p) || !p.Usable(nil) {
				t.Errorf("%v: picked %v, full %v, usable %v with 6 in flight; want none, full, usable", policy, s, full(p), p.Usable(nil))
			}
			for _, s := range p.servers {
				if got := s.Info().InFlight; got != 3 {
					t.Errorf("%v: %s has %d in flight; want 3", policy, s.Address, got)
				}
			}
		}
		flying[0].Done(Succeeded, 0)
		s := b.Pick(nil, key)
		if s == nil || s.Address != flying[0].Address {
			t.Errorf("%v: after one of %s ended picked %v; want that", policy, flying[0].Address, s)
		}
	}
}

// A full server is waited for: nobody who is less fit takes its place, and one
// that was tried is not waited for.
func TestFullServersAreWaitedFor(t *testing.T) {
	s := Settings{Name: "one", Connections: 1, Checked: true}
	p := settledPool(t, newSegment(t), s, Spec{Address: "a"}, Spec{Address: "b"}, Spec{Address: "c", Backup: true})
	set(p.servers[1], Unknown)
	a := p.Pick(nil, nil)
	if got := p.Pick(nil, nil); got != nil || !full(p) {
		t.Errorf("one primary full, the other new: picked %v, full %v; want none, full", got, full(p))
	}
	if full(p, a) {
		t.Error("full without the one that is; want not")
	}
	set(a, Down)
	set(p.servers[1], Down)
	if full(p) {
		t.Error("full while the backup is idle; want not")
	}
	if got := p.Pick(nil, nil); got == nil || got.Address != "c" {
		t.Errorf("primaries down: picked %v; want the backup", got)
	}
	set(p.servers[2], Down)
	if full(p) || p.Usable(nil) {
		t.Errorf("all down: full %v, usable %v; want neither", full(p), p.Usable(nil))
	}
}

func TestDoneWithoutPickIsABug(t *testing.T) {
	p := weighted(t, RoundRobin, 1)
	defer func() {
		if recover() == nil {
			t.Error("Done without a Pick: no panic")
		}
	}()
	p.servers[0].Done(Succeeded, 0)
}

// A reload in the same process keeps the counts: the exchanges go on.
func TestReloadKeepsCounts(t *testing.T) {
	seg := newSegment(t)
	p := bounded(t, seg, 5, 1, RoundRobin)
	s := p.Pick(nil, nil)
	if p.Pick(nil, nil) == nil {
		t.Fatal("no room for a second request to the other server")
	}
	again := bounded(t, seg, 5, 1, RoundRobin)
	if got := again.Pick(nil, nil); got != nil {
		t.Errorf("the pool of the next configuration picked %s; want both full", got.Address)
	}
	s.Done(Succeeded, 0)
	if got := again.Pick(nil, nil); got == nil || got.Address != s.Address {
		t.Errorf("after the request of the old pool ended picked %v; want %s", got, s.Address)
	}
}

func TestSlotOutOfRange(t *testing.T) {
	seg := newSegment(t)
	for _, slot := range []int{-1, shm.MaxSlots} {
		if _, err := NewPool(seg, Settings{Name: "one", Slot: slot}, nil); err == nil {
			t.Errorf("slot %d: no error", slot)
		}
	}
}
