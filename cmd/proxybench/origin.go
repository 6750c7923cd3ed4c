package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// An origin answers every request alike, on two ports so that a proxy has two
// servers to choose from. It knows a request by the empty line after its head:
// GET without a body is all that comes.
type origin struct {
	poll      *poller
	listeners [2]int32
	response  []byte
	conns     [maxFDs]originConn
	buf       [64 << 10]byte
}

type originConn struct {
	end      headEnd
	owed     int // responses not yet fully sent
	sent     int // bytes of the first of them
	wantsOut bool
}

// runOrigin is the role: origin BODY PORT PORT.
func runOrigin(args []string) error {
	if len(args) != 3 {
		return errors.New("want a size and two ports")
	}
	body, err := strconv.Atoi(args[0])
	if err != nil || body < 0 {
		return fmt.Errorf("got %q; want the size of a body", args[0])
	}
	ports, err := parsePorts(args[1:], 2)
	if err != nil {
		return err
	}
	becomeLoop()
	o := &origin{response: makeResponse(body)}
	if o.poll, err = newPoller(); err != nil {
		return err
	}
	for i, port := range ports {
		if o.listeners[i], err = listen(port); err != nil {
			return err
		}
		if err := o.poll.watch(o.listeners[i], o.listeners[i]); err != nil {
			return err
		}
	}
	o.serve()
	return nil
}

func makeResponse(body int) []byte {
	head := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", body)
	return append(head, bytes.Repeat([]byte("o"), body)...)
}

// serve returns when the parent has gone.
func (o *origin) serve() {
	for {
		events := o.poll.wait(time.Second)
		if len(events) == 0 && o.poll.orphaned() {
			return
		}
		for i := range events {
			fd := events[i].Fd
			if fd == o.listeners[0] || fd == o.listeners[1] {
				o.accept(fd)
			} else if o.read(fd) {
				o.write(fd)
			}
		}
	}
}

func (o *origin) accept(listener int32) {
	for {
		fd, ok := accept(listener)
		if !ok {
			return
		}
		if fd >= maxFDs || o.poll.watch(fd, fd) != nil {
			closeFD(fd)
			continue
		}
		noDelay(fd)
		o.conns[fd] = originConn{}
	}
}

// read counts the requests that came, and reports false if the connection ended.
func (o *origin) read(fd int32) bool {
	n, e := recv(fd, o.buf[:])
	switch {
	case e == syscall.EAGAIN:
		return true
	case e != 0 || n == 0:
		closeFD(fd)
		return false
	}
	c := &o.conns[fd]
	c.owed += c.end.count(o.buf[:n])
	return true
}

// write sends what is owed, as far as the socket takes it.
func (o *origin) write(fd int32) {
	c := &o.conns[fd]
	for c.owed > 0 {
		n, e := send(fd, o.response[c.sent:])
		if e != 0 { // if it is not EAGAIN, the next read tells
			break
		}
		if c.sent += n; c.sent == len(o.response) {
			c.sent = 0
			c.owed--
		}
	}
	if want := c.owed > 0; want != c.wantsOut {
		c.wantsOut = want
		o.poll.watchOut(fd, want)
	}
}

// headEnd finds the ends of heads in a stream, however it is cut. It is how many
// bytes of the mark have just been seen.
type headEnd int

func (h *headEnd) count(b []byte) int {
	const mark = "\r\n\r\n"
	n := 0
	for _, x := range b {
		switch {
		case x == mark[*h]:
			if *h++; *h == headEnd(len(mark)) {
				n++
				*h = 0
			}
		case x == '\r':
			*h = 1
		default:
			*h = 0
		}
	}
	return n
}
