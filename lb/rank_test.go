package lb

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// words of a table: the state of each server, by its letter. Capitals are
// backups.
var conditions = map[byte]func(*Server){
	'u': func(s *Server) { set(s, Up) },
	'd': func(s *Server) { set(s, Down) },
	'n': func(*Server) {}, // never probed
	'f': func(s *Server) { set(s, Up); s.Failed() },
	'e': func(s *Server) { set(s, Up); eject(s, time.Minute) },
	'x': func(s *Server) { set(s, Down); eject(s, time.Minute) },
	'o': func(s *Server) { set(s, Up); s.Drain() },
	'O': func(s *Server) { set(s, Up); s.Disable() },
}

func eject(s *Server, d time.Duration) {
	s.cell.Eject.Store(uint64(makeEjection(shm.Now()+int64(d), 1, 0)))
	s.tell()
}

// picked returns the letters of the servers that p picks, in order.
func picked(p *Pool, tried ...*Server) string {
	var got []byte
	for range 50 {
		s := p.Pick(tried, nil)
		if s == nil {
			return "-"
		}
		if c := s.Address[0]; !slices.Contains(got, c) {
			got = append(got, c)
		}
		s.Done(Abandoned, 0)
	}
	slices.Sort(got)
	return string(got)
}

func TestWhoIsPicked(t *testing.T) {
	for _, c := range []struct {
		primaries, backups string // conditions of a, b, c ... and of A, B, C ...
		panic              int
		want               string
	}{
		// Backups come after all primaries.
		{"uu", "uu", 0, "ab"},
		{"du", "uu", 0, "b"},
		{"dd", "uu", 0, "AB"},
		{"dd", "du", 0, "B"},
		{"fd", "uu", 0, "a"},
		{"nd", "u", 0, "a"},
		{"dd", "fu", 0, "B"},
		{"dd", "n", 0, "A"},
		{"", "uu", 0, "AB"},
		{"oO", "u", 0, "A"},
		// What is ejected is the last resort.
		{"eu", "", 0, "b"},
		{"ee", "u", 0, "A"},
		{"ef", "", 0, "b"},
		{"en", "", 0, "b"},
		{"ed", "", 0, "a"},
		{"ed", "d", 0, "a"},
		{"ed", "e", 0, "Aa"},
		{"xd", "", 0, "-"},
		// The operator's word is above all.
		{"ou", "", 0, "b"},
		{"oO", "", 0, "-"},
		{"oO", "", 100, "-"},
		// Below the threshold all primaries are used.
		{"uddd", "", 25, "a"},
		{"uddd", "", 26, "abcd"},
		{"uuue", "", 76, "abcd"},
		{"uudd", "uu", 75, "abcd"},
		{"uddo", "", 50, "abc"},
		{"dddd", "", 10, "abcd"},
		{"dddd", "u", 10, "A"},
		{"dddd", "d", 10, "abcd"},
		{"uddn", "", 50, "abc"},
		{"un", "", 60, "a"},
		{"nn", "", 100, "ab"},
		{"fddd", "", 50, "bcd"},
	} {
		t.Run(fmt.Sprint(c.primaries, "+", c.backups, c.panic), func(t *testing.T) {
			var specs []Spec
			for i := range c.primaries {
				specs = append(specs, Spec{Address: string(rune('a' + i))})
			}
			for i := range c.backups {
				specs = append(specs, Spec{Address: string(rune('A' + i)), Backup: true})
			}
			p, err := NewPool(newSegment(t), Settings{Name: "one", Policy: Random, Checked: true, Panic: c.panic}, specs)
			if err != nil {
				t.Fatal(err)
			}
			for i, condition := range []byte(c.primaries + c.backups) {
				conditions[condition](p.Servers()[i])
			}
			if got := picked(p); got != c.want {
				t.Errorf("picked %s; want %s", got, c.want)
			}
			if got, want := p.Usable(nil), c.want != "-"; got != want {
				t.Errorf("usable is %v; want %v", got, want)
			}
		})
	}
}

// A worker that is killed between a change and telling of it leaves the others
// to find it themselves, within as many picks as there are servers.
func TestChangeIsFoundWithoutBeingTold(t *testing.T) {
	for name, change := range map[string]func(*Server){
		"down":     func(s *Server) { s.cell.Health.Store(uint64(pack(Down, 0, passed, shm.Now()))) },
		"avoided":  func(s *Server) { s.cell.Avoid.Store(uint64(shm.Now() + int64(time.Minute))) },
		"ejected":  func(s *Server) { s.cell.Eject.Store(uint64(makeEjection(shm.Now()+int64(time.Minute), 1, 0))) },
		"disabled": func(s *Server) { s.cell.Admin.Store(disabled) },
	} {
		p := weighted(t, RoundRobin, 1, 1, 1, 1, 1)
		lost := p.servers[2]
		p.Pick(nil, nil)
		well := lost.cell.Health.Load()
		change(lost)
		for range len(p.servers) {
			p.Pick(nil, nil)
		}
		for range 20 {
			if p.Pick(nil, nil) == lost {
				t.Fatalf("%s: picked after all servers were looked at; want it passed over", name)
			}
		}
		lost.cell.Health.Store(well)
		lost.cell.Avoid.Store(0)
		lost.cell.Eject.Store(0)
		lost.cell.Admin.Store(0)
		found := false
		for range 2 * len(p.servers) {
			found = found || p.Pick(nil, nil) == lost
		}
		if !found {
			t.Errorf("%s: not picked after it is well again", name)
		}
	}
}

// Shares are made anew when time alone changes them.
func TestEjectionEndsByItself(t *testing.T) {
	seg := newSegment(t)
	bubble(t, func(t *testing.T) {
		p := settledPool(t, seg, Settings{Name: "one", Checked: true}, Spec{Address: "a"}, Spec{Address: "b"})
		eject(p.servers[0], 10*time.Second)
		time.Sleep(10*time.Second - time.Millisecond)
		if got := letters(p, 10); strings.Contains(got, "a") {
			t.Errorf("ejected: picked %s; want only b", got)
		}
		time.Sleep(time.Millisecond)
		if got := letters(p, 10); strings.Count(got, "a") != 5 {
			t.Errorf("ejection over: picked %s; want a and b in turn", got)
		}
	})
}
