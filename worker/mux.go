package worker

import (
	"errors"
	"time"

	"github.com/proxyd/proxyd/worker/http2"
	"github.com/proxyd/proxyd/worker/loop"
)

const (
	muxBudget = 256 << 10       // bytes received before the loop has another turn
	calmEvery = time.Second     // see http2.Conn.Calm
	drainStep = time.Second     // between the two steps of GOAWAY: for what is on its way
	pingLimit = 5 * time.Second // for the answer to a PING
)

var (
	errTakesNothing = errors.New("peer takes nothing of what is sent")
	errHalfFrame    = errors.New("peer does not end what it has begun")
	errNoPong       = errors.New("peer does not answer a PING")
	errCrashed      = errors.New("bug in the connection")
)

// A mux is an HTTP/2 connection on the loop: it moves bytes between the socket and
// package http2, for clients' connections and for those to servers. Its coroutine
// runs while there are streams, or bytes to be sent; it sends once a turn what all
// streams have written. In between the connection is parked.
type mux struct {
	w    *worker
	sock *stream
	conn *http2.Conn
	side side

	task  *loop.Task // its coroutine; nil while parked
	awake bool       // it runs, or will soon

	rest  [8]byte // rest[:kept] is received and the start of something
	kept  int
	write time.Duration // how long the peer may take nothing of what is to be sent
	head  time.Duration // and may leave something unfinished

	calmAt    int64  // loop time of the next Calm
	stuckAt   int64  // loop time since which the socket has taken nothing; 0: nothing waits
	pending   uint64 // what the peer has begun and not ended, see http2.Conn.Pending
	pendingAt int64  // since then
	finalAt   int64  // loop time of the second GOAWAY; 0: the first was not sent
	pingAt    int64  // loop time by which a PING must be answered; 0: none is under way
	parkedAt  int64  // loop time of the last time
	roomy     bool   // it is in w.roomy
}

// trimAfter is how long a connection is parked until it gives back what it keeps
// for the next request.
const trimAfter = time.Second

// trimConns makes the connections small that have been parked for a while.
func (w *worker) trimConns() {
	busy := w.roomy[:0]
	for _, m := range w.roomy {
		switch {
		case !m.sock.Open():
		case m.awake || w.loop.Now()-m.parkedAt < int64(trimAfter):
			busy = append(busy, m)
		default:
			m.roomy = false
			m.conn.Trim()
		}
	}
	clear(w.roomy[len(busy):])
	w.roomy = busy
}

// A side is what differs between connections from clients and to servers.
type side interface {
	park()           // there is nothing to do
	ended(err error) // it is over, nil: as was agreed on
}

// start makes m the owner of conn.
func (m *mux) start(conn *http2.Conn) {
	m.conn = conn
	m.awake = true // it is run next
	conn.OnOutput(m.wake)
}

// wake lets m see to what has changed, at the end of this turn at the latest.
func (m *mux) wake() {
	switch {
	case m.task != nil:
		m.task.Wake()
	case !m.awake && m.sock.Open():
		m.awake = true
		m.sock.Unpark()
		m.w.loop.Spawn(m)
	}
}

// released is called when a stream was closed.
func (m *mux) released() {
	if m.conn.Idle() {
		m.wake()
	}
}

// Run moves bytes until there is nothing to do.
func (m *mux) Run(t *loop.Task) {
	m.task, m.awake = t, true
	for {
		more, err := m.move(t.Now())
		switch {
		case err != nil:
			m.end(err)
			return
		case m.conn.Closed() && len(m.conn.Output()) == 0 && !m.sock.unsent():
			m.linger(t)
			m.end(nil)
			return
		case more:
			t.Yield()
			continue
		case m.resting():
			m.task, m.awake, m.parkedAt = nil, false, t.Now()
			if !m.roomy {
				m.roomy = true
				m.w.roomy = append(m.w.roomy, m)
			}
			m.side.park()
			return
		}
		if t.WaitAny(m.deadline(), &m.sock.Conn, nil) == nil {
			continue
		}
		if err := m.late(t.Now()); err != nil {
			m.end(err)
			return
		}
	}
}

// Crashed is for the loop.
func (m *mux) Crashed(v any, stack []byte) {
	m.w.log.Error("bug: panic in an HTTP/2 connection", "panic", v, "stack", string(stack))
	m.end(errCrashed)
}

// end closes the connection, and with it all streams.
func (m *mux) end(err error) {
	m.task = nil // what follows is not for it; awake stays, so that nothing begins anew
	m.conn.Abort()
	m.sock.close()
	m.side.ended(err)
}

// move receives what there is and sends what can be sent. more says that its
// budget was used up.
func (m *mux) move(now int64) (more bool, err error) {
	if now >= m.calmAt {
		m.calmAt = now + int64(calmEvery)
		m.conn.Calm()
	}
	if err = m.receive(); err == loop.ErrAgain {
		err = nil
	} else if err == nil {
		more = true
	}
	if m.pingAt != 0 && !m.conn.Awaiting() {
		m.pingAt = 0
	}
	if m.finalAt != 0 && now >= m.finalAt {
		m.conn.Shutdown(true)
	}
	if p := m.conn.Pending(m.kept); p != m.pending {
		m.pending, m.pendingAt = p, now
	}
	if fault := m.flush(now); fault != nil {
		return false, fault
	}
	if m.conn.Closed() {
		err = nil // a mistake of the peer's: it is told before the end
	}
	return more, err
}

// receive reads until there is nothing, an error, or enough for a turn.
func (m *mux) receive() error {
	buf := m.w.takeBuffer()
	defer m.w.buffers.put(buf)
	for budget := muxBudget; budget > 0; {
		k := copy(buf, m.rest[:m.kept])
		n, err := m.sock.tryRead(buf[k:])
		if err == nil {
			err = m.take(buf[:k+n])
		}
		if err != nil {
			return err
		}
		budget -= n
	}
	return nil
}

// take takes b, which begins with what it has left of what came before.
func (m *mux) take(b []byte) error {
	n, err := m.conn.Receive(b)
	m.kept = copy(m.rest[:], b[n:])
	return err
}

// flush sends what the socket takes.
func (m *mux) flush(now int64) error {
	for {
		err := m.sock.flush()
		out := m.conn.Output()
		if err == nil && len(out) == 0 {
			m.stuckAt = 0
			return nil
		}
		n := 0
		if err == nil {
			v := vector{}
			v.add(out)
			n, err = m.sock.tryWrite(&v)
			m.conn.Sent(n)
		}
		if m.stuckAt == 0 || n > 0 {
			m.stuckAt = now
		}
		switch {
		case err == loop.ErrAgain:
			return nil
		case err != nil:
			return err
		}
	}
}

// resting reports whether the connection can be parked.
func (m *mux) resting() bool {
	return m.conn.Idle() && m.pending == 0 && m.stuckAt == 0 && m.pingAt == 0 && (m.finalAt == 0 || m.conn.Closed())
}

// deadline is when late has something to say; 0: never.
func (m *mux) deadline() (at int64) {
	for _, d := range [...]struct {
		on bool
		at int64
	}{
		{m.stuckAt != 0, m.stuckAt + int64(m.write)},
		{m.pending != 0, m.pendingAt + int64(m.head)},
		{m.finalAt != 0 && m.finalAt > m.w.loop.Now(), m.finalAt},
		{m.pingAt != 0, m.pingAt},
	} {
		if d.on && (at == 0 || d.at < at) {
			at = d.at
		}
	}
	return at
}

// late says what the peer has taken too long for, if anything.
func (m *mux) late(now int64) error {
	switch {
	case m.stuckAt != 0 && now >= m.stuckAt+int64(m.write):
		return errTakesNothing
	case m.pending != 0 && now >= m.pendingAt+int64(m.head):
		return errHalfFrame
	case m.pingAt != 0 && now >= m.pingAt:
		return errNoPong
	}
	return nil
}

// shutdown ends the connection when the streams that the peer has opened are
// done, and unless it is final those that are on their way.
func (m *mux) shutdown(final bool) {
	if !m.sock.Open() {
		return
	}
	awake := m.awake
	m.awake = true // it may begin at once, but not in the middle of Shutdown
	switch {
	case final:
		m.conn.Shutdown(true)
	case m.finalAt == 0:
		m.finalAt = m.w.loop.Now() + int64(drainStep)
		m.conn.Shutdown(false)
	}
	m.awake = awake
	m.wake()
}

// ping makes sure that the peer is there: the connection ends if it does not answer.
func (m *mux) ping() {
	if m.pingAt == 0 && m.sock.Open() {
		m.pingAt = m.w.loop.Now() + int64(pingLimit)
		m.conn.Ping()
	}
}

// linger lets the peer take what was sent last: closing with input unread would
// make the kernel throw it away.
func (m *mux) linger(t *loop.Task) {
	m.sock.finish()
	buf := m.w.takeBuffer()
	defer m.w.buffers.put(buf)
	deadline := t.After(lingerTime)
	for read := 0; read < lingerBytes; {
		n, err := m.sock.tryRead(buf)
		if err == loop.ErrAgain {
			err = t.WaitAny(deadline, &m.sock.Conn, nil)
		}
		if err != nil {
			return
		}
		read += n
	}
}
