package worker

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// selfTestLimit is how long one listener's answer may take, of a process that
// has nothing else to do yet.
const selfTestLimit = 5 * time.Second

// selfTestRequest is for the proxy itself, which a request with this Max-Forwards
// must not be forwarded by (RFC 9110 section 7.6.2): a test bothers no server.
const selfTestRequest = "OPTIONS * HTTP/1.1\r\nHost: self-test\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n"

// selfTest has each listener of s answer a request, as it would a client's.
func (w *worker) selfTest(s *snapshot) error {
	tested := make(map[*service]bool)
	for name, v := range s.services {
		if tested[v] {
			continue
		}
		tested[v] = true
		if err := w.selfTestOne(name, v); err != nil {
			return fmt.Errorf("self-test of listener %q: %w", v.config.Name, err)
		}
	}
	return nil
}

func (w *worker) selfTestOne(name string, v *service) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "self-test")
	nc, err := net.FileConn(file)
	file.Close()
	if err != nil {
		unix.Close(fds[1])
		return err
	}
	defer nc.Close()
	l := &listener{w: w, name: name, service: v}
	if v.tls != nil {
		anyone, lax := *v, *v.config.TLS
		lax.ClientCA = nil // we have no certificate to show
		if anyone.tls, err = w.serverTLS(&lax); err != nil {
			return err
		}
		l.service = &anyone
	}
	w.onLoop(func() {
		l.fresh, l.idle = w.loop.NewIdle(selfTestLimit), w.loop.NewIdle(selfTestLimit)
		l.take(fds[1], netip.AddrPort{})
	})
	defer w.onLoop(func() {
		w.loop.DropIdle(l.fresh)
		w.loop.DropIdle(l.idle)
	})
	if err := nc.SetDeadline(time.Now().Add(selfTestLimit)); err != nil {
		return err
	}
	if v.tls != nil {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) // it is ourselves at the other end
	}
	if _, err := io.WriteString(nc, selfTestRequest); err != nil {
		return err
	}
	answer, err := io.ReadAll(nc)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answer %.80q", answer)
	}
	return nil
}

// onLoop runs f on the loop and waits for it.
func (w *worker) onLoop(f func()) {
	done := make(chan struct{})
	w.loop.Post(func() { defer close(done); f() })
	<-done
}
