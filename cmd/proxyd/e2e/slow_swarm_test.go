package e2e

import (
	"net"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A swarm is a slow attack: clients that keep their connections for as long as
// they are let, and give nothing or take nothing. One goroutine drives them all,
// so that they cost the machine little.
type swarm struct {
	clients int
	address string
	first   string // sent by each at once
	trickle string // sent by each every half second
	window  int    // bytes that each is ready to receive unread; 0: as usual

	epoll int
	list  []attacker
	left  int // not cut yet
	peak  int // of the workers' memory while it attacked, in bytes
}

// An attacker is one client of a swarm.
type attacker struct {
	fd    int
	began time.Time     // when it had sent first
	held  time.Duration // until it was cut; 0: not yet
}

const (
	swarmTick    = 10 * time.Millisecond
	swarmTrickle = 50 // ticks
	swarmRate    = 25 // clients that connect in a tick
)

// attack runs the swarm until the proxy has cut all of it, or for long enough.
// What is still connected then stays so until the test ends, as do those that
// were cut: an attacker does not close.
func (s *swarm) attack(t *testing.T, p *proxy, limit time.Duration) {
	t.Helper()
	var err error
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	s.left = s.clients
	ticker := time.NewTicker(swarmTick)
	defer ticker.Stop()
	over := time.Now().Add(limit)
	for tick := 0; s.left > 0 && time.Now().Before(over); tick++ {
		<-ticker.C
		for range min(swarmRate, s.clients-len(s.list)) {
			s.join(t)
		}
		s.watch(t)
		if tick%swarmTrickle == 0 {
			s.peak = max(s.peak, p.workersUse(t).rss)
			s.push()
		}
	}
}

// join connects one more client.
func (s *swarm) join(t *testing.T) {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.address)
	number, _ := strconv.Atoi(port)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.list = append(s.list, attacker{fd: fd})
	if s.window > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, s.window); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: number, Addr: [4]byte(net.ParseIP(host).To4())}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte(s.first)); err != nil {
		t.Fatal(err)
	}
	s.list[len(s.list)-1].began = time.Now()
	ev := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(len(s.list) - 1)}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		t.Fatal(err)
	}
}

// watch notes who was cut since the last time: by FIN or by RST.
func (s *swarm) watch(t *testing.T) {
	t.Helper()
	var events [256]unix.EpollEvent
	for {
		n, err := unix.EpollWait(s.epoll, events[:], 0)
		if err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		if n <= 0 {
			return
		}
		for _, ev := range events[:n] {
			a := &s.list[ev.Fd]
			a.held = time.Since(a.began)
			s.left--
		}
	}
}

// push sends the trickle of those that are not cut.
func (s *swarm) push() {
	if s.trickle == "" {
		return
	}
	for _, a := range s.list {
		if a.held == 0 {
			_ = unix.Send(a.fd, []byte(s.trickle), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) // it may be cut just now
		}
	}
}

func (s *swarm) close() {
	for _, a := range s.list {
		unix.Close(a.fd)
	}
	unix.Close(s.epoll)
}
