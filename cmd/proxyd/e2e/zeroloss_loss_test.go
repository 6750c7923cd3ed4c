package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stall is the longest that an answer may take from when its request was due.
const stall = time.Second

// How things are lost.
const (
	lostRefused = "refused"  // no connection
	lostReset   = "reset"    // before an answer
	lostClosed  = "closed"   // before an answer
	lostShort   = "short"    // the answer ended too early
	lostWrong   = "wrong"    // another status or another's answer
	lostFailure = "5xx"      //
	lostSilent  = "time-out" //
	lostStalled = "stalled"  // it came, and too late
	lostHungUp  = "hung up"  // an idle connection, which the client saw before it asked
)

// A loss is a request, or a WebSocket, that did not go as it should.
type loss struct {
	kind   string // of the client
	how    string
	phase  string    // in which it showed: connect, idle, send or answer
	port   int       // the client's; 0: it got none
	opened time.Time // before the connection was
	due    time.Time // when the request was to be sent
	at     time.Time // when it showed
	detail string
}

// verdict says how an answer to the request for target was lost, "" if it was not.
func verdict(a *answer, err error, target string) (how, detail string) {
	var dialing *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return lostSilent, err.Error()
	case errors.As(err, &dialing) && dialing.Op == "dial":
		return lostRefused, err.Error()
	case err != nil && a != nil:
		return lostShort, fmt.Sprintf("%d, then %v", a.status, err)
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return lostReset, err.Error()
	case err != nil:
		return lostClosed, err.Error()
	case a.status >= http.StatusInternalServerError:
		return lostFailure, fmt.Sprintf("%d %.80q", a.status, a.body)
	case a.status != http.StatusOK || !strings.Contains(a.body, " "+target+" "):
		return lostWrong, fmt.Sprintf("%d %.80q", a.status, a.body)
	}
	return "", ""
}

// An incident is something that was done to a proxy.
type incident struct {
	at      time.Time
	what    string
	victims map[int]bool // ports of the clients whose connections died with their worker
}

// explains reports whether l was lost because i ended its connection.
func (i incident) explains(l loss) bool {
	return i.victims[l.port] && l.opened.Before(i.at) && l.at.After(i.at)
}

// Findings are what clients have seen.
type findings struct {
	mu        sync.Mutex
	answered  map[string]int // by kind of client
	announced int            // connections whose last answer said so
	losses    []loss
	incidents []incident
	frozen    []period // when the machine itself was too slow
}

func (r *findings) count(kind string, closing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered[kind]++
	if closing {
		r.announced++
	}
}

func (r *findings) lose(l loss) {
	l.at = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses = append(r.losses, l)
}

// happened notes an incident.
func (r *findings) happened(what string, victims map[int]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.incidents = append(r.incidents, incident{time.Now(), what, victims})
}

// froze notes that a request without a proxy took so long.
func (r *findings) froze(from, to time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = append(r.frozen, period{from, to})
}

// A tally counts losses by kind of client and how.
type tally map[[2]string]int

func (s tally) String() string {
	if len(s) == 0 {
		return "none"
	}
	var parts []string
	for key, n := range s {
		parts = append(parts, fmt.Sprintf("%d %s %s", n, key[0], key[1]))
	}
	return strings.Join(parts, ", ")
}

// sort divides the losses into those of killed workers, those that came late
// while the machine stood still, and the rest.
func (r *findings) sort() (killed, frozen tally, rest []loss) {
	r.mu.Lock()
	defer r.mu.Unlock()
	killed, frozen = tally{}, tally{}
next:
	for _, l := range r.losses {
		key := [2]string{l.kind, l.how}
		for _, i := range r.incidents {
			if i.explains(l) {
				killed[key]++
				continue next
			}
		}
		for _, f := range r.frozen {
			if l.how == lostStalled && f.overlaps(period{l.due, l.at}) {
				frozen[key]++
				continue next
			}
		}
		rest = append(rest, l)
	}
	return killed, frozen, rest
}

// describe says when and where l was lost, beside what had been done before.
func (r *findings) describe(l loss) string {
	last := "before all incidents"
	for _, i := range r.incidents {
		if i.at.Before(l.at) {
			last = fmt.Sprintf("%v after %s", l.at.Sub(i.at).Round(time.Millisecond), i.what)
		}
	}
	return fmt.Sprintf("%s: %s in the phase %q, %s; due %v, opened %v before that; port %d: %s", l.kind, l.how, l.phase,
		last, l.at.Sub(l.due).Round(time.Millisecond), l.at.Sub(l.opened).Round(time.Millisecond), l.port, l.detail)
}

// judge fails the test for all that was lost but with a killed worker.
func (r *findings) judge(t *testing.T) {
	t.Helper()
	killed, frozen, rest := r.sort()
	t.Logf("answered: %v; ended after an answer that said so: %d", r.answered, r.announced)
	t.Logf("lost with the workers that were killed: %v", killed)
	if len(r.frozen) > 0 {
		t.Logf("too late while the machine stood still, %d times: %v", len(r.frozen), frozen)
	}
	done := make(map[string]int)
	for _, i := range r.incidents {
		name, _, _ := strings.Cut(i.what, " ")
		done[name]++
	}
	t.Logf("done to the proxy: %v", done)
	if len(rest) > 0 {
		for _, i := range r.incidents {
			t.Logf("%s %s", i.at.Format("15:04:05.000"), i.what)
		}
	}
	unexplained := tally{}
	for i, l := range rest {
		unexplained[[2]string{l.kind, l.how}]++
		if i < 20 {
			t.Errorf("%s %s", l.at.Format("15:04:05.000"), r.describe(l))
		}
	}
	if len(rest) > 0 {
		t.Errorf("lost: got %v; want none", unexplained)
	}
}
