//go:build !race

package loop

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A patron is a parked connection that is served by a coroutine: the way of a
// client between two requests.
type patron struct {
	Conn
	list  *Idle
	buf   [256]byte
	limit time.Duration // of reads and writes; 0: none
}

func (p *patron) Wake(c *Conn, expired bool) {
	if expired {
		p.Close()
		return
	}
	c.loop.Spawn(p)
}

func (p *patron) Run(t *Task) {
	for {
		n, err := p.TryRead(p.buf[:])
		if err == nil {
			err = t.Write(&p.Conn, p.buf[:n], t.After(p.limit))
		}
		if err == ErrAgain {
			p.Park(p, p.list)
			return
		}
		if err != nil {
			p.Close()
			return
		}
	}
}

func (p *patron) Crashed(v any, stack []byte) { panic(string(stack)) }

// serving returns a parked patron and the blocking descriptor of its peer, on
// which this process's own goroutine may read and write without allocating.
func serving(t testing.TB, l *Loop) (*patron, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	p := &patron{limit: time.Minute}
	on(t, l, func() {
		p.list = l.NewIdle(time.Hour)
		if err := l.Register(&p.Conn, fds[0]); err != nil {
			t.Error(err)
		}
		p.Park(p, p.list)
	})
	return p, fds[1]
}

func TestParkedExchangeAllocatesNothing(t *testing.T) {
	l := start(t)
	_, peer := serving(t, l)
	b := make([]byte, 128)
	got := testing.AllocsPerRun(500, func() {
		if _, err := unix.Write(peer, b); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(b); {
			k, err := unix.Read(peer, b[n:])
			if k <= 0 {
				t.Fatal(k, err)
			}
			n += k
		}
	})
	if got != 0 {
		t.Errorf("wake, read, write, park: got %v allocations; want 0", got)
	}
}

// Everything that a request's way through a coroutine uses, many times over.
func TestWaitsAllocateNothing(t *testing.T) {
	l := start(t)
	a, b := socketPairOnLoop(t, l)
	var got float64
	far := spawn(l, func(task *Task) {
		buf := make([]byte, 64)
		for {
			n, err := task.Read(b, buf, task.After(time.Minute))
			if err != nil {
				return
			}
			if _, err := b.TryWritev(buf[:n/2], buf[n/2:n]); err != nil {
				t.Error(err)
				return
			}
		}
	})
	near := spawn(l, func(task *Task) {
		buf := make([]byte, 64)
		got = testing.AllocsPerRun(500, func() {
			if err := task.Write(a, buf, task.After(time.Second)); err != nil {
				t.Error(err)
			}
			for n := 0; n < len(buf); {
				k, err := a.TryRead(buf[n:])
				if err == ErrAgain {
					err = task.WaitAny(task.After(time.Minute), a, nil)
				}
				if err != nil {
					t.Error(err)
					return
				}
				n += k
			}
			task.Yield()
			task.Sleep(time.Microsecond)
		})
		a.Close()
	})
	await(t, near)
	await(t, far)
	if got != 0 {
		t.Errorf("Write, WaitAny, TryRead, TryWritev, Yield, Sleep: got %v allocations; want 0", got)
	}
}

// socketPairOnLoop returns two connections on l with each other.
func socketPairOnLoop(t testing.TB, l *Loop) (a, b *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := [2]Conn{}
	on(t, l, func() {
		for i := range conns {
			if err := l.Register(&conns[i], fds[i]); err != nil {
				t.Error(err)
			}
		}
	})
	return &conns[0], &conns[1]
}

// An idle connection is its struct, an entry of a table and nothing else: no
// stack, no buffer, no timer.
func TestMemoryOfParkedConnections(t *testing.T) {
	const parked, most = 10_000, 400
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < parked+100 {
		t.Skipf("needs %d descriptors; there are %d", parked+100, limit.Cur)
	}
	l := start(t)
	fd, _ := sockets(t)
	defer unix.Close(fd)
	var fds []int
	for range parked { // of one socket: only ours are to be measured
		one, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, one)
	}
	goroutines := runtime.NumGoroutine()
	before := heap()
	on(t, l, func() {
		list := l.NewIdle(time.Hour)
		for _, one := range fds {
			p := &struct { // as small as an owner can be
				Conn
				unparked
			}{}
			if err := l.Register(&p.Conn, one); err != nil {
				t.Error(err)
			}
			p.Park(p, list)
		}
		if list.Len() != parked || len(l.timers) != 0 {
			t.Errorf("got %d parked, %d timers; want %d, 0", list.Len(), len(l.timers), parked)
		}
	})
	on(t, l, func() {})
	each := float64(heap()-before) / parked
	if each > most {
		t.Errorf("heap for each parked connection: got %.0f bytes; want at most %d", each, most)
	}
	if n := runtime.NumGoroutine(); n > goroutines+1 {
		t.Errorf("goroutines: got %d more", n-goroutines)
	}
	t.Logf("%.0f bytes of heap for each parked connection", each)
}

// An unparked is woken when the test is over.
type unparked struct{}

func (unparked) Wake(c *Conn, _ bool) { c.Close() }

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
