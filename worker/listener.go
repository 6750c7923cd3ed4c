package worker

import (
	"fmt"
	"net/netip"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/loop"
	"golang.org/x/sys/unix"
)

// A listener is a listening socket from which this worker takes connections.
type listener struct {
	w       *worker
	name    string
	fd      int
	service *service // of the configuration in force
	accept  *loop.Listener
	fresh   *loop.Idle // connections that have sent nothing yet
	idle    *loop.Idle // connections between two requests
	open    int
	full    bool // paused by a limit on connections
	removed bool // not in the configuration any more: connections end after their exchange
}

// listen makes the listeners what s names. Sockets that s does not name are
// closed; what is queued on them is taken first.
func (w *worker) listen(s *snapshot) error {
	w.loop.LimitPipes(w.pipes())
	for name, v := range s.services {
		l := w.listeners[name]
		if l == nil {
			fd, ok := w.sockets[name]
			if !ok {
				return fmt.Errorf("listener %s: no descriptor of this name was handed over", name)
			}
			l = &listener{w: w, name: name, fd: fd, fresh: w.loop.NewIdle(0), idle: w.loop.NewIdle(0)}
			w.listeners[name] = l
			boundUnsent(fd)
		}
		l.service = v
		l.fresh.SetAfter(v.config.Timeouts.Header)
		l.idle.SetAfter(v.config.Timeouts.Idle)
		if l.accept == nil && !w.draining {
			var err error
			if l.accept, err = w.loop.Listen(l.fd, l.take); err != nil {
				return fmt.Errorf("listener %s: %w", name, err)
			}
			if w.full {
				l.pause(true)
			}
		}
		w.checkRoom(l) // the limit may be another one
	}
	for name, l := range w.listeners {
		if s.services[name] == nil {
			l.stop()
			l.removed = true
			for _, i := range []*loop.Idle{l.fresh, l.idle} {
				i.Expire()
				w.loop.DropIdle(i)
			}
			delete(w.listeners, name)
		}
	}
	for h := range w.http2Clients {
		if h.c.listener.removed {
			h.shutdown(false)
		}
	}
	w.forget(s)
	return nil
}

// keepSocket keeps a listening socket that was handed over.
func (w *worker) keepSocket(name string, fd int) {
	if old, ok := w.sockets[name]; ok {
		if w.listeners[name] != nil {
			unix.Close(fd) // it is in use: the new one is the same socket
			return
		}
		unix.Close(old)
	}
	w.sockets[name] = fd
}

// forget closes the listening sockets and log files that s does not name.
func (w *worker) forget(s *snapshot) {
	w.forgetLogs(s.config)
	for name, fd := range w.sockets {
		if s.services[name] == nil {
			unix.Close(fd)
			delete(w.sockets, name)
		}
	}
}

// stop takes what is queued, then no more.
func (l *listener) stop() {
	if l.accept != nil {
		l.accept.Drain()
		l.accept.Close()
		l.accept = nil
	}
}

// take owns a new connection.
func (l *listener) take(fd int, peer netip.AddrPort) {
	c := &client{listener: l, peer: peer}
	l.w.loop.Adopt(&c.Conn, fd)
	l.w.count(shm.Accepted)
	l.w.clients++
	l.open++
	l.w.shared.Counters[shm.ActiveConnections].Store(uint64(l.w.clients))
	c.Park(c, l.fresh) // its request is likely there: it is woken at once to look
	l.w.checkRoom(l)
}

// left is called when a connection of l is closed.
func (l *listener) left() {
	w := l.w
	w.clients--
	l.open--
	w.shared.Counters[shm.ActiveConnections].Store(uint64(w.clients))
	if l.full || w.full {
		w.checkRoom(l)
	}
	if w.draining && w.clients == 0 {
		w.finished()
	}
}

// pipes is how many may be open. Each costs what a client does, two descriptors,
// and takes the place of one.
func (w *worker) pipes() int { return w.maxClients / 9 }

// checkRoom pauses and resumes accepting at the limits on connections. Those
// that find no room wait in the kernel's queue. Before the process's limit, idle
// connections make room: whoever asks now comes before whoever may ask again.
func (w *worker) checkRoom(l *listener) {
	room := w.maxClients - w.pipes()
	if w.clients >= room {
		w.closeOldest()
	}
	most := l.service.config.Limits.Connections
	if full := most > 0 && l.open >= most; full != l.full {
		l.full = full
		l.pause(full || w.full)
	}
	if full := w.clients >= room; full != w.full {
		w.full = full
		for _, l := range w.listeners {
			l.pause(full || l.full)
		}
	}
}

func (l *listener) pause(yes bool) {
	switch {
	case l.accept == nil:
	case yes:
		l.w.count(shm.AcceptPauses)
		l.accept.Pause()
	default:
		if err := l.accept.Resume(); err != nil {
			l.w.log.Error("cannot accept again", "listener", l.service.config.Name, "error", err)
		}
	}
}

// drain stops taking connections, after those that are queued, and calls
// finished once, when none is left open.
func (w *worker) drain(finished func()) {
	if w.draining {
		return
	}
	w.draining, w.finished = true, finished
	for _, l := range w.listeners {
		l.stop()
	}
	for h := range w.http2Clients {
		h.shutdown(false)
	}
	// With the last descriptor the kernel begins to refuse connections, instead
	// of queueing them for nobody.
	for name, fd := range w.sockets {
		unix.Close(fd)
		delete(w.sockets, name)
	}
	if w.clients == 0 {
		w.finished()
	}
}

// closeIdle closes the connections that carry no request.
func (w *worker) closeIdle() {
	for _, l := range w.listeners {
		l.fresh.Expire()
		l.idle.Expire()
	}
}

// closeOldest closes the connection that has been idle for longest at one of the
// listeners, if there is any.
func (w *worker) closeOldest() {
	for _, l := range w.listeners {
		if first := l.idle.First(); first != nil {
			first.(interface{ end() }).end() // a *client or a *http2Client
			return
		}
	}
}
