package worker

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/loop"
	"golang.org/x/sys/unix"
)

var errLeaving = errors.New("the connection goes to another worker")

const (
	moveEvery  = 20 * time.Millisecond // between two looks for connections that may move
	takenLimit = 2 * time.Second       // for the other worker to answer
)

// An uprooted connection is off the loop, on its way to another worker. The
// worker's count of connections still has it.
type uprooted struct {
	c    *client
	fd   int
	move handoff.Move
}

// moveTo gives the connections of a draining worker to its heirs, in turn, as
// they come to carry no request. It returns when none is left, or no heir.
func (w *worker) moveTo(heirs []*handoff.Conn) {
	for i := 0; len(heirs) > 0; i++ {
		var batch []*uprooted
		left := 0
		w.onLoop(func() { batch, left = w.uproot(), w.clients })
		switch {
		case left == 0:
			closeAll(heirs)
			return
		case len(batch) == 0:
			time.Sleep(moveEvery)
			continue
		}
		at := i % len(heirs)
		if err := w.give(heirs[at], batch); err != nil {
			w.log.Warn("cannot move connections to another worker", "error", err)
			heirs[at].Close()
			heirs = append(heirs[:at], heirs[at+1:]...)
		}
	}
	w.onLoop(func() { w.moving = false; w.closeIdle() }) // their clients come again, to the other workers
}

func closeAll(channels []*handoff.Conn) {
	for _, c := range channels {
		c.Close()
	}
}

// uproot takes connections off the loop that carry no request. Those that have
// received half a head are asked to leave, and are among the next.
func (w *worker) uproot() []*uprooted {
	batch, size := w.leavers, 0
	if len(batch) > handoff.MaxMoves {
		batch = batch[:handoff.MaxMoves:handoff.MaxMoves]
	}
	for i, u := range batch {
		if size += len(u.move.Raw); size > handoff.MaxMoveBytes {
			batch = batch[:i:i]
			break
		}
	}
	w.leavers = append([]*uprooted(nil), w.leavers[len(batch):]...)
	for x := range w.reading {
		if x.have <= handoff.MaxMoveBytes && !x.c.rooted && x.c.plain() {
			x.leaving = true
			x.t.Wake()
		}
	}
	for _, l := range w.listeners {
		for _, idle := range []*loop.Idle{l.fresh, l.idle} {
			idle.Each(func(p loop.Parked) bool {
				if len(batch) == handoff.MaxMoves {
					return false
				}
				if c, ok := p.(*client); ok && !c.rooted && c.plain() {
					batch = append(batch, &uprooted{c: c, move: c.move(), fd: c.Release()})
				}
				return true
			})
		}
	}
	return batch
}

func (c *client) move() handoff.Move {
	return handoff.Move{Listener: c.listener.name, Peer: c.peer, Addressed: c.addressed, Requests: int(c.requests)}
}

// leave uproots the connection of an exchange that was asked to leave.
func (x *exchange) leave() {
	w, c := x.w, x.c
	if !c.Open() {
		return
	}
	u := &uprooted{c: c, move: c.move()}
	u.move.Raw = bytes.Clone(x.in[:x.have])
	u.move.Deadline = shm.Now() + x.headBy - x.t.Now()
	u.fd = c.Release()
	w.leavers = append(w.leavers, u)
}

// A half is a connection that goes on with the head that it has received half of.
type half struct {
	*client
	move handoff.Move
}

// Run is for the loop.
func (h *half) Run(t *loop.Task) { h.resume(t, h.move) }

// give offers batch to another worker. What that does not take goes on here; all
// of it after an error.
func (w *worker) give(heir *handoff.Conn, batch []*uprooted) error {
	offer := handoff.OfferBody{Moves: make([]handoff.Move, len(batch))}
	fds := make([]int, len(batch))
	for i, u := range batch {
		offer.Moves[i], fds[i] = u.move, u.fd
	}
	taken, err := ask(heir, offer, fds)
	if err == nil {
		err = heir.Send(handoff.Yours, 0, handoff.YoursBody{})
	}
	if err != nil {
		heir.Close() // so that it cannot begin to read what is read here again
		w.onLoop(func() { w.replant(batch) })
		return err
	}
	refused := make([]*uprooted, 0, len(taken.Refused))
	for _, i := range taken.Refused {
		if i >= 0 && i < len(batch) && batch[i] != nil {
			refused, batch[i] = append(refused, batch[i]), nil
		}
	}
	w.onLoop(func() {
		w.replant(refused)
		for _, u := range batch {
			if u != nil {
				unix.Close(u.fd)
				u.c.forgo()
				u.c.listener.left()
			}
		}
	})
	return nil
}

func ask(heir *handoff.Conn, offer handoff.OfferBody, fds []int) (taken handoff.TakenBody, err error) {
	if err := heir.SendFDs(handoff.Offer, 0, offer, fds...); err != nil {
		return taken, err
	}
	m, err := heir.ReceiveBefore(time.Now().Add(takenLimit))
	if err != nil {
		return taken, err
	}
	m.CloseFiles()
	if m.Type != handoff.Taken {
		return taken, fmt.Errorf("got %v, want %v", m.Type, handoff.Taken)
	}
	return taken, m.Decode(&taken)
}

// replant takes connections back that could not be given away, for good.
func (w *worker) replant(batch []*uprooted) {
	for _, u := range batch {
		u.c.rooted = true
		w.plant(u.c, u.fd, u.move)
	}
}

// plant puts a connection on the loop that was uprooted here or elsewhere, and is
// counted already.
func (w *worker) plant(c *client, fd int, m handoff.Move) {
	if err := w.loop.Register(&c.Conn, fd); err != nil {
		w.log.Error("cannot watch a connection", "listener", c.listener.service.config.Name, "error", err)
		c.forgo()
		c.listener.left()
		return
	}
	switch {
	case len(m.Raw) > 0:
		w.loop.Spawn(&half{client: c, move: m})
	case c.requests == 0:
		c.Park(c, c.listener.fresh)
	default:
		c.Park(c, c.listener.idle)
	}
}
