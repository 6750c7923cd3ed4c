package loop

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrAgain says that a Try call would have to wait.
var ErrAgain = errors.New("would block")

// Parked owns a parked connection and is told when that ends.
type Parked interface {
	// Wake is called on the loop, outside any coroutine, when c has something
	// to read or was closed by its peer, or, expired, when it was parked for
	// its list's time. c is no longer parked then.
	Wake(c *Conn, expired bool)
}

// A Conn is a non-blocking stream socket registered edge-triggered with a Loop,
// which closes its descriptor in Close. The zero Conn is not registered. It is
// meant to be embedded in what it belongs to.
type Conn struct {
	loop *Loop
	fd   int32
	gen  uint32 // told apart from earlier connections with this descriptor

	readable bool // an edge came and the socket was not drained since
	writable bool // no write was refused since the last edge
	watched  bool // epoll knows it; until it does, readable is a guess
	refused  bool // a Try call found nothing, or no room: edges are wanted
	hup      bool // the peer closed its side: reads never block again
	failed   bool // the socket has an error, or both sides are closed

	waiter *Task  // resumed on an edge
	owner  Parked // woken on an edge while parked

	idle       *Idle
	prev, next *Conn
	parkedAt   int64
}

// Register puts fd, a non-blocking stream socket that c owns from now on, on l.
func (l *Loop) Register(c *Conn, fd int) error {
	l.Adopt(c, fd)
	c.readable = false
	if err := c.watch(); err != nil {
		c.Close()
		return err
	}
	return nil
}

// Adopt is Register put off until there is something to wait for: what can be
// read and answered at once then never costs the calls that epoll does. The
// first read of c is a guess that there is something.
func (l *Loop) Adopt(c *Conn, fd int) {
	for fd >= len(l.conns) {
		l.conns = append(l.conns, make([]*Conn, max(64, len(l.conns)))...)
	}
	l.generation++
	*c = Conn{loop: l, fd: int32(fd), gen: l.generation, readable: true, writable: true}
	l.conns[fd] = c
}

// watch tells epoll of c. What is there to be read already makes an edge, too.
func (c *Conn) watch() error {
	if c.idle == c.loop.unwatched {
		c.idle.remove(c)
	}
	c.watched = true
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | epollet, Fd: c.fd, Pad: int32(c.gen)}
	if err := unix.EpollCtl(c.loop.epoll, unix.EPOLL_CTL_ADD, int(c.fd), &ev); err != nil {
		return &OpError{"epoll_ctl", err}
	}
	return nil
}

// await prepares c for a wait. Who waits for something of c needs its edges now;
// who only wants to hear if it breaks meanwhile can do without for a moment, in
// which most waits are over.
func (c *Conn) await(t *Task) {
	c.waiter = t
	switch {
	case c.watched || c.loop == nil:
	case c.refused:
		c.mustWatch()
	case c.idle == nil:
		c.parkedAt = c.loop.now
		c.loop.unwatched.push(c)
	}
}

// mustWatch is watch for callers that cannot fail. A connection that cannot be
// waited for is broken, for its peer too.
func (c *Conn) mustWatch() {
	if c.watch() != nil {
		_ = unix.Shutdown(int(c.fd), unix.SHUT_RDWR)
		c.hup, c.failed, c.readable, c.writable = true, true, true, true
		if c.waiter != nil {
			c.waiter.enqueue() // not Wake: it may be about to wait
		}
	}
}

// Open reports whether c is registered and not closed.
func (c *Conn) Open() bool { return c.loop != nil }

// Loop returns the loop that c is on; nil after Close.
func (c *Conn) Loop() *Loop { return c.loop }

// FD returns the descriptor, which stays c's; -1 after Close.
func (c *Conn) FD() int { return int(c.fd) }

// Readable reports whether a read may make progress without waiting.
func (c *Conn) Readable() bool { return c.readable }

// Writable reports whether no write was refused since the socket last had room.
func (c *Conn) Writable() bool { return c.writable }

// Gone reports whether the peer has closed at least its sending side.
func (c *Conn) Gone() bool { return c.hup }

// Failed reports whether the connection is broken in both directions.
func (c *Conn) Failed() bool { return c.failed }

// refuse is the error of a Try call that cannot be made.
func (c *Conn) refuse() error {
	if c.loop == nil {
		return net.ErrClosed
	}
	c.refused = true
	return ErrAgain // the edge that says otherwise has not come
}

// TryRead receives once into b. It returns ErrAgain if nothing is there, io.EOF
// after the peer's last byte, net.ErrClosed after Close, or the socket's error.
func (c *Conn) TryRead(b []byte) (int, error) {
	if !c.readable {
		return 0, c.refuse()
	}
	n, e := recv(c.fd, b)
	switch {
	case e == syscall.EAGAIN:
		c.readable, c.refused = false, true
		return 0, ErrAgain
	case e != 0:
		return 0, e
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	// A short read means drained, which saves the read that would say EAGAIN;
	// but an EOF that came along with the data makes no further edge.
	if n < len(b) && !c.hup {
		c.readable = false
	}
	return n, nil
}

// Quiet asks the kernel whether the connection is open and has nothing to read,
// also if the event that would say otherwise has not been delivered yet.
func (c *Conn) Quiet() bool {
	if c.loop == nil || peek(c.fd) != syscall.EAGAIN {
		return false
	}
	c.readable = false // it may have been a guess
	return true
}

// Unsent asks the kernel whether it still holds bytes that the peer has not
// acknowledged.
func (c *Conn) Unsent() bool {
	n, err := unix.IoctlGetInt(int(c.fd), unix.SIOCOUTQ)
	return err == nil && n > 0
}

// TryWrite sends what the socket takes of b, and returns ErrAgain if that is
// nothing.
func (c *Conn) TryWrite(b []byte) (int, error) {
	if !c.writable {
		return 0, c.refuse()
	}
	n, e := send(c.fd, b)
	return c.sent(n, e, len(b))
}

// TryWritev is TryWrite of up to four slices in turn, with one system call.
func (c *Conn) TryWritev(bufs ...[]byte) (int, error) { return c.gather(bufs, 0) }

// TryWriteLast is TryWritev of what nothing is written after: the kernel may keep
// the end of it back until CloseWrite, and then sends it in one segment with the
// FIN, which spares the peer a packet and a wake-up, and us their cost.
func (c *Conn) TryWriteLast(bufs ...[]byte) (int, error) { return c.gather(bufs, unix.MSG_MORE) }

func (c *Conn) gather(bufs [][]byte, flags uintptr) (int, error) {
	if !c.writable {
		return 0, c.refuse()
	}
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	n, e := c.loop.vec.send(c.fd, bufs, flags)
	return c.sent(n, e, total)
}

func (c *Conn) sent(n int, e syscall.Errno, want int) (int, error) {
	switch {
	case e == syscall.EAGAIN:
		c.writable, c.refused = false, true
		return 0, ErrAgain
	case e != 0:
		return 0, e
	}
	if n < want {
		c.writable, c.refused = false, true
	}
	return n, nil
}

// CloseWrite sends FIN: the peer reads an end of file; reads go on.
func (c *Conn) CloseWrite() {
	if c.loop != nil {
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR) // fails only if the peer is gone already
	}
}

// Close closes the socket. Bytes already accepted by the kernel are still sent,
// unless unread input makes the kernel send RST. A task that waits for c goes on
// and finds it closed. Closing twice is harmless.
func (c *Conn) Close() {
	if c.loop == nil {
		return
	}
	c.Unpark()
	c.loop.conns[c.fd] = nil
	closeFD(c.fd)
	waiter := c.waiter
	c.loop, c.waiter = nil, nil
	// The number may be another connection's at once: nothing may use it again.
	c.fd, c.readable, c.writable = -1, false, false
	if waiter != nil {
		waiter.Wake()
	}
}

// Abort closes the socket with RST, so that the peer cannot take what it has
// received so far for the whole.
func (c *Conn) Abort() {
	if c.loop == nil {
		return
	}
	_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	c.Close()
}

// Park leaves c to the loop until something happens on it: then owner.Wake is
// called once. in may be nil: no expiry. A connection with something to read
// already is woken at the end of this turn.
func (c *Conn) Park(owner Parked, in *Idle) {
	c.Unpark()
	c.owner = owner
	c.waiter = nil
	if in != nil {
		c.parkedAt = c.loop.now
		in.push(c)
	}
	if !c.watched && !c.readable {
		c.mustWatch()
	}
	if c.readable {
		c.loop.wakes = append(c.loop.wakes, c)
	}
}

// Unpark takes c back before anything happened on it.
func (c *Conn) Unpark() {
	if c.idle != nil {
		c.idle.remove(c)
	}
	c.owner = nil
}

func (c *Conn) wake(expired bool) {
	owner := c.owner
	c.Unpark()
	owner.Wake(c, expired)
}

// wakeExpired is called when c's time in its list is over.
func (c *Conn) wakeExpired() {
	if c.idle == c.loop.unwatched {
		c.mustWatch()
		return
	}
	c.wake(true)
}

// event notes what epoll reported and hands the connection to who waits for it.
func (c *Conn) event(events uint32) {
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.hup, c.readable = true, true
		if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			c.failed, c.writable = true, true // a write does not wait: it fails
		}
	}
	if events&unix.EPOLLIN != 0 {
		c.readable = true
	}
	if events&unix.EPOLLOUT != 0 {
		c.writable = true
	}
	switch {
	case c.waiter != nil:
		c.waiter.resumeNow()
	case c.owner != nil && c.readable:
		c.wake(false)
	}
}
