package loop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSpawnRunsAtOnceOnTheLoopAndLaterInACoroutine(t *testing.T) {
	l := start(t)
	var got []string
	say := func(s string) { got = append(got, s) }
	done := make(chan struct{})
	on(t, l, func() {
		l.Spawn(&job{run: func(*Task) {
			say("outer")
			l.Spawn(&job{run: func(*Task) { say("inner"); close(done) }})
			say("outer ends")
		}})
		say("loop")
	})
	await(t, done)
	if want := []string{"outer", "outer ends", "loop", "inner"}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestCoroutinesAreReused(t *testing.T) {
	l := start(t)
	for range 100 {
		await(t, spawn(l, func(task *Task) { task.Yield() }))
	}
	on(t, l, func() {
		if n := l.Tasks(); n != 1 {
			t.Errorf("unused coroutines: got %d; want 1", n)
		}
	})
}

func TestUnusedCoroutinesAreBounded(t *testing.T) {
	l := start(t)
	const burst = maxFree + 500
	left := burst
	var tasks []*Task
	on(t, l, func() {
		for range burst {
			l.Spawn(&job{run: func(task *Task) {
				tasks = append(tasks, task)
				_ = task.WaitAny(task.After(time.Hour), nil, nil)
				left-- // woken early: its entry stays in the heap
			}})
		}
	})
	on(t, l, func() {
		for _, task := range tasks {
			task.Wake()
		}
	})
	on(t, l, func() {
		if left != 0 || l.Tasks() != maxFree {
			t.Errorf("got %d unfinished, %d unused; want 0, %d", left, l.Tasks(), maxFree)
		}
		if len(l.timers) != maxFree {
			t.Errorf("timers: got %d; want those of the %d unused only", len(l.timers), maxFree)
		}
	})
	await(t, spawn(l, func(task *Task) { task.Yield() })) // they still work
}

func TestWaitAnyIsWokenByEither(t *testing.T) {
	l := start(t)
	a, peerA := pair(t, l)
	b, peerB := pair(t, l)
	for i, peer := range []net.Conn{peerA, peerB, peerB, peerA} {
		ready := make(chan struct{})
		done := spawn(l, func(task *Task) {
			close(ready)
			var buf [1]byte
			for {
				for _, c := range []*Conn{a, b} {
					n, err := c.TryRead(buf[:])
					if n == 1 {
						if want := peer == peerA; (c == a) != want {
							t.Errorf("round %d: got data on a: %v; want %v", i, c == a, want)
						}
						return
					}
					if err != ErrAgain {
						t.Errorf("round %d: TryRead: %v", i, err)
					}
				}
				if err := task.WaitAny(task.After(patience), a, b); err != nil {
					t.Errorf("round %d: %v", i, err)
					return
				}
			}
		})
		await(t, ready)
		if _, err := peer.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		await(t, done)
		on(t, l, func() {
			if a.waiter != nil || b.waiter != nil {
				t.Errorf("round %d: a connection still has a waiter", i)
			}
		})
	}
}

func TestWaitAnyDeadlineAndWake(t *testing.T) {
	l := start(t)
	a, _ := pair(t, l)
	b, _ := pair(t, l)
	drain := func(task *Task) { // the edges of the beginning
		for range 3 {
			task.Yield()
		}
	}
	await(t, spawn(l, func(task *Task) {
		drain(task)
		if err := task.WaitAny(task.After(5*time.Millisecond), a, b); err != ErrDeadline {
			t.Errorf("without an event: got %v; want %v", err, ErrDeadline)
		}
	}))
	var waits *Task
	done := spawn(l, func(task *Task) {
		drain(task)
		waits = task
		if err := task.WaitAny(task.After(patience), a, b); err != nil {
			t.Errorf("woken: got %v; want nil", err)
		}
	})
	eventually(t, l, "a task waits", func() bool { return waits != nil && waits.waiting })
	on(t, l, func() { waits.Wake(); waits.Wake() })
	await(t, done)
	on(t, l, func() {
		waits.Wake() // pooled: nothing to resume
		if len(l.ready) != 0 {
			t.Error("waking an unused coroutine queued it")
		}
	})
}

func TestYieldIsFair(t *testing.T) {
	l := start(t)
	var order []int
	var done sync.WaitGroup
	done.Add(3)
	on(t, l, func() {
		for i := range 3 {
			l.Spawn(&job{run: func(task *Task) {
				defer done.Done()
				for range 10 {
					order = append(order, i)
					task.Yield()
				}
			}})
		}
	})
	done.Wait()
	for i, got := range order {
		if got != i%3 {
			t.Fatalf("turns: got %v; want each in turn", order)
		}
	}
}

// A task that never waits for anything must not keep sockets, timers, posted
// functions and other tasks from theirs.
func TestBusyTasksStarveNobody(t *testing.T) {
	busy := map[string]func(*Task){
		"yield":         func(task *Task) { task.Yield() },
		"sleep 0":       func(task *Task) { task.Sleep(0) },
		"sleep -1":      func(task *Task) { task.Sleep(-1) },
		"past deadline": func(task *Task) { _ = task.WaitAny(1, nil, nil) },
		"wakes itself":  func(task *Task) { l := task.Loop(); l.Post(task.Wake); task.Yield() },
	}
	for name, spin := range busy {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			stop := false
			first := spawn(l, func(task *Task) {
				for !stop {
					spin(task)
				}
			})
			c, peer := pair(t, l)
			second := spawn(l, func(task *Task) {
				task.Sleep(time.Millisecond)
				b := make([]byte, 4)
				if n, err := task.Read(c, b, task.After(patience)); n != 4 || err != nil {
					t.Errorf("Read: got %d, %v", n, err)
				}
			})
			if _, err := io.WriteString(peer, "ping"); err != nil {
				t.Fatal(err)
			}
			await(t, second)
			on(t, l, func() {
				if len(l.ready) > 2 {
					t.Errorf("queued: got %d; want at most one entry a task", len(l.ready))
				}
				stop = true
			})
			await(t, first)
		})
	}
}

// An event that comes in every turn must not put off a deadline that has passed.
func TestDeadlinePassesUnderEvents(t *testing.T) {
	l := start(t)
	c, peer := pair(t, l)
	done := spawn(l, func(task *Task) {
		b := make([]byte, 1)
		for until := task.After(20 * time.Millisecond); ; {
			if _, err := peer.Write(b); err != nil { // an edge in the next turn
				t.Error(err)
				return
			}
			c.readable = false
			if err := task.WaitAny(until, c, nil); err != nil {
				if err != ErrDeadline || task.Now() < until {
					t.Errorf("got %v at %d; want %v at %d", err, task.Now(), ErrDeadline, until)
				}
				return
			}
			if _, err := c.TryRead(b); err != nil {
				t.Errorf("TryRead: %v", err)
			}
		}
	})
	await(t, done)
}

func TestGo(t *testing.T) {
	l := start(t)
	release := make(chan struct{})
	answer := 0
	done := spawn(l, func(task *Task) {
		task.Go(func() { <-release; answer = 42 })
		if answer != 42 {
			t.Errorf("after Go: got %d; want 42", answer)
		}
	})
	on(t, l, func() {}) // the loop turns while f blocks
	var waits *Task
	woken := spawn(l, func(task *Task) {
		waits = task
		task.Go(func() { <-release })
	})
	on(t, l, func() { waits.Wake() }) // must not end it early
	on(t, l, func() {
		select {
		case <-woken:
			t.Error("Go returned before its function")
		default:
		}
	})
	close(release)
	await(t, done)
	await(t, woken)
}

func TestGoPanics(t *testing.T) {
	l := start(t)
	crashed := make(chan any, 1)
	on(t, l, func() {
		l.Spawn(&job{
			run:     func(task *Task) { task.Go(func() { panic("elsewhere") }) },
			crashed: func(v any, _ []byte) { crashed <- v },
		})
	})
	if v := <-crashed; v != "elsewhere" {
		t.Errorf("got panic %v; want elsewhere", v)
	}
}

// A panic ends one job. Connections for which its task waited just before, and
// those of others, go on; the coroutine is used again.
func TestPanicIsContained(t *testing.T) {
	l := start(t)
	a, peerA := pair(t, l)
	b, peerB := pair(t, l)
	other, peerOther := pair(t, l)
	otherDone := spawn(l, func(task *Task) {
		buf := make([]byte, 5)
		if n, err := task.Read(other, buf, task.After(patience)); n != 5 || err != nil {
			t.Errorf("the other task: got %d, %v", n, err)
		}
	})
	type crash struct {
		v     any
		stack string
	}
	crashes := make(chan crash, 1)
	on(t, l, func() {
		l.Spawn(&job{
			run: func(task *Task) {
				for !a.Readable() {
					if err := task.WaitAny(task.After(patience), a, b); err != nil {
						t.Error(err)
					}
				}
				blowUp()
			},
			crashed: func(v any, stack []byte) { crashes <- crash{v, string(stack)} },
		})
	})
	if _, err := io.WriteString(peerA, "x"); err != nil {
		t.Fatal(err)
	}
	c := <-crashes
	if c.v != "bug: it blew up" || !strings.Contains(c.stack, "blowUp") {
		t.Errorf("Crashed: got %v with stack\n%s", c.v, c.stack)
	}
	// Events on what the dead job waited for, while its coroutine is unused.
	for _, peer := range []net.Conn{peerA, peerB} {
		if _, err := io.WriteString(peer, "y"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, l, "b is readable", b.Readable)
	if _, err := io.WriteString(peerOther, "alive"); err != nil {
		t.Fatal(err)
	}
	await(t, otherDone)
	await(t, spawn(l, func(task *Task) { task.Yield() }))
	on(t, l, func() {
		if got := l.Stats().Panics; got != 1 {
			t.Errorf("Stats().Panics: got %d; want 1", got)
		}
	})
}

func blowUp() { panic("bug: it blew up") }

func TestPostFromManyGoroutines(t *testing.T) {
	l := start(t)
	const posters, each = 8, 2000
	var next [posters]int // what each posts next, as the loop sees it
	bad := 0
	var all sync.WaitGroup
	for p := range posters {
		all.Go(func() {
			for i := range each {
				l.Post(func() {
					if next[p] != i {
						bad++
					}
					next[p]++
				})
			}
		})
	}
	all.Wait()
	on(t, l, func() {
		for p, n := range next {
			if n != each {
				t.Errorf("poster %d: got %d run; want %d", p, n, each)
			}
		}
		if bad > 0 {
			t.Errorf("out of order: got %d; want 0", bad)
		}
	})
}

func TestPostBeforeRunAndFromItself(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := 0
	var again func()
	again = func() {
		if n++; n < 100 {
			l.Post(again)
			return
		}
		l.Stop()
	}
	l.Post(again)
	if err := l.Run(); err != nil {
		t.Fatal(err)
	}
	if n != 100 {
		t.Errorf("got %d; want 100", n)
	}
}

// A goroutine that comes late must not write into a descriptor that is another's
// by then.
func TestPostAfterClose(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	number := l.wakeup
	l.Close()
	taken, err := dupTo(w, number)
	if err != nil {
		t.Fatal(err)
	}
	l.Post(func() { t.Error("a function ran on a closed loop") })
	l.Close()
	if _, err := taken.WriteString("mine"); err != nil {
		t.Fatalf("the descriptor was closed: %v", err)
	}
	taken.Close()
	w.Close()
	if got, err := io.ReadAll(r); string(got) != "mine" || err != nil {
		t.Errorf("pipe: got %q, %v; want only what its owner wrote", got, err)
	}
}

func TestStalled(t *testing.T) {
	l := start(t)
	if s := l.Stalled(); s != nil {
		t.Errorf("idle: got stacks\n%s", s)
	}
	release, began := make(chan struct{}), make(chan struct{})
	l.Post(func() { close(began); stuck(release) })
	await(t, began)
	var stacks []byte
	for end := time.Now().Add(patience); stacks == nil && time.Now().Before(end); {
		stacks = l.Stalled()
	}
	if !strings.Contains(string(stacks), "loop.stuck") {
		t.Errorf("Stalled: want the culprit in\n%s", stacks)
	}
	close(release)
	on(t, l, func() {})
	on(t, l, func() {
		if s := l.Stats(); s.Stalls == 0 || s.Longest < StallAfter {
			t.Errorf("Stats: got %d stalls, longest %v", s.Stalls, s.Longest)
		}
	})
}

func stuck(release chan struct{}) { <-release }

func TestOpErrorUnwraps(t *testing.T) {
	err := fmt.Errorf("somewhere: %w", &OpError{"connect", io.EOF})
	var op *OpError
	if !errors.Is(err, io.EOF) || !errors.As(err, &op) || op.Error() != "connect: EOF" {
		t.Errorf("got %v", err)
	}
}
