package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/proxyd/proxyd/supervisor/admin"
)

func (s *stage) roll() admin.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := s.client().Roll(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return res
}

// serving lists the processes of a generation that serve.
func (s *stage) serving(generation uint32) (pids []int) {
	s.t.Helper()
	for _, w := range s.status().Workers {
		if w.Generation == generation && w.State == "serving" {
			pids = append(pids, w.Pid)
		}
	}
	return pids
}

func TestRoll(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	for generation := uint32(2); generation <= 4; generation++ {
		before := s.pids()
		if res := s.roll(); !res.OK || res.Config != 1 {
			t.Fatalf("roll: got %+v; want config 1 active", res)
		}
		for _, pid := range before {
			s.awaitGone(pid)
		}
		if got := s.serving(generation); len(got) != 2 || s.status().Generation != generation {
			t.Errorf("generation %d: got %v serving of %+v; want two", generation, got, s.status())
		}
		s.answers("a")
	}
	s.write(play{host: "b"})
	if res := s.reload(); !res.OK || res.Config != 2 {
		t.Errorf("reload: got %+v; want config 2", res)
	}
	s.answers("b")
	pids := s.pids()
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
	s.leftNothing(pids)
}

// A configuration that the workers which run cannot take comes with new ones.
func TestReloadThatNeedsNewWorkers(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	other := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s.serve(play{host: "a", listen: []string{s.address(), other}})
	before := s.pids()
	third := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s.write(play{host: "b", workers: 3, listen: []string{s.address(), third}})
	if res := s.reload(); !res.OK || res.Config != 2 {
		t.Fatalf("reload: got %+v; want config 2", res)
	}
	for _, pid := range before {
		s.awaitGone(pid)
	}
	if got := s.serving(2); len(got) != 3 {
		t.Errorf("workers: got %v; want three", got)
	}
	s.answers("b")
	if _, err := ask("tcp", third); err != nil {
		t.Errorf("added listener: got %v; want an answer", err)
	}
	if reachable("tcp", other) == nil {
		t.Error("removed listener: got a connection; want none")
	}
}

// Whatever is wrong with a new generation, the old one has noticed nothing.
func TestRollThatFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		host, want string
		code       int
	}{
		{"nack", "certificate of nack.test has expired", 1},
		{"panic", "panic: boom", 3},
		{"exit", "exited with status 7", 3},
		{"mute", "did not answer in time (opening)", 3},
		{"dies", "panic: too late", 3},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			fresh := fmt.Sprintf("127.0.0.1:%d", freePort(t))
			s.serve(play{host: "a", more: `ready_timeout = "2s"`})
			before := s.pids()
			s.write(play{host: tt.host, workers: 1, listen: []string{s.address(), fresh}, more: `ready_timeout = "2s"`})
			if res := s.reload(); res.OK || res.Code != tt.code || !strings.Contains(res.Text, tt.want) {
				t.Errorf("reload: got %+v; want code %d and %q", res, tt.code, tt.want)
			}
			s.await("the workers of before", func() bool { return slices.Equal(s.pids(), before) })
			if a := s.answers("a"); a.config != 1 {
				t.Errorf("answer: got %+v; want config 1", a)
			}
			if reachable("tcp", fresh) == nil {
				t.Error("listener of the new configuration: got a connection; want none")
			}
			s.write(play{host: "b", workers: 3})
			if res := s.reload(); !res.OK {
				t.Errorf("another roll: got %+v; want it to work", res)
			}
			s.answers("b")
		})
	}
}

// A worker that dies while a new generation is on trial is replaced as ever.
func TestWorkerKilledInARoll(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	before := s.pids()
	done := make(chan admin.Result)
	go func() { done <- s.roll() }()
	s.await("the roll", func() bool { return s.status().State == "rolling" })
	if err := syscall.Kill(before[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if res := <-done; !res.OK {
		t.Errorf("roll: got %+v; want it to work", res)
	}
	s.await("generation 2 alone", func() bool { return len(s.serving(2)) == 2 && len(s.status().Workers) == 2 })
	s.answers("a")
}

func TestStopInARoll(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	s.write(play{host: "mute", workers: 3})
	s.signal(syscall.SIGHUP)
	s.await("the roll", func() bool { return s.status().State == "rolling" })
	var pids []int
	s.await("the first of the new", func() bool { pids = s.pids(); return len(pids) == 3 && !slices.Contains(pids, 0) })
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
	s.leftNothing(pids)
}

func TestWorse(t *testing.T) {
	tests := []struct {
		name        string
		canary, old tally
		bad         bool
	}{
		{"nothing asked", tally{}, tally{}, false},
		{"all well", tally{1000, 0}, tally{1000, 0}, false},
		{"too few to tell", tally{19, 19}, tally{1000, 0}, false},
		{"most fail", tally{20, 10}, tally{1000, 0}, true},
		{"some fail", tally{1000, 499}, tally{1000, 0}, false},
		{"all fail, as with the old", tally{1000, 1000}, tally{1000, 900}, false},
		{"all fail, few with the old", tally{1000, 1000}, tally{1000, 100}, true},
		{"all fail, the old was not asked", tally{1000, 1000}, tally{}, true},
	}
	for _, tt := range tests {
		if got := worse(tt.canary, tt.old); (got != "") != tt.bad {
			t.Errorf("%s: got %q; want an objection: %v", tt.name, got, tt.bad)
		}
	}
}
