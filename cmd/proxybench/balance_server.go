package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A fleet is fifty servers in this process, 127.0.2.1 to 127.0.2.50, on one port.
type fleet struct {
	servers [fleetSize]*server
	port    int

	asked, probed atomic.Int64 // requests that came, for healthPath and for others
}

// healthPath is what health checks ask for.
const healthPath = "/health"

// A server is one of a fleet. It answers GET requests without bodies.
type server struct {
	fleet   *fleet
	address string
	handled sync.WaitGroup // its connections, and its accepting

	mu       sync.Mutex
	is       condition
	changed  chan struct{}         // closed when is changes
	listener net.Listener          // nil: it refuses connections
	conns    map[*net.TCPConn]bool // whether a request is under way
}

// startFleet has all servers healthy.
func startFleet() (*fleet, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	f := &fleet{port: port}
	for i := range f.servers {
		f.servers[i] = &server{
			fleet: f, address: fmt.Sprintf("127.0.2.%d:%d", i+1, port), is: condition{ill: dead},
			changed: make(chan struct{}), conns: make(map[*net.TCPConn]bool),
		}
	}
	for _, s := range f.servers {
		if err := s.become(healthy); err != nil {
			f.stop()
			return nil, err
		}
	}
	return f, nil
}

// stop ends all servers and their connections.
func (f *fleet) stop() {
	for _, s := range f.servers {
		_ = s.become(condition{ill: dead}) // closes, which cannot fail
	}
	for _, s := range f.servers {
		s.handled.Wait()
	}
}

// play does what script says, until it is over or stop is closed.
func (f *fleet) play(script script, stop <-chan struct{}) error {
	began := time.Now()
	for _, c := range script {
		select {
		case <-stop:
			return nil
		case <-time.After(time.Until(began.Add(c.at))):
		}
		if err := f.servers[c.server].become(c.to); err != nil {
			return err
		}
	}
	return nil
}

// become changes how s is.
func (s *server) become(c condition) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.is = c
	close(s.changed)
	s.changed = make(chan struct{})
	switch {
	case c.ill == dead || c.ill == leaving:
		s.close(c.ill == dead)
	case s.listener == nil:
		if s.listener, err = net.Listen("tcp4", s.address); err == nil {
			s.handled.Add(1)
			go s.accept(s.listener)
		}
	}
	return err
}

// close ends what s has open; connections with a request under way only if all.
func (s *server) close(all bool) {
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
	for c, busy := range s.conns {
		switch {
		case all:
			reset(c)
		case !busy:
			c.Close()
		}
	}
}

// reset ends a connection as the kernel does for a process that dies.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

func (s *server) accept(l net.Listener) {
	defer s.handled.Done()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as for want of descriptors
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.handled.Add(1)
		go s.serve(c.(*net.TCPConn))
	}
}

func (s *server) serve(c *net.TCPConn) {
	defer s.handled.Done()
	defer c.Close()
	if !s.mark(c, false) {
		reset(c)
		return
	}
	defer s.forget(c)
	for r := bufio.NewReader(c); ; {
		path, err := readRequest(r)
		if err != nil || !s.mark(c, true) || !s.answer(c, path) || !s.mark(c, false) {
			return
		}
	}
}

// mark notes whether c has a request under way, and reports whether it may go on.
func (s *server) mark(c *net.TCPConn, busy bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = busy
	return s.listener != nil
}

func (s *server) forget(c *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// readRequest returns the path that a request asks for.
func readRequest(r *bufio.Reader) (path string, err error) {
	var end headEnd
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if path == "" {
			fields := bytes.Fields(line)
			if len(fields) != 3 {
				return "", fmt.Errorf("got %q; want a request", line)
			}
			path = string(fields[1])
		}
		if end.count(line) > 0 {
			return path, nil
		}
	}
}

var (
	page    = string(makeResponse(1 << 10))
	refusal = strings.Replace(string(makeResponse(0)), "200 OK", "503 Service Unavailable", 1)
)

// answer reports whether the connection can serve on.
func (s *server) answer(c *net.TCPConn, path string) bool {
	probe := path == healthPath
	if probe {
		s.fleet.probed.Add(1)
	} else {
		s.fleet.asked.Add(1)
	}
	is := s.await()
	time.Sleep(is.delay)
	var err error
	switch {
	case is.ill == failing, is.ill == unfit && !probe:
		_, err = c.Write([]byte(refusal))
	case is.ill == cutting && !probe:
		_, _ = c.Write([]byte(page[:len(page)/2]))
		time.Sleep(quick) // so that the half gets out first
		reset(c)
		return false
	default:
		_, err = c.Write([]byte(page))
	}
	return err == nil
}

// await returns how s is as soon as it is not stuck.
func (s *server) await() condition {
	for {
		s.mu.Lock()
		is, changed := s.is, s.changed
		s.mu.Unlock()
		if is.ill != stuck {
			return is
		}
		<-changed
	}
}

// addresses are those of all servers.
func (f *fleet) addresses() (all []string) {
	for _, s := range f.servers {
		all = append(all, s.address)
	}
	return all
}
