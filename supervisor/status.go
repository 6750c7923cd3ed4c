package supervisor

import (
	"context"
	"encoding/hex"
	"os"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/supervisor/admin"
)

// askStop is for the admin socket: it begins a stop.
func (s *supervisor) askStop(context.Context) error {
	if !s.post(func() {
		if !s.stopping { // a person who asks twice does not mean at once
			s.stop("asked for on the admin socket")
		}
	}) {
		return errStopping
	}
	return nil
}

// askStatus is for the admin socket.
func (s *supervisor) askStatus(ctx context.Context) (admin.Status, error) {
	answer := make(chan admin.Status, 1)
	if !s.post(func() { answer <- s.status() }) {
		return admin.Status{}, errStopping
	}
	select {
	case st := <-answer:
		return st, nil
	case <-ctx.Done():
		return admin.Status{}, ctx.Err()
	case <-s.done:
		return admin.Status{}, errStopping
	}
}

func (s *supervisor) status() admin.Status {
	st := admin.Status{
		Pid:          os.Getpid(),
		Version:      s.options.Build,
		State:        s.stateName(),
		Config:       s.options.Config,
		ConfigNumber: s.number,
		Digest:       hex.EncodeToString(s.digest[:]),
		Started:      s.started,
		LastReload:   s.outcome,
		StateDir:     s.own.StateDir,
		PIDFile:      s.own.PIDFile,
		AdminSocket:  s.own.AdminSocket,
		Log:          s.own.Log,
		Incarnation:  s.incarnation,
		Generation:   s.generation,
		Listeners:    []admin.Listener{},
	}
	for _, sock := range s.sockets.all() {
		st.Listeners = append(st.Listeners, admin.Listener{
			Name: sock.name, Address: sock.address.String(), Bound: sock.bound, Passed: sock.passed,
		})
	}
	for _, w := range s.workers {
		st.Workers = append(st.Workers, admin.Worker{
			Slot:       w.slot,
			Pid:        w.pid(),
			Generation: w.generation,
			Leaving:    w.leaving,
			State:      w.state.String(),
			Since:      w.since,
			Restarts:   w.exits,
			LastExit:   w.lastExit,
			Counters:   counters(s.segment.Slot(w.slot)),
		})
	}
	return st
}

func (s *supervisor) stateName() string {
	switch {
	case s.stopping:
		return "stopping"
	case !s.ready:
		return "starting"
	case s.upgrade != nil:
		return "upgrading"
	case s.reload != nil && s.reload.roll.generation != 0:
		return "rolling"
	case s.reload != nil:
		return "reloading"
	}
	return "serving"
}

func counters(slot *shm.Slot) map[string]uint64 {
	m := make(map[string]uint64, shm.NumCounters)
	for c := range shm.NumCounters {
		m[c.String()] = slot.Counters[c].Load()
	}
	return m
}
