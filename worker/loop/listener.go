package loop

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	acceptBatch = 8                      // connections taken per event, so that sibling workers get theirs
	acceptPause = 100 * time.Millisecond // after an error of the process, not of a connection
	acceptTurn  = 10 * time.Millisecond  // for which the same process is the first to be woken
)

// A Listener takes connections from a listening socket that other processes
// share. It does not own the socket: Close leaves it open.
type Listener struct {
	loop   *Loop
	fd     int32
	handle func(fd int, peer netip.AddrPort)
	active bool
	queued int64 // loop time since which it has its place among the processes that wait
	retry  timer
}

// Listen starts taking connections from fd, a non-blocking listening socket.
// handle is called on the loop for each with a non-blocking descriptor, which
// it owns; peer is the zero AddrPort for unix sockets.
//
// EPOLLEXCLUSIVE: an incoming connection wakes one waiting process, not all. The
// kernel asks them in the order in which they came and would always find the same
// one ready under little load, so who was first takes another place every now and
// then.
func (l *Loop) Listen(fd int, handle func(fd int, peer netip.AddrPort)) (*Listener, error) {
	s := &Listener{loop: l, fd: int32(fd), handle: handle}
	s.retry.due = func(int64) { _ = s.Resume() } // it tries again by itself
	// Accepted TCP connections inherit it, which saves a call for each.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	l.listeners[s.fd] = s
	if err := s.Resume(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Pause stops taking connections; they wait in the kernel's queue.
func (s *Listener) Pause() {
	s.loop.timers.remove(&s.retry)
	if s.active {
		s.active = false
		_ = unix.EpollCtl(s.loop.epoll, unix.EPOLL_CTL_DEL, int(s.fd), nil)
	}
}

// Resume takes connections again. If that fails, it is tried again every now and
// then until it succeeds or Pause is called.
func (s *Listener) Resume() error {
	if s.active {
		return nil
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE, Fd: s.fd}
	if err := unix.EpollCtl(s.loop.epoll, unix.EPOLL_CTL_ADD, int(s.fd), &ev); err != nil {
		s.pauseFor(acceptPause)
		return &OpError{"epoll_ctl", err}
	}
	s.active, s.queued = true, s.loop.now
	return nil
}

func (s *Listener) pauseFor(d time.Duration) {
	s.Pause()
	s.loop.timers.set(&s.retry, s.loop.now+int64(d))
}

// Drain takes what is queued now, without regard to batches.
func (s *Listener) Drain() {
	for s.active && s.take() {
		continue
	}
}

// Close stops for good and forgets the socket, which stays open.
func (s *Listener) Close() {
	s.Pause()
	delete(s.loop.listeners, s.fd)
}

// accept takes a batch. A full queue makes the next turn come at once, since
// listening sockets are level-triggered.
func (s *Listener) accept() {
	for n := 0; n < acceptBatch && s.active && s.take(); n++ { // handle may have paused it
	}
	if s.active && s.loop.now-s.queued >= int64(acceptTurn) {
		s.Pause()
		_ = s.Resume() // it tries again by itself
	}
}

// take accepts one connection and reports whether there may be more.
func (s *Listener) take() bool {
	fd, e := s.loop.peer.accept(s.fd)
	switch e {
	case 0:
		s.handle(fd, s.loop.peer.address())
	case syscall.EAGAIN:
		return false
	case syscall.EINTR, syscall.ECONNABORTED, syscall.EPROTO:
		// That one connection died in the queue (accept(2)): the next may be well.
	case syscall.EINVAL, syscall.EBADF, syscall.ENOTSOCK, syscall.EOPNOTSUPP:
		s.Pause() // it was shut down, or is no listener: trying again changes nothing
		return false
	default: // no descriptors or memory, or forbidden: at once it would be the same
		s.loop.stats.Pauses++
		s.pauseFor(acceptPause)
		return false
	}
	return true
}
