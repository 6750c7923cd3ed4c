package loop

import (
	"io"
	"slices"
	"testing"
	"time"
)

// A tenant is a parked connection and what became of it.
type tenant struct {
	Conn
	woken, expired int
	onWake         func()
}

func (p *tenant) Wake(_ *Conn, expired bool) {
	p.woken++
	if expired {
		p.expired++
	}
	if p.onWake != nil {
		p.onWake()
	}
}

// tenants returns n registered connections with events of their own over.
func tenants(t *testing.T, l *Loop, n int) ([]*tenant, []io.WriteCloser) {
	t.Helper()
	var all []*tenant
	var peers []io.WriteCloser
	for range n {
		fd, peer := sockets(t)
		p := new(tenant)
		on(t, l, func() {
			if err := l.Register(&p.Conn, fd); err != nil {
				t.Error(err)
			}
		})
		all, peers = append(all, p), append(peers, peer)
	}
	return all, peers
}

func newIdle(t *testing.T, l *Loop, d time.Duration) *Idle {
	t.Helper()
	var list *Idle
	on(t, l, func() { list = l.NewIdle(d) })
	return list
}

func TestParkedConnWakes(t *testing.T) {
	events := map[string]func(io.WriteCloser){
		"data":  func(w io.WriteCloser) { _, _ = io.WriteString(w, "x") },
		"close": func(w io.WriteCloser) { _ = w.Close() },
	}
	for name, event := range events {
		t.Run(name+" later", func(t *testing.T) {
			l := start(t)
			p, peers := tenants(t, l, 1)
			on(t, l, func() { p[0].Park(p[0], l.NewIdle(0)) })
			event(peers[0])
			eventually(t, l, "it wakes", func() bool { return p[0].woken == 1 })
			on(t, l, func() {
				if p[0].expired != 0 || !p[0].Readable() || p[0].idle != nil || p[0].owner != nil {
					t.Errorf("got %+v; want it awake and readable", p[0])
				}
			})
		})
		t.Run(name+" before", func(t *testing.T) {
			l := start(t)
			p, peers := tenants(t, l, 1)
			event(peers[0])
			eventually(t, l, "it is readable", p[0].Readable)
			on(t, l, func() {
				p[0].Park(p[0], nil)
				p[0].Unpark()
				p[0].Park(p[0], nil) // queued twice, woken once
				if p[0].woken != 0 {
					t.Error("woken inside Park")
				}
			})
			on(t, l, func() {
				if p[0].woken != 1 {
					t.Errorf("woken: got %d times; want once", p[0].woken)
				}
			})
		})
	}
}

func TestUnparkedConnDoesNotWake(t *testing.T) {
	l := start(t)
	p, peers := tenants(t, l, 2)
	list := newIdle(t, l, time.Nanosecond)
	on(t, l, func() {
		for _, one := range p {
			one.Park(one, list)
		}
		p[0].Unpark()
		p[1].Close()
		if list.Len() != 0 {
			t.Errorf("Len: got %d; want 0", list.Len())
		}
	})
	_, _ = io.WriteString(peers[0], "x")
	_, _ = io.WriteString(peers[1], "x")
	eventually(t, l, "it is readable", p[0].Readable)
	on(t, l, func() {
		if p[0].woken+p[1].woken != 0 {
			t.Errorf("woken: got %d, %d times; want never", p[0].woken, p[1].woken)
		}
	})
}

func TestWakeMayParkAgain(t *testing.T) {
	l := start(t)
	p, peers := tenants(t, l, 1)
	list := newIdle(t, l, 0)
	on(t, l, func() {
		p[0].onWake = func() {
			if _, err := p[0].TryRead(make([]byte, 10)); err != nil {
				t.Error(err)
			}
			p[0].Park(p[0], list)
		}
		p[0].Park(p[0], list)
	})
	for i := range 5 {
		_, _ = io.WriteString(peers[0], "x")
		eventually(t, l, "it wakes", func() bool { return p[0].woken == i+1 && list.Len() == 1 })
	}
	on(t, l, p[0].Unpark)
}

func TestIdleKeepsTheOrderOfParking(t *testing.T) {
	l := start(t)
	p, _ := tenants(t, l, 4)
	list := newIdle(t, l, time.Hour)
	on(t, l, func() {
		if list.First() != nil || list.Last() != nil {
			t.Errorf("empty: got %v, %v; want nil", list.First(), list.Last())
		}
		for _, one := range p {
			one.Park(one, list)
		}
		check := func(first, last *tenant, n int) {
			t.Helper()
			if list.First() != first || list.Last() != last || list.Len() != n {
				t.Errorf("got %p, %p, %d; want %p, %p, %d", list.First(), list.Last(), list.Len(), first, last, n)
			}
		}
		check(p[0], p[3], 4)
		p[0].Park(p[0], list) // parked again: to the end
		check(p[1], p[0], 4)
		p[0].Unpark()
		p[2].Unpark() // from the middle
		check(p[1], p[3], 2)
		p[3].Unpark()
		check(p[1], p[1], 1)
		p[1].Close()
		if list.First() != nil || list.Last() != nil || list.Len() != 0 {
			t.Error("want it empty")
		}
		p[1].Unpark()
	})
}

func TestIdleExpiresInOrder(t *testing.T) {
	l := start(t)
	p, _ := tenants(t, l, 5)
	list := newIdle(t, l, 10*time.Millisecond)
	var order []int
	var early int64
	on(t, l, func() {
		for i, one := range p {
			parked := l.Now()
			one.onWake = func() {
				order = append(order, i)
				early = max(early, parked+list.after-l.Now())
				one.Close()
			}
			one.Park(one, list)
		}
	})
	eventually(t, l, "all expire", func() bool { return len(order) == len(p) })
	on(t, l, func() {
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) || early > 0 {
			t.Errorf("got order %v, %d ns early at worst", order, early)
		}
		for _, one := range p {
			if one.expired != 1 || one.woken != 1 {
				t.Errorf("got %d wakes, %d expired; want one", one.woken, one.expired)
			}
		}
	})
}

func TestIdleSetAfterAndExpire(t *testing.T) {
	l := start(t)
	p, _ := tenants(t, l, 3)
	list := newIdle(t, l, 0) // for ever
	on(t, l, func() {
		for _, one := range p {
			one.Park(one, list)
		}
		if got := l.timeout(); got != -1 {
			t.Errorf("timeout with nothing to expire: got %d; want -1", got)
		}
		list.SetAfter(time.Millisecond)
	})
	eventually(t, l, "all expire", func() bool { return list.Len() == 0 })
	on(t, l, func() {
		for _, one := range p {
			one.onWake = func() { one.Park(one, list) } // one that does not want to go
			one.Park(one, list)
		}
		list.SetAfter(time.Hour)
		list.Expire()
		if list.Len() != 3 || list.First() != p[0] {
			t.Errorf("got %d left; want all parked again", list.Len())
		}
		for _, one := range p {
			if one.expired != 2 {
				t.Errorf("expired: got %d times; want 2", one.expired)
			}
		}
	})
}

// Expiring connections may end lists, their own and others, and begin new ones.
func TestIdleListsChangeWhileTheyFire(t *testing.T) {
	l := start(t)
	p, _ := tenants(t, l, 3)
	before := 0
	on(t, l, func() {
		before = len(l.idles)
		for _, one := range p {
			list := l.NewIdle(time.Millisecond)
			one.onWake = func() { l.DropIdle(list); l.DropIdle(list); l.NewIdle(time.Hour) }
			one.Park(one, list)
		}
	})
	eventually(t, l, "all expire", func() bool { return p[0].expired+p[1].expired+p[2].expired == 3 })
	on(t, l, func() {
		if got := len(l.idles) - before; got != 3 {
			t.Errorf("lists: got %d more; want the three new ones", got)
		}
	})
}
