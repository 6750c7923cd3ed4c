package lb

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// letters returns the addresses of n picks; servers in these tests have one letter.
func letters(p *Pool, n int) string {
	var b strings.Builder
	for range n {
		if s := p.Pick(nil, nil); s != nil {
			b.WriteString(s.Address)
		} else {
			b.WriteByte('-')
		}
	}
	return b.String()
}

func TestPickIsSmoothAndWeighted(t *testing.T) {
	seg := newSegment(t)
	for _, c := range []struct {
		servers []Spec
		turn    string
	}{
		{[]Spec{{Address: "a", Weight: 1}}, "a"},
		{[]Spec{{Address: "a", Weight: 1}, {Address: "b", Weight: 1}, {Address: "c", Weight: 1}}, "abc"},
		{[]Spec{{Address: "a", Weight: 0}, {Address: "b", Weight: -7}}, "ab"},
		{[]Spec{{Address: "a", Weight: 5}, {Address: "b", Weight: 1}, {Address: "c", Weight: 1}}, "aabacaa"},
		{[]Spec{{Address: "a", Weight: 2}, {Address: "b", Weight: 1}}, "aba"},
	} {
		p := newPool(t, seg, false, c.servers...)
		// It starts anywhere in its turn.
		got := letters(p, 4*len(c.turn))
		if !strings.Contains(got, strings.Repeat(c.turn, 3)) {
			t.Errorf("%v: got %s; want %s over and over", c.servers, got, c.turn)
		}
	}
}

func TestPickPrefersTheFittest(t *testing.T) {
	const avoid = 1 << 7
	for _, c := range []struct {
		name    string
		states  [3]State // of a, b, c; with avoid: a connect just failed
		tried   string
		checked bool
		want    string // the servers picked, in order of address
	}{
		{"all up", [3]State{Up, Up, Up}, "", true, "abc"},
		{"one down", [3]State{Up, Down, Up}, "", true, "ac"},
		{"one up", [3]State{Down, Up, Down}, "", true, "b"},
		{"all down", [3]State{Down, Down, Down}, "", true, "-"},
		{"all new", [3]State{Unknown, Unknown, Unknown}, "", true, "abc"},
		{"up before new", [3]State{Unknown, Up, Unknown}, "", true, "b"},
		{"new before down", [3]State{Unknown, Down, Down}, "", true, "a"},
		{"avoided", [3]State{Up | avoid, Up, Up}, "", true, "bc"},
		{"all avoided", [3]State{Up | avoid, Up | avoid, Up | avoid}, "", true, "abc"},
		{"avoided before new", [3]State{Up | avoid, Unknown, Unknown}, "", true, "a"},
		{"new and avoided last", [3]State{Unknown | avoid, Unknown, Down}, "", true, "b"},
		{"new and avoided before none", [3]State{Unknown | avoid, Down, Down}, "", true, "a"},
		{"avoided and down", [3]State{Up | avoid, Down, Down}, "", true, "a"},
		{"tried", [3]State{Up, Up, Up}, "a", true, "bc"},
		{"tried, then avoided", [3]State{Up, Up | avoid, Down}, "a", true, "b"},
		{"tried, then new", [3]State{Up, Unknown, Down}, "a", true, "b"},
		{"tried, then down", [3]State{Up, Down, Down}, "a", true, "-"},
		{"all tried", [3]State{Up, Up, Up}, "abc", true, "-"},
		{"no check", [3]State{Unknown, Down, Up}, "", false, "abc"},
		{"no check, avoided", [3]State{Unknown, Down | avoid, Up}, "", false, "ac"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPool(t, newSegment(t), c.checked, Spec{Address: "a"}, Spec{Address: "b"}, Spec{Address: "c"})
			var tried []*Server
			for i, s := range p.Servers() {
				set(s, c.states[i]&^avoid)
				if c.states[i]&avoid != 0 {
					s.Failed()
				}
				if strings.Contains(c.tried, s.Address) {
					tried = append(tried, s)
				}
			}
			var got []string
			for range 6 {
				address := "-"
				if s := p.Pick(tried, nil); s != nil {
					address = s.Address
				}
				if !slices.Contains(got, address) {
					got = append(got, address)
				}
			}
			slices.Sort(got)
			if got := strings.Join(got, ""); got != c.want {
				t.Errorf("picked %q; want %q", got, c.want)
			}
		})
	}
}

func TestPickOfNone(t *testing.T) {
	p := newPool(t, newSegment(t), true)
	if s := p.Pick(nil, nil); s != nil {
		t.Errorf("picked %v of no servers; want nil", s.Address)
	}
	if got := RetryAfter(p); got != time.Second {
		t.Errorf("retry after %v; want 1s", got)
	}
}

// A server that goes and comes back neither starves nor floods the others.
func TestPickStaysFairThroughChange(t *testing.T) {
	p := newPool(t, newSegment(t), true, Spec{Address: "a", Weight: 3}, Spec{Address: "b", Weight: 2}, Spec{Address: "c", Weight: 1})
	for _, s := range p.Servers() {
		set(s, Up)
	}
	for round := range 100 {
		set(p.Servers()[round%3], Down)
		letters(p, round%7)
		set(p.Servers()[round%3], Up)
	}
	got := letters(p, 600)
	for address, want := range map[string]int{"a": 300, "b": 200, "c": 100} {
		if n := strings.Count(got, address); n < want-6 || n > want+6 {
			t.Errorf("picked %s %d times of 600; want about %d", address, n, want)
		}
	}
}

func TestFailedServerIsAvoidedForASecond(t *testing.T) {
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		p := newPool(t, seg, false, Spec{Address: "a"}, Spec{Address: "b"})
		other := newPool(t, seg, false, Spec{Address: "a"}, Spec{Address: "b"}) // another worker's
		p.Servers()[0].Failed()
		time.Sleep(time.Second - time.Millisecond)
		for _, p := range []*Pool{p, other} {
			if got := letters(p, 10); strings.Contains(got, "a") {
				t.Errorf("within the second picked %s; want only b", got)
			}
		}
		time.Sleep(time.Millisecond)
		for _, p := range []*Pool{p, other} {
			if got := letters(p, 10); strings.Count(got, "a") != 5 {
				t.Errorf("after the second picked %s; want a and b in turn", got)
			}
		}
		if got := p.Servers()[0].cell.Avoid.Load(); got != 0 {
			t.Errorf("avoid word is %d after it expired; want 0", got)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	p := newPool(t, newSegment(t), true, Spec{Address: "a"}, Spec{Address: "b"})
	a, b := p.Servers()[0], p.Servers()[1]
	const now = int64(time.Hour)
	for _, c := range []struct {
		a, b  time.Duration // until the probe is due
		state State         // of b; a is down
		want  time.Duration
	}{
		{0, 0, Down, time.Second},
		{-time.Minute, time.Minute, Down, time.Second},
		{800 * time.Millisecond, 900 * time.Millisecond, Down, time.Second},
		{time.Minute, 2500 * time.Millisecond, Down, 3 * time.Second},
		{time.Minute, 2 * time.Minute, Down, 61 * time.Second},
		{time.Minute, time.Minute, Up, time.Second},
		{time.Minute, time.Minute, Unknown, time.Second},
	} {
		set(a, Down)
		set(b, c.state)
		a.cell.Due.Store(uint64(now + int64(c.a)))
		b.cell.Due.Store(uint64(now + int64(c.b)))
		if got := p.retryAfter(now); got != c.want {
			t.Errorf("due in %v and %v, second %v: got %v; want %v", c.a, c.b, c.state, got, c.want)
		}
	}
}

func TestState(t *testing.T) {
	seg := newSegment(t)
	p := newPool(t, seg, true, Spec{Address: "a"})
	s := p.Servers()[0]
	if state, since, reason := s.State(); state != Unknown || !since.IsZero() || reason != "" || s.Up() {
		t.Errorf("new: got %v since %v %q, up %v; want unknown", state, since, reason, s.Up())
	}
	s.cell.Health.Store(uint64(pack(Down, 0, 111, shm.Now()-int64(time.Minute))))
	state, since, reason := s.State()
	if state != Down || reason != "connection refused" || s.Up() {
		t.Errorf("refused: got %v %q, up %v; want down, connection refused", state, reason, s.Up())
	}
	if ago := time.Since(since); ago < 59*time.Second || ago > 61*time.Second {
		t.Errorf("down since %v ago; want 1m", ago)
	}
	if s := newPool(t, seg, false, Spec{Address: "a"}).Servers()[0]; !s.Up() {
		t.Error("without a check: not up; want up")
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	p := newPool(t, newSegment(t), true, Spec{Address: "a", Weight: 3}, Spec{Address: "b", Weight: 1}, Spec{Address: "c", Weight: 1}, Spec{Address: "d", Weight: 1})
	for _, s := range p.Servers() {
		set(s, Up)
	}
	set(p.Servers()[3], Down)
	tried := []*Server{p.Servers()[1]}
	got := testing.AllocsPerRun(1000, func() {
		p.Servers()[0].Failed()
		if p.Pick(nil, nil) == nil || p.Pick(tried, nil) == nil {
			t.Fatal("picked none")
		}
	})
	if got != 0 {
		t.Errorf("%v allocations per pick; want 0", got)
	}
}
