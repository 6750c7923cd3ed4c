package loop

import "golang.org/x/sys/unix"

// Release takes c off its loop and returns the descriptor, which is the caller's
// from then on and as it was; -1 if c is closed. What the socket has received
// stays in it, and Register, here or in another process that has the descriptor,
// goes on with it. No task may be waiting for c.
func (c *Conn) Release() int {
	if c.loop == nil {
		return -1
	}
	c.Unpark()
	_ = unix.EpollCtl(c.loop.epoll, unix.EPOLL_CTL_DEL, int(c.fd), nil) // it is there
	c.loop.conns[c.fd] = nil
	fd := int(c.fd)
	*c = Conn{fd: -1}
	return fd
}
