package loop

import (
	"errors"
	"iter"
	"runtime/debug"
	"time"
)

// maxFree is how many unused coroutines a loop keeps. What a burst needed beyond
// it is given back: a coroutine keeps the stack that its deepest call needed.
const maxFree = 4096

// ErrDeadline says that a deadline passed first.
var ErrDeadline = errors.New("deadline exceeded")

// A Runner is the work of one coroutine.
type Runner interface {
	// Run is called in a coroutine. t is valid until it returns.
	Run(t *Task)
	// Crashed is called instead of Run's return when Run panicked with v. It
	// releases what Run held.
	Crashed(v any, stack []byte)
}

// A Task is a pooled coroutine. Its methods are called by the code that it runs
// and by nobody else, except Wake.
type Task struct {
	loop     *Loop
	resume   func() (struct{}, bool) // called by the loop only
	stop     func()                  // ends the coroutine, unused
	yield    func(struct{}) bool     // called by the coroutine only
	job      Runner
	deadline int64 // of the present wait; 0: none
	timer    timer // may be due earlier than deadline, never later
	waiting  bool
	expired  bool
	lapse    int64 // when a wait expired last
	queued   bool  // in loop.ready
	fresh    bool  // has a job that it did not begin
}

// Spawn runs r in a coroutine: at once until it first waits if called on the
// loop itself, at the end of this turn if called from another coroutine.
func (l *Loop) Spawn(r Runner) {
	var t *Task
	if n := len(l.free); n > 0 {
		t, l.free = l.free[n-1], l.free[:n-1]
	} else {
		t = l.newTask()
	}
	t.job = r
	if l.running == nil {
		t.resumeNow()
		return
	}
	t.fresh = true
	t.enqueue()
}

// enqueue makes the loop resume t at the end of this turn.
func (t *Task) enqueue() {
	if !t.queued {
		t.queued = true
		t.loop.ready = append(t.loop.ready, t)
	}
}

func (l *Loop) newTask() *Task {
	t := &Task{loop: l}
	t.timer.due = t.timeUp
	t.resume, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		for {
			t.run()
			t.job = nil
			if len(l.free) == maxFree {
				l.timers.remove(&t.timer)
				return
			}
			l.free = append(l.free, t)
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return t
}

func (t *Task) run() {
	defer func() {
		if v := recover(); v != nil {
			t.waiting = false
			t.loop.stats.Panics++
			t.job.Crashed(v, debug.Stack())
		}
	}()
	t.job.Run(t)
}

// resumeNow lets the coroutine go on until it waits or ends.
func (t *Task) resumeNow() {
	l := t.loop
	l.running = t
	t.resume()
	l.running = nil
}

// timeUp is what the task's entry in the heap calls: see timer.
func (t *Task) timeUp(now int64) {
	switch {
	case !t.waiting || t.deadline == 0:
		return
	case t.deadline > now:
		t.loop.timers.set(&t.timer, t.deadline)
	default:
		t.expired, t.lapse = true, now
		t.resumeNow()
	}
}

// wait yields to the loop until the task is resumed. deadline is in loop time;
// 0 means none.
func (t *Task) wait(deadline int64) error {
	if deadline != 0 && t.lapse == t.loop.now {
		deadline = max(deadline, t.loop.now+1) // once a turn, or one task could fill it
	}
	t.deadline = deadline
	if deadline != 0 && (t.timer.index == 0 || deadline < t.timer.at) {
		t.loop.timers.set(&t.timer, deadline)
	}
	t.waiting = true
	t.yield(struct{}{})
	t.waiting = false
	if t.expired {
		t.expired = false
		return ErrDeadline
	}
	return nil
}

// Loop returns the loop that runs t.
func (t *Task) Loop() *Loop { return t.loop }

// Now returns the time at which this turn of the loop began.
func (t *Task) Now() int64 { return t.loop.now }

// After returns the deadline d from now, for the other methods; 0 (none) for 0.
func (t *Task) After(d time.Duration) int64 {
	if d == 0 {
		return 0
	}
	return t.loop.now + int64(d)
}

// WaitAny waits for the next event on a or b, for Wake, or for deadline, and
// then returns ErrDeadline. a or b may be nil. It does not look at what is
// readable already: call it only after a Try call said ErrAgain.
func (t *Task) WaitAny(deadline int64, a, b *Conn) error {
	if a != nil {
		a.await(t)
	}
	if b != nil {
		b.await(t)
	}
	err := t.wait(deadline)
	if a != nil {
		a.waiter = nil
	}
	if b != nil {
		b.waiter = nil
	}
	return err
}

// Read reads once into b, waiting for the first byte.
func (t *Task) Read(c *Conn, b []byte, deadline int64) (int, error) {
	for {
		n, err := c.TryRead(b)
		if err != ErrAgain {
			return n, err
		}
		if err := t.WaitAny(deadline, c, nil); err != nil {
			return 0, err
		}
	}
}

// Write writes all of b.
func (t *Task) Write(c *Conn, b []byte, deadline int64) error {
	for len(b) > 0 {
		n, err := c.TryWrite(b)
		b = b[n:]
		if err == nil {
			continue
		}
		if err != ErrAgain {
			return err
		}
		if err := t.WaitAny(deadline, c, nil); err != nil {
			return err
		}
	}
	return nil
}

// Yield lets the rest of the loop have a turn.
func (t *Task) Yield() {
	t.enqueue()
	_ = t.wait(0) // without a deadline it cannot fail
}

// Sleep waits for d.
func (t *Task) Sleep(d time.Duration) {
	for until := t.loop.now + int64(d); t.wait(until) == nil; {
		continue // woken for some other reason
	}
}

// Wake resumes t, if it waits, at the end of this turn. It is for code on the
// loop other than t's own.
func (t *Task) Wake() {
	if t.waiting {
		t.enqueue()
	}
}

// Go runs f on a goroutine of its own and waits for it, however long it takes:
// f does what may block. A panic in f becomes one of the task.
func (t *Task) Go(f func()) {
	var (
		done     bool
		panicked any
	)
	t.loop.jobs++
	go func() {
		defer func() {
			panicked = recover()
			t.loop.Post(func() { done = true; t.loop.jobs--; t.Wake() })
		}()
		f()
	}()
	for !done {
		_ = t.wait(0) // without a deadline it cannot fail
	}
	if panicked != nil {
		panic(panicked)
	}
}
