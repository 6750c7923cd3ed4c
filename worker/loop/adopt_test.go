package loop

import (
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// adopt is pair with Adopt.
func adopt(t testing.TB, l *Loop) (*Conn, net.Conn) {
	t.Helper()
	fd, peer := sockets(t)
	c := new(Conn)
	on(t, l, func() { l.Adopt(c, fd) })
	return c, peer
}

// A connection that is answered at once is never told to epoll.
func TestAdopted(t *testing.T) {
	l := start(t)
	c, peer := adopt(t, l)
	if _, err := io.WriteString(peer, "ask"); err != nil {
		t.Fatal(err)
	}
	woken := make(chan struct{})
	on(t, l, func() {
		c.Park(owner(func(*Conn, bool) { close(woken) }), nil)
	})
	await(t, woken) // to look: nobody knows yet
	b := make([]byte, 10)
	on(t, l, func() {
		if n, err := c.TryRead(b); string(b[:n]) != "ask" || err != nil {
			t.Errorf("TryRead: got %q, %v", b[:n], err)
		}
		if _, err := c.TryWriteLast([]byte("ans"), []byte("wer")); err != nil || c.watched {
			t.Errorf("TryWriteLast: got %v, watched %v; want neither", err, c.watched)
		}
		c.CloseWrite()
		c.Close()
	})
	if got, err := io.ReadAll(peer); string(got) != "answer" || err != nil {
		t.Errorf("peer: got %q, %v; want %q", got, err, "answer")
	}
}

// One that is parked, or waited for, is woken like any other.
func TestAdoptedWaits(t *testing.T) {
	l := start(t)
	c, peer := adopt(t, l)
	woken := make(chan bool, 1)
	list := (*Idle)(nil)
	on(t, l, func() {
		list = l.NewIdle(1)
		if _, err := c.TryRead(make([]byte, 1)); err != ErrAgain {
			t.Errorf("TryRead: got %v; want %v", err, ErrAgain)
		}
		c.Park(owner(func(_ *Conn, expired bool) { woken <- expired }), list)
	})
	if expired := <-woken; !expired {
		t.Error("parked: not expired")
	}
	other, late := adopt(t, l)
	done := spawn(l, func(task *Task) {
		b := make([]byte, 10)
		for _, from := range []*Conn{c, other} {
			if n, err := task.Read(from, b, task.After(patience)); string(b[:n]) != "later" || err != nil {
				t.Errorf("Read: got %q, %v", b[:n], err)
			}
		}
	})
	for i, w := range []net.Conn{peer, late} {
		waits := []*Conn{c, other}[i]
		eventually(t, l, "the task waits", func() bool { return waits.waiter != nil })
		if _, err := io.WriteString(w, "later"); err != nil {
			t.Fatal(err)
		}
	}
	await(t, done)
}

// A wait for something else notices after a moment that an adopted connection
// breaks.
func TestAdoptedBreaksMeanwhile(t *testing.T) {
	l := start(t)
	c, peer := adopt(t, l)
	slow, _ := pair(t, l)
	done := spawn(l, func(task *Task) {
		for !c.Gone() {
			if err := task.WaitAny(task.After(patience), c, slow); err != nil {
				t.Errorf("WaitAny: %v", err)
				return
			}
		}
	})
	eventually(t, l, "the task waits", func() bool { return slow.waiter != nil })
	peer.Close()
	await(t, done)
}

// One that cannot be watched, for want of memory or watches, is broken: it is
// neither waited for in vain nor asked again and again.
func TestAdoptedCannotBeWatched(t *testing.T) {
	l := start(t)
	for _, how := range []string{"parked", "waited for"} {
		f, err := os.CreateTemp(t.TempDir(), "") // epoll refuses files
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Dup(int(f.Fd()))
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		var c Conn
		on(t, l, func() { l.Adopt(&c, fd); c.readable, c.refused = false, true })
		if how == "parked" {
			woken := make(chan struct{})
			on(t, l, func() { c.Park(owner(func(*Conn, bool) { close(woken) }), nil) })
			await(t, woken)
		} else {
			await(t, spawn(l, func(task *Task) {
				if err := task.WaitAny(task.After(patience), &c, nil); err != nil {
					t.Errorf("WaitAny: %v", err)
				}
			}))
		}
		on(t, l, func() {
			if !c.Failed() || !c.Gone() {
				t.Errorf("%s: got failed %v, gone %v; want both", how, c.Failed(), c.Gone())
			}
			c.Close()
		})
	}
}
