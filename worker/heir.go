package worker

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
	"golang.org/x/sys/unix"
)

// inherit takes over connections that a draining worker gives, until that has
// none left.
func (w *worker) inherit(giver *handoff.Conn) {
	defer giver.Close()
	for {
		m, err := giver.Receive()
		if err == nil {
			err = w.takeOver(giver, m)
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			w.log.Warn("cannot take over connections from another worker", "error", err)
			return
		}
	}
}

// takeOver takes what m offers. It reads none of it before the giver has said
// that it does not either.
func (w *worker) takeOver(giver *handoff.Conn, m handoff.Message) error {
	fds := make([]int, len(m.Files))
	for i, f := range m.Files {
		var err error
		if fds[i], err = handoff.Detach(f); err != nil {
			fds[i] = -1 // the giver keeps it
		}
	}
	defer func() {
		for _, fd := range fds {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	}()
	var offer handoff.OfferBody
	if m.Type != handoff.Offer {
		return fmt.Errorf("got %v, want %v", m.Type, handoff.Offer)
	}
	if err := m.Decode(&offer); err != nil {
		return err
	}
	if len(offer.Moves) != len(fds) {
		return fmt.Errorf("offer of %d connections with %d descriptors", len(offer.Moves), len(fds))
	}
	var taken handoff.TakenBody
	w.onLoop(func() { taken.Refused = w.refusals(offer.Moves, fds) })
	if err := giver.Send(handoff.Taken, 0, taken); err != nil {
		return err
	}
	for _, i := range taken.Refused {
		if fds[i] >= 0 {
			unix.Close(fds[i])
			fds[i] = -1
		}
	}
	yours, err := giver.ReceiveBefore(time.Now().Add(takenLimit))
	if err != nil {
		return err
	}
	yours.CloseFiles()
	if yours.Type != handoff.Yours {
		return fmt.Errorf("got %v, want %v", yours.Type, handoff.Yours)
	}
	w.onLoop(func() { w.adopt(offer.Moves, fds) })
	return nil
}

// refusals is what cannot be taken over, by its place.
func (w *worker) refusals(moves []handoff.Move, fds []int) (refused []int) {
	room := w.maxClients - w.clients
	for i := range moves {
		l := w.listeners[moves[i].Listener]
		if l == nil || l.removed || w.draining || room <= 0 || fds[i] < 0 || len(moves[i].Raw) > handoff.MaxMoveBytes {
			refused = append(refused, i)
			continue
		}
		room--
	}
	return refused
}

// adopt puts connections on the loop that are this worker's now. It marks their
// descriptors as used.
func (w *worker) adopt(moves []handoff.Move, fds []int) {
	for i, m := range moves {
		l := w.listeners[m.Listener]
		if fds[i] < 0 || l == nil {
			continue // refused; or a reload dropped the listener in this moment
		}
		w.clients++
		l.open++
		w.plant(&client{listener: l, peer: m.Peer, requests: int32(m.Requests), addressed: m.Addressed, begun: m.Requests > 0}, fds[i], m)
		fds[i] = -1
	}
	w.shared.Counters[shm.ActiveConnections].Store(uint64(w.clients))
}
