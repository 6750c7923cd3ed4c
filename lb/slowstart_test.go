package lb

import (
	"testing"
	"time"
)

// share is the percentage of picks that s has now.
func share(p *Pool, s *Server) int {
	n := 0
	for range 1000 {
		picked := p.Pick(nil, nil)
		if picked == s {
			n++
		}
		picked.Done(Succeeded, 0)
	}
	return n / 10
}

func TestSlowStart(t *testing.T) {
	for name, back := range map[string]struct {
		out, in func(*Server)
	}{
		"up again":        {func(s *Server) { set(s, Down) }, func(s *Server) { set(s, Up) }},
		"enabled":         {(*Server).Disable, (*Server).Enable},
		"no more ejected": {func(s *Server) { eject(s, time.Minute) }, func(*Server) { time.Sleep(time.Minute) }},
	} {
		for _, policy := range []Policy{RoundRobin, Random, P2C} {
			seg := newSegment(t)
			bubble(t, func(t *testing.T) {
				p := settledPool(t, seg, Settings{Name: "one", Policy: policy, Checked: true, SlowStart: 10 * time.Second}, many(2)...)
				time.Sleep(time.Hour)
				s := p.servers[0]
				back.out(s)
				if got := share(p, s); got != 0 {
					t.Errorf("%s, %v: out of use it has %d %%; want none", name, policy, got)
				}
				back.in(s)
				for _, c := range []struct {
					later time.Duration
					want  int // w/(1+w) for a weight of w
				}{{0, 9}, {time.Second, 9}, {4 * time.Second, 33}, {3 * time.Second, 44}, {2 * time.Second, 50}, {time.Hour, 50}} {
					time.Sleep(c.later)
					if got := share(p, s); got < c.want-5 || got > c.want+5 {
						t.Errorf("%s, %v: %v later it has %d %%; want %d %% within 5", name, policy, c.later, got, c.want)
					}
				}
			})
		}
	}
}
