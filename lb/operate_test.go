package lb

import (
	"math"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// What the operator says holds for all workers, over reloads and restarts of
// workers, until it is taken back.
func TestOperatorsWordIsKept(t *testing.T) {
	seg := newSegment(t)
	settings := func(slot int) Settings { return Settings{Name: "one", Slot: slot} }
	specs := []Spec{{Address: "a", Weight: 3}, {Address: "b", Weight: 1}}
	a := settledPool(t, seg, settings(0), specs...)
	b := settledPool(t, seg, settings(1), specs...)
	for _, c := range []struct {
		name  string
		order func(*Server)
		admin string
		want  int // percent of picks that server a has
	}{
		{"drain", (*Server).Drain, "draining", 0},
		{"disable", (*Server).Disable, "disabled", 0},
		{"weight, out of use", func(s *Server) { s.SetWeight(9) }, "disabled", 0},
		{"enable", (*Server).Enable, "", 90},
		{"least weight", func(s *Server) { s.SetWeight(1) }, "", 50},
		{"more than the most", func(s *Server) { s.SetWeight(1 << 30) }, "", 100},
		{"less than none", func(s *Server) { s.SetWeight(-5) }, "", 75},
		{"drain again", (*Server).Drain, "draining", 0},
		{"enable again", (*Server).Enable, "", 75},
	} {
		c.order(a.servers[0])
		reloaded := settledPool(t, seg, settings(0), specs...)
		for i, p := range []*Pool{a, b, reloaded} {
			if got := share(p, p.servers[0]); math.Abs(float64(got-c.want)) > 1 {
				t.Errorf("%s: pool %d: server a has %d %%; want %d %%", c.name, i, got, c.want)
			}
			if got := p.servers[0].Info().Admin; got != c.admin {
				t.Errorf("%s: pool %d: admin is %q; want %q", c.name, i, got, c.admin)
			}
			if got, want := p.servers[0].disabled(), c.admin == "disabled"; got != want {
				t.Errorf("%s: pool %d: disabled is %v; want %v", c.name, i, got, want)
			}
		}
	}
}

func TestInfo(t *testing.T) {
	seg := newSegment(t)
	s := Settings{Name: "one", Checked: true}
	a := settledPool(t, seg, s, Spec{Address: "a", Weight: 3}, Spec{Address: "b", Backup: true})
	s.Slot = 63
	b := settledPool(t, seg, s, Spec{Address: "a", Weight: 3})
	a.Pick(nil, nil)
	a.Pick(nil, nil)
	b.Pick(nil, nil)
	b.servers[0].SetWeight(7)
	eject(a.servers[0], time.Minute)
	got := a.servers[0].Info()
	if ago := time.Since(got.Since); ago < 0 || ago > time.Minute {
		t.Errorf("up for %v; want a moment", ago)
	}
	if got.Ejected < 59*time.Second || got.Ejected > time.Minute+time.Millisecond {
		t.Errorf("ejected for %v more; want a minute", got.Ejected)
	}
	got.Since, got.Ejected = time.Time{}, 0
	if want := (Info{Address: "a", Weight: 7, Configured: 3, State: Up, InFlight: 3}); got != want {
		t.Errorf("got %+v; want %+v", got, want)
	}
	a.servers[1].Disable()
	a.servers[1].cell.Health.Store(uint64(pack(Down, 0, 111, shm.Now())))
	got = a.servers[1].Info()
	got.Since = time.Time{}
	want := Info{Address: "b", Weight: 1, Configured: 1, Backup: true, State: Down, Reason: "connection refused", Admin: "disabled"}
	if got != want {
		t.Errorf("got %+v; want %+v", got, want)
	}
}

func TestAdminWord(t *testing.T) {
	now := int64(1000 * time.Hour)
	a := admin(0).with(disabled, now).weighing(123)
	if a.state() != disabled || a.weight() != 123 || a.changed() != 0 {
		t.Errorf("disabled: state %d, weight %d, changed %d; want %d, 123, 0", a.state(), a.weight(), a.changed(), disabled)
	}
	a = a.with(enabled, now)
	if a.state() != enabled || a.weight() != 123 || a.changed() != now {
		t.Errorf("enabled: state %d, weight %d, changed %d; want %d, 123, %d", a.state(), a.weight(), a.changed(), enabled, now)
	}
	if b := a.with(enabled, 2*now); b != a {
		t.Errorf("enabled again: %#x; want %#x, as it was", b, a)
	}
}
