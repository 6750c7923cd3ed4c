package loop

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestTimersAgainstReference plays random steps on the heap and on a plain list.
func TestTimersAgainstReference(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var (
			h     timers
			fired []*timer
			set   = map[*timer]int64{} // the reference
			all   = make([]*timer, 40)
		)
		for i := range all {
			all[i] = new(timer)
			all[i].due = func(int64) { fired = append(fired, all[i]) }
		}
		for step, now := 0, int64(1); step < 1000; step++ {
			one := all[r.IntN(len(all))]
			switch r.IntN(4) {
			case 0, 1:
				at := now + r.Int64N(50) - 5
				h.set(one, at)
				set[one] = at
			case 2:
				h.remove(one)
				delete(set, one)
			case 3:
				now += r.Int64N(10)
				fired = fired[:0]
				h.fire(now)
				checkFired(t, fired, set, now)
			}
			checkHeap(t, h, set)
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
}

// checkFired compares with set what fire(now) called, and takes it out of set.
func checkFired(t *testing.T, fired []*timer, set map[*timer]int64, now int64) {
	t.Helper()
	want := 0
	for _, at := range set {
		if at <= now {
			want++
		}
	}
	if len(fired) != want {
		t.Errorf("fire(%d): got %d calls; want %d", now, len(fired), want)
	}
	if !slices.IsSortedFunc(fired, func(a, b *timer) int { return int(set[a] - set[b]) }) {
		t.Errorf("fire(%d): not in order of time", now)
	}
	for _, f := range fired {
		if at, ok := set[f]; !ok || at > now {
			t.Errorf("fire(%d): called what is due at %d (set: %v)", now, at, ok)
		}
		delete(set, f)
	}
}

func checkHeap(t *testing.T, h timers, set map[*timer]int64) {
	t.Helper()
	if len(h) != len(set) {
		t.Errorf("heap: got %d entries; want %d", len(h), len(set))
	}
	for i, e := range h {
		if e.index != i+1 {
			t.Errorf("entry %d: got index %d", i, e.index)
		}
		if at, ok := set[e]; !ok || at != e.at {
			t.Errorf("entry %d: got time %d; want %d (set: %v)", i, e.at, at, ok)
		}
		if i > 0 && h[(i-1)/4].at > e.at {
			t.Errorf("entry %d is due before its parent", i)
		}
	}
}

func TestTimerMayRemoveAndSetOthersWhileFiring(t *testing.T) {
	var h timers
	var got []string
	victim := &timer{due: func(int64) { got = append(got, "victim") }}
	late := &timer{due: func(int64) { got = append(got, "late") }}
	first := &timer{due: func(now int64) {
		got = append(got, "first")
		h.remove(victim)
		h.set(late, now+10)
	}}
	h.set(victim, 2)
	h.set(late, 3)
	h.set(first, 1)
	h.fire(5)
	h.fire(14)
	if len(got) != 1 {
		t.Fatalf("before the new time: got %q; want first only", got)
	}
	h.fire(15)
	if want := []string{"first", "late"}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

// TestSleepsEndInOrder has more sleepers than the heap has levels, with times
// that are unlike the order in which they begin.
func TestSleepsEndInOrder(t *testing.T) {
	l := start(t)
	type end struct{ due, at int64 }
	const sleepers = 300
	var ends []end
	done := make(chan struct{})
	on(t, l, func() {
		r := rand.New(rand.NewPCG(1, 2))
		for range sleepers {
			d := time.Duration(r.IntN(50)) * time.Millisecond
			l.Spawn(&job{run: func(task *Task) {
				due := task.After(d)
				task.Sleep(d)
				if ends = append(ends, end{due, task.Now()}); len(ends) == sleepers {
					close(done)
				}
			}})
		}
	})
	await(t, done)
	for i, e := range ends {
		if e.at < e.due {
			t.Errorf("sleeper %d: ended %d ns early", i, e.due-e.at)
		}
		// In one turn those that are due fire in order.
		if i > 0 && ends[i-1].at == e.at && ends[i-1].due > e.due {
			t.Errorf("sleeper %d: due at %d but after the one due at %d", i, e.due, ends[i-1].due)
		}
	}
}

// TestLazyTimer moves one task's deadline forth and back, which leaves its entry
// in the heap early.
func TestLazyTimer(t *testing.T) {
	l := start(t)
	c, peer := pair(t, l)
	done := spawn(l, func(task *Task) {
		b := make([]byte, 1)
		for _, d := range []time.Duration{time.Millisecond, time.Hour, 20 * time.Millisecond, 0, 5 * time.Millisecond} {
			if _, err := peer.Write(b); err != nil {
				t.Error(err)
			}
			if _, err := task.Read(c, b, task.After(d+time.Hour)); err != nil {
				t.Errorf("deadline %v ahead, with data: got %v", d+time.Hour, err)
			}
			if d == 0 || d == time.Hour {
				continue
			}
			until := task.After(d)
			if _, err := task.Read(c, b, until); err != ErrDeadline {
				t.Errorf("deadline %v ahead, without data: got %v; want %v", d, err, ErrDeadline)
			}
			if task.Now() < until {
				t.Errorf("deadline %v ahead: %d ns early", d, until-task.Now())
			}
		}
	})
	await(t, done)
	on(t, l, func() {
		if len(l.timers) > 1 {
			t.Errorf("entries of one task: got %d; want at most 1", len(l.timers))
		}
	})
}
