package loop

import (
	"slices"
	"time"
)

// An Idle holds parked connections in the order in which they were parked and
// wakes each, expired, when it has been parked for the list's time. All entries
// wait equally long, so the list is its own timer: parking is two pointers.
type Idle struct {
	after      int64 // ns; 0: for ever
	head, tail *Conn
	count      int
}

// NewIdle returns a list whose connections expire after d; 0 means never.
func (l *Loop) NewIdle(d time.Duration) *Idle {
	i := &Idle{after: int64(d)}
	l.idles = append(l.idles, i)
	return i
}

// DropIdle forgets a list that holds no connection any more.
func (l *Loop) DropIdle(i *Idle) {
	if k := slices.Index(l.idles, i); k >= 0 {
		l.idles = slices.Delete(slices.Clone(l.idles), k, k+1) // finish may be walking the old
	}
}

// Len returns how many connections are parked in i.
func (i *Idle) Len() int { return i.count }

// Last returns the owner of the connection parked last, nil if there is none.
func (i *Idle) Last() Parked {
	if i.tail == nil {
		return nil
	}
	return i.tail.owner
}

// First returns the owner of the connection parked first, nil if there is none.
func (i *Idle) First() Parked {
	if i.head == nil {
		return nil
	}
	return i.head.owner
}

// Each calls f with the owners of the connections parked in i, first to last, until
// it returns false. f may take the connection out.
func (i *Idle) Each(f func(Parked) bool) {
	for c := i.head; c != nil; {
		next := c.next
		if !f(c.owner) {
			return
		}
		c = next
	}
}

// SetAfter changes the time after which connections of i expire, those already
// parked included.
func (i *Idle) SetAfter(d time.Duration) { i.after = int64(d) }

// Expire wakes every connection parked in i at once, as expired. Those that their
// owners park again meanwhile stay.
func (i *Idle) Expire() {
	for n := i.count; n > 0 && i.head != nil; n-- {
		i.head.wakeExpired()
	}
}

func (i *Idle) push(c *Conn) {
	c.idle, c.prev, c.next = i, i.tail, nil
	if i.tail != nil {
		i.tail.next = c
	} else {
		i.head = c
	}
	i.tail = c
	i.count++
}

func (i *Idle) remove(c *Conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		i.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		i.tail = c.prev
	}
	c.idle, c.prev, c.next = nil, nil, nil
	i.count--
}

func (i *Idle) fire(now int64) {
	for i.after > 0 && i.head != nil && i.head.parkedAt+i.after <= now {
		i.head.wakeExpired()
	}
}
