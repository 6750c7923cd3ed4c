package main

import (
	"testing"
	"time"
)

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f, err := startFleet()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.stop)
	return f
}

func TestServersAreAsTheyAreTold(t *testing.T) {
	f := newFleet(t)
	for i, test := range []struct {
		to   condition
		want string
	}{
		{healthy, ""},
		{condition{well, 10 * quick}, ""},
		{condition{dead, quick}, "closed"}, // on the connection that there was
		{condition{leaving, quick}, "closed"},
		{condition{stuck, quick}, "time-out"},
		{condition{failing, quick}, "503"},
		{condition{unfit, quick}, "503"},
		{condition{cutting, quick}, "cut"},
	} {
		s := f.servers[i]
		c := &caller{address: s.address, patience: 200 * time.Millisecond}
		first := c.exchange(time.Now().Add(startPatience))
		if err := s.become(test.to); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		got := failureOf(c.exchange(began.Add(c.patience)))
		if took := time.Since(began); first != nil || got != test.want || got == "" && took < test.to.delay {
			t.Errorf("%v: got %v before, then %q after %v; want %q", test.to, first, got, took, test.want)
		}
		if test.to.ill == dead || test.to.ill == leaving {
			if got := failureOf(c.exchange(time.Now().Add(startPatience))); got != "refused" {
				t.Errorf("%v: got %q on a new connection; want it refused", test.to, got)
			}
		}
		if err := s.become(healthy); err != nil {
			t.Fatal(err)
		}
		if err := c.exchange(time.Now().Add(startPatience)); err != nil {
			t.Errorf("%v, then well: got %v; want an answer", test.to, err)
		}
		c.close()
	}
	if asked, probed := f.asked.Load(), f.probed.Load(); asked != 8+6+8 || probed != 0 { // two of the middle ones came nowhere
		t.Errorf("got %d requests and %d health checks; want 22 and 0", asked, probed)
	}
}

func TestStuckServerAnswersInTheEnd(t *testing.T) {
	f := newFleet(t)
	s := f.servers[0]
	if err := s.become(condition{stuck, quick}); err != nil {
		t.Fatal(err)
	}
	c := &caller{address: s.address}
	answered := make(chan error)
	go func() { answered <- c.exchange(time.Now().Add(startPatience)) }()
	for late := time.After(startPatience); f.asked.Load() == 0; {
		select {
		case <-late:
			t.Fatal("the request did not arrive")
		case <-time.After(time.Millisecond):
		}
	}
	if err := s.become(healthy); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("got %v; want an answer", err)
	}
	c.close()
}

func TestHealthChecksOfTheUnfitPass(t *testing.T) {
	for ill, want := range map[illness]string{unfit: "", failing: "503", cutting: ""} {
		f := newFleet(t)
		if err := f.servers[0].become(condition{ill, quick}); err != nil {
			t.Fatal(err)
		}
		k, err := (&caller{address: f.servers[0].address}).dial(time.Now().Add(startPatience))
		if err != nil {
			t.Fatal(err)
		}
		_ = k.SetDeadline(time.Now().Add(startPatience))
		if _, err := k.get(healthPath); failureOf(err) != want {
			t.Errorf("%v: got %q, %v; want %q", ill, failureOf(err), err, want)
		}
		k.Close()
		if got := f.probed.Load(); got != 1 {
			t.Errorf("%v: got %d health checks; want 1", ill, got)
		}
	}
}

func TestFleetPlaysAScript(t *testing.T) {
	f := newFleet(t)
	ill := condition{stuck, quick}
	if err := f.play(script{{0, 3, ill}, {20 * time.Millisecond, 4, ill}, {40 * time.Millisecond, 3, healthy}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := [2]condition{f.servers[3].is, f.servers[4].is}; got != [2]condition{healthy, ill} {
		t.Errorf("got %v; want the first healthy again, the other not", got)
	}
	stop := make(chan struct{})
	close(stop)
	if err := f.play(script{{time.Hour, 3, ill}}, stop); err != nil {
		t.Errorf("stopped: got %v", err)
	}
}
