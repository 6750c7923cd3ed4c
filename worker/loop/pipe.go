package loop

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	pipeBytes = 512 << 10 // asked for; an unprivileged process may get less
	freePipes = 16        // kept open without use
)

// A Pipe carries bytes from one connection to another inside the kernel, so that
// they are not copied. It is filled when empty only: a refusal to fill it is
// then the source's, and one to drain it the sink's.
type Pipe struct {
	loop    *Loop
	in, out int32
	size    int // bytes that it may hold
	held    int // bytes that it holds
}

// pipes are those of a loop.
type pipes struct {
	free []*Pipe
	open int // free or in use
	most int
}

// LimitPipes lets l open n pipes, of two descriptors each; none at first.
func (l *Loop) LimitPipes(n int) { l.pipes.most = n }

// Pipes returns how many pipes are open, in use or not.
func (l *Loop) Pipes() int { return l.pipes.open }

// TakePipe returns an empty pipe, the caller's until Release; nil if none is to
// be had now.
func (l *Loop) TakePipe() *Pipe {
	if n := len(l.pipes.free); n > 0 {
		p := l.pipes.free[n-1]
		l.pipes.free = l.pipes.free[:n-1]
		return p
	}
	if l.pipes.open >= l.pipes.most {
		return nil
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC) != nil {
		return nil // no descriptors or memory: whoever asks can do without
	}
	l.pipes.open++
	size, err := unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeBytes)
	if err != nil {
		size = 64 << 10 // as it was made
	}
	return &Pipe{loop: l, out: int32(fds[0]), in: int32(fds[1]), size: size}
}

// Release gives p back. What it holds still is lost.
func (p *Pipe) Release() {
	free := &p.loop.pipes.free
	if p.held == 0 && len(*free) < freePipes {
		*free = append(*free, p)
		return
	}
	p.close()
}

func (p *Pipe) close() {
	closeFD(p.in)
	closeFD(p.out)
	p.loop.pipes.open--
}

// Held returns how many bytes p holds.
func (p *Pipe) Held() int { return p.held }

// Fill takes up to most bytes from c, and returns what TryRead would. p is empty.
func (p *Pipe) Fill(c *Conn, most int) (int, error) {
	if p.held > 0 {
		panic("bug: filling a pipe that is not empty")
	}
	if !c.readable {
		return 0, c.refuse()
	}
	n, e := splice(c.fd, p.in, min(most, p.size))
	switch {
	case e == syscall.EAGAIN:
		c.readable, c.refused = false, true
		return 0, ErrAgain
	case e != 0:
		return 0, e
	case n == 0 && most > 0:
		return 0, io.EOF
	}
	// A short count does not mean that c is drained: p holds a limited number of
	// pieces, however small they are.
	p.held = n
	return n, nil
}

// Drain gives c what it takes of what p holds, and returns what TryWrite would.
func (p *Pipe) Drain(c *Conn) (int, error) {
	if !c.writable {
		return 0, c.refuse()
	}
	n, e := splice(p.out, c.fd, p.held)
	switch {
	case e == syscall.EAGAIN:
		c.writable, c.refused = false, true
		return 0, ErrAgain
	case e != 0:
		return 0, e
	}
	p.held -= n
	return n, nil
}
