package loop

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// StallAfter is how long a turn may take before it is counted as a stall.
const StallAfter = 50 * time.Millisecond

// briefly is for how many ms the loop waits with its processor in hand: no longer
// than the Go scheduler leaves one to a goroutine anyway.
const briefly = 10

// unwatchedFor is how long a connection may go unnoticed that breaks while nobody
// wants anything of it.
const unwatchedFor = 5 * time.Millisecond

// An OpError is a failed operation of the loop on a descriptor.
type OpError struct {
	Op  string // the system call
	Err error
}

func (e *OpError) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the system call's error.
func (e *OpError) Unwrap() error { return e.Err }

// Stats are counts since the loop was made; read them on the loop.
type Stats struct {
	Stalls  uint64        // turns over StallAfter
	Longest time.Duration // the longest turn
	Panics  uint64        // coroutines that panicked
	Pauses  uint64        // times that accepting paused for want of descriptors
}

// A Loop is one epoll instance and what runs on it.
type Loop struct {
	epoll, wakeup int
	base          time.Time
	now           int64 // ns since base, taken at the start of the turn
	conns         []*Conn
	generation    uint32
	listeners     map[int32]*Listener

	jobs    int     // goroutines of Task.Go
	running *Task   // the coroutine that runs now, nil on the loop itself
	ready   []*Task // to resume at the end of the turn
	wakes   []*Conn // parked with something to read already
	free    []*Task

	timers    timers
	idles     []*Idle
	unwatched *Idle // adopted, in the middle of something, and not yet on epoll
	vec       vector
	peer      peer
	pipes     pipes
	stats     Stats

	turn    atomic.Int64 // when the present turn began, 0 between turns
	stopped bool

	mu     sync.Mutex
	posted []func() // guarded by mu
	closed bool     // guarded by mu: wakeup is no descriptor of ours any more
}

// New returns a loop with nothing on it. Close releases it.
func New() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, &OpError{"epoll_create1", err}
	}
	wakeup, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		closeFD(int32(epoll))
		return nil, &OpError{"eventfd", err}
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | epollet, Fd: int32(wakeup)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wakeup, &ev); err != nil {
		closeFD(int32(epoll))
		closeFD(int32(wakeup))
		return nil, &OpError{"epoll_ctl", err}
	}
	l := &Loop{epoll: epoll, wakeup: wakeup, base: time.Now(), listeners: map[int32]*Listener{}}
	l.now = l.clock()
	l.unwatched = l.NewIdle(unwatchedFor)
	return l, nil
}

// Close releases the loop's own descriptors and its unused coroutines; call it
// after Run has returned. Connections still open are closed; tasks that still
// wait are never resumed; what is posted from now on is dropped.
func (l *Loop) Close() {
	for _, c := range l.conns {
		if c != nil {
			c.Close()
		}
	}
	for _, t := range l.free {
		t.stop()
	}
	l.free = nil
	for _, p := range l.pipes.free {
		p.close()
	}
	l.pipes.free = nil
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		closeFD(int32(l.epoll))
		closeFD(int32(l.wakeup))
	}
}

// clock never returns 0, which stands for "no deadline".
func (l *Loop) clock() int64 { return int64(time.Since(l.base)) + 1 }

// Now returns the time at which this turn began, in ns of the loop's own clock.
func (l *Loop) Now() int64 { return l.now }

// Stats returns the counts so far.
func (l *Loop) Stats() Stats { return l.stats }

// Tasks returns how many coroutines the pool holds unused.
func (l *Loop) Tasks() int { return len(l.free) }

// Post runs f on the loop soon. It may be called from any goroutine, also
// before Run; functions run in the order in which they were posted.
func (l *Loop) Post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.posted = append(l.posted, f)
	if len(l.posted) == 1 {
		kick(l.wakeup) // with the lock held, for the sake of Close
	}
}

// Stop makes Run return at the end of its present turn.
func (l *Loop) Stop() { l.Post(func() { l.stopped = true }) }

// Run turns the loop until Stop. Its goroutine is the loop.
func (l *Loop) Run() error {
	events := make([]unix.EpollEvent, 512)
	for !l.stopped {
		n, err := l.await(events)
		if err != nil {
			return err
		}
		l.now = l.clock()
		l.turn.Store(l.now)
		for i := range events[:n] {
			l.dispatch(&events[i])
		}
		l.finish()
		l.measure()
	}
	return nil
}

// await waits for events, at first without leaving the Go scheduler: under load
// the next event comes soon, and each blocking call that it is told of keeps its
// monitor awake, which costs more than the waits do.
func (l *Loop) await(events []unix.EpollEvent) (int, error) {
	ms := 0
	if !l.pending() {
		ms = l.timeout()
	}
	brief := min(uint(ms), briefly) // ms is -1 for ever
	if l.jobs > 0 {
		brief = 0 // they may need the processor
	}
	if n := pollFor(l.epoll, events, brief); n > 0 || ms == 0 {
		return n, nil
	}
	n, err := unix.EpollWait(l.epoll, events, l.timeout())
	if err != nil && err != unix.EINTR {
		return 0, &OpError{"epoll_wait", err}
	}
	return max(n, 0), nil
}

func (l *Loop) dispatch(ev *unix.EpollEvent) {
	if int(ev.Fd) < len(l.conns) {
		if c := l.conns[ev.Fd]; c != nil {
			if c.gen == uint32(ev.Pad) {
				c.event(ev.Events)
			}
			return
		}
	}
	if s := l.listeners[ev.Fd]; s != nil {
		s.accept()
	} else if int(ev.Fd) == l.wakeup {
		l.runPosted()
	}
}

// finish runs what became due in this turn without an event of its own.
func (l *Loop) finish() {
	l.timers.fire(l.now)
	for _, i := range l.idles {
		i.fire(l.now)
	}
	// Only what is queued now: a task that wakes itself must not starve epoll.
	if n := len(l.ready); n > 0 {
		for _, t := range l.ready[:n] {
			t.queued = false
			if t.waiting || t.fresh { // else an event came first
				t.fresh = false
				t.resumeNow()
			}
		}
		l.ready = slices.Delete(l.ready, 0, n)
	}
	if n := len(l.wakes); n > 0 {
		for _, c := range l.wakes[:n] {
			if c.loop != nil && c.owner != nil && c.readable {
				c.wake(false)
			}
		}
		l.wakes = slices.Delete(l.wakes, 0, n)
	}
}

func (l *Loop) pending() bool { return len(l.ready) > 0 || len(l.wakes) > 0 }

func (l *Loop) runPosted() {
	var count [8]byte
	_, _ = unix.Read(l.wakeup, count[:])
	l.mu.Lock()
	fs := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range fs {
		f()
	}
}

// timeout returns how long epoll may block, in ms; -1: until an event.
func (l *Loop) timeout() int {
	at := int64(0)
	if len(l.timers) > 0 {
		at = l.timers[0].at
	}
	for _, i := range l.idles {
		if i.head != nil && i.after > 0 && (at == 0 || i.head.parkedAt+i.after < at) {
			at = i.head.parkedAt + i.after
		}
	}
	if at == 0 {
		return -1
	}
	ms := (at - l.clock() + 999_999) / 1_000_000
	return int(min(max(ms, 0), 60_000))
}

func (l *Loop) measure() {
	took := time.Duration(l.clock() - l.now)
	l.turn.Store(0)
	l.stats.Longest = max(l.stats.Longest, took)
	if took > StallAfter {
		l.stats.Stalls++
	}
}

// Stalled returns the stacks of all goroutines if the present turn has lasted
// longer than StallAfter, else nil. A watcher on another goroutine calls it.
func (l *Loop) Stalled() []byte {
	began := l.turn.Load()
	if began == 0 || time.Duration(l.clock()-began) <= StallAfter {
		return nil
	}
	stacks := make([]byte, 256<<10)
	return stacks[:runtime.Stack(stacks, true)]
}

// newSocket returns a non-blocking stream socket of the given family.
func newSocket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, &OpError{"socket", err}
	}
	return fd, nil
}
