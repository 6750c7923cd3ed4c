package main

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A relay is the floor: the least that a proxy on sockets pays. Each client gets
// an upstream connection of its own; bytes go both ways, unread and unbuffered.
type relay struct {
	poll     *poller
	upstream *unix.SockaddrInet4
	listener int32
	other    [maxFDs]int32 // the connection that a descriptor's bytes go to, 0: none
	buf      [64 << 10]byte
}

// runRelay is the role: relay PORT UPSTREAM.
func runRelay(args []string) error {
	ports, err := parsePorts(args, 2)
	if err != nil {
		return err
	}
	becomeLoop()
	r := &relay{upstream: loopback(ports[1])}
	if r.poll, err = newPoller(); err != nil {
		return err
	}
	if r.listener, err = listen(ports[0]); err != nil {
		return err
	}
	if err := r.poll.watch(r.listener, r.listener); err != nil {
		return err
	}
	r.serve()
	return nil
}

// serve returns when the parent has gone.
func (r *relay) serve() {
	for {
		events := r.poll.wait(time.Second)
		if len(events) == 0 && r.poll.orphaned() {
			return
		}
		for i := range events {
			if fd := events[i].Fd; fd == r.listener {
				r.accept()
			} else if other := r.other[fd]; other != 0 {
				r.copy(fd, other)
			}
		}
	}
}

func (r *relay) accept() {
	for {
		client, ok := accept(r.listener)
		if !ok {
			return
		}
		server, err := connect(r.upstream)
		if err != nil {
			closeFD(client)
			continue
		}
		if client >= maxFDs || server >= maxFDs || r.poll.watch(client, client) != nil || r.poll.watch(server, server) != nil {
			closeFD(client)
			closeFD(server)
			continue
		}
		noDelay(client)
		r.other[client], r.other[server] = server, client
	}
}

// copy moves what there is, up to a buffer, and ends both connections when one
// ends. A receiver that is full is waited for by everybody: a floor keeps no
// bytes, and the load generator always reads on.
func (r *relay) copy(from, to int32) {
	n, e := recv(from, r.buf[:])
	if e == syscall.EAGAIN { // an event for the descriptor's earlier owner
		return
	}
	if e != 0 || n == 0 {
		r.end(from, to)
		return
	}
	for rest := r.buf[:n]; len(rest) > 0; {
		n, e := send(to, rest)
		if e == 0 {
			rest = rest[n:]
		} else if e != syscall.EAGAIN || !awaitWritable(to, 5*time.Second) {
			r.end(from, to)
			return
		}
	}
}

func (r *relay) end(a, b int32) {
	r.other[a], r.other[b] = 0, 0
	closeFD(a)
	closeFD(b)
}

// parsePorts reads n ports.
func parsePorts(args []string, n int) ([]int, error) {
	ports := make([]int, len(args))
	for i, a := range args {
		if _, err := fmt.Sscanf(a, "%d", &ports[i]); err != nil || ports[i] < 1 || ports[i] > 65535 {
			return nil, fmt.Errorf("got %q; want a port", a)
		}
	}
	if len(ports) != n {
		return nil, fmt.Errorf("got %d ports; want %d", len(ports), n)
	}
	return ports, nil
}
