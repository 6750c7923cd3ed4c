package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// A client has at most one connection and one request.
type client struct {
	fd       int32 // -1: none
	index    int32
	busy     bool
	answered bool          // oneShot: but the connection's end is still to come
	began    time.Duration // since base
	response response
}

// begin sends c's next request, over a new connection if it has none.
func (l *load) begin(c *client, now time.Duration) {
	for l.result.Failed < maxFailures {
		err := l.try(c)
		if err == nil {
			c.began, c.busy = now, true
			l.busy++
			return
		}
		l.fail(c, err)
	}
}

func (l *load) try(c *client) (err error) {
	if c.fd < 0 {
		if c.fd, err = connect(l.to); err != nil {
			return err
		}
		if err := l.poll.watch(c.fd, c.index); err != nil {
			return err
		}
	}
	n, e := send(c.fd, l.request)
	if e != 0 {
		return os.NewSyscallError("send", e)
	}
	if n < len(l.request) {
		return errors.New("the request does not fit into an empty socket")
	}
	return nil
}

// read takes what came for c.
func (l *load) read(c *client) {
	n, e := recv(c.fd, l.buf[:])
	switch {
	case c.fd < 0 || e == syscall.EAGAIN: // an event of c's connection before
	case !c.busy:
		l.drop(c) // bytes or an end that no request waits for
	case e != 0:
		l.lose(c, os.NewSyscallError("recv", e))
	case n == 0 && c.answered:
		l.drop(c)
		l.next(c)
	case n == 0:
		l.lose(c, errors.New("the connection ended before the response"))
	case c.answered:
		l.lose(c, errTooMuch)
	default:
		complete, err := c.response.take(l.buf[:n], l.body)
		if err != nil {
			l.lose(c, err)
		} else if complete {
			l.answer(c)
		}
	}
}

// answer counts c's response. With oneShot the request is over when the proxy
// has closed: by closing first the client would run out of ports.
func (l *load) answer(c *client) {
	l.latencies.add(l.clock() - c.began)
	if l.oneShot {
		c.answered = true
		return
	}
	l.next(c)
}

// next counts c's request as answered and goes on.
func (l *load) next(c *client) {
	l.result.OK++
	l.free(c)
}

// lose counts c's request as failed and goes on.
func (l *load) lose(c *client, err error) {
	l.fail(c, err)
	l.free(c)
}

// free ends c's request, and begins another if there is time.
func (l *load) free(c *client) {
	c.busy, c.answered = false, false
	l.busy--
	if now := l.clock(); now < l.until {
		l.begin(c, now)
	}
}

func (l *load) fail(c *client, err error) {
	if l.result.Failed++; l.result.Failed == 1 {
		l.result.Complaint = err.Error()
	}
	l.drop(c)
}

func (l *load) drop(c *client) {
	if c.fd >= 0 {
		closeFD(c.fd)
	}
	c.fd, c.response = -1, response{head: c.response.head[:0]}
}

// sweep gives up requests that take too long.
func (l *load) sweep() {
	now := l.clock()
	if now-l.swept < time.Second {
		return
	}
	l.swept = now
	for i := range l.clients {
		if c := &l.clients[i]; c.busy && now-c.began > requestPatience {
			l.lose(c, fmt.Errorf("no response within %v", requestPatience))
		}
	}
}
