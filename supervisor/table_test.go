package supervisor

import (
	"fmt"
	"testing"
	"time"
)

const (
	states     = dying + 1
	happenings = exited + 1
	actions    = bury + 1
)

// transitions is the table once more, read the other way round: what each state
// makes of each event. What is not here must change nothing.
var transitions = map[state]map[happening]string{
	gone: {
		due: "greeting launch", claimed: "serving welcome", behind: "committing sendCommit",
		bygone: "draining nothing", stray: "dying kill",
	},
	greeting: {
		hello: "loading deliver", timeout: "stuck quit", nacked: "dying kill",
		retired: "dying kill", lost: "dying kill", exited: "gone bury",
	},
	loading: {
		acked: "loading deliver", prepared: "opening sendStart", timeout: "stuck quit",
		nacked: "dying kill", retired: "dying kill", lost: "dying kill", exited: "gone bury",
	},
	opening: {
		accepting: "serving announce", timeout: "stuck quit", nacked: "dying kill",
		retired: "dying kill", lost: "dying kill", exited: "gone bury",
	},
	serving: {
		offered: "staging deliver", retired: "draining sendDrain", timeout: "stuck quit",
		lost: "dying kill", exited: "gone bury",
	},
	staging: {
		acked: "staging deliver", prepared: "staged nothing", nacked: "serving refuse",
		timeout: "serving refuse", dropped: "serving sendAbort", retired: "draining sendDrain",
		lost: "dying kill", exited: "gone bury",
	},
	staged: {
		decided: "committing sendCommit", dropped: "serving sendAbort", retired: "draining sendDrain",
		lost: "dying kill", exited: "gone bury",
	},
	committing: {
		committed: "serving settle", nacked: "dying kill", timeout: "dying kill",
		retired: "draining sendDrain", lost: "dying kill", exited: "gone bury",
	},
	draining: {timeout: "dying kill", retired: "draining sendDrain", exited: "gone bury"},
	stuck:    {timeout: "dying kill", retired: "dying kill", exited: "gone bury"},
	dying:    {exited: "gone bury"},
}

var actionNames = [...]string{
	"nothing", "launch", "deliver", "sendStart", "announce", "refuse", "sendAbort", "sendCommit",
	"settle", "sendDrain", "welcome", "quit", "kill", "bury",
}

func TestStep(t *testing.T) {
	for s := range states {
		for ev := range happenings {
			want, listed := transitions[s][ev]
			switch {
			case ev == hurried && s != gone && s != dying:
				want = "dying kill"
			case !listed:
				want = fmt.Sprintf("%v nothing", s)
			}
			next, act := step(s, ev)
			if got := fmt.Sprintf("%v %s", next, actionNames[act]); got != want {
				t.Errorf("step(%v, event %d): got %s; want %s", s, ev, got, want)
			}
		}
	}
}

// Whatever a worker does or leaves undone, it ends.
func TestEveryStateComesToAnEnd(t *testing.T) {
	for s := range states {
		at, kills := s, 0
		for _, ev := range []happening{retired, retired, hurried, hurried} {
			var act action
			if at, act = step(at, ev); act == kill {
				kills++
			}
		}
		if s != gone && at != dying || s != dying && s != gone && kills != 1 {
			t.Errorf("%v retired and hurried, both twice: got %v after %d kills; want dying after 1", s, at, kills)
		}
		if at, _ := step(s, exited); at != gone {
			t.Errorf("%v whose process has ended: got %v; want gone", s, at)
		}
	}
}

func TestDelay(t *testing.T) {
	tests := []struct {
		failures int
		jitter   float64
		want     time.Duration
	}{
		{0, 0.5, 0},
		{1, 0.5, 0},
		{2, 0.5, 100 * time.Millisecond},
		{3, 0.5, 200 * time.Millisecond},
		{4, 0.5, 400 * time.Millisecond},
		{8, 0.5, 6400 * time.Millisecond},
		{9, 0.5, 10 * time.Second},
		{1 << 30, 0.5, 10 * time.Second},
		{2, 0, 80 * time.Millisecond},
		{9, 0.99999, 12 * time.Second},
	}
	for _, tt := range tests {
		if got := delay(tt.failures, tt.jitter).Round(time.Millisecond); got != tt.want {
			t.Errorf("delay(%d, %v): got %v; want %v", tt.failures, tt.jitter, got, tt.want)
		}
	}
}
