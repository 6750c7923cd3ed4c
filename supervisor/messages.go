package supervisor

import (
	"fmt"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
)

// received takes a message of process p.
func (s *supervisor) received(w *worker, p *process, m handoff.Message) {
	if m.Type == handoff.Tell {
		s.told(p, m)
		return
	}
	m.CloseFiles() // a worker has none to give
	if w.process != p {
		return
	}
	switch m.Type {
	case handoff.Hello:
		s.hello(w, m)
	case handoff.Ack:
		w.released = w.state == draining
		s.apply(w, acked)
	case handoff.Prepared:
		s.applyIfOffered(w, m, prepared)
	case handoff.Nack:
		s.nack(w, m)
	case handoff.Accepting:
		s.apply(w, accepting)
	case handoff.Committed:
		s.applyIfOffered(w, m, committed)
	case handoff.Beat:
		w.beat = time.Now()
	case handoff.Drained:
		s.log.Info("worker drained", "slot", w.slot, "pid", w.pid())
	default:
		s.log.Warn("message of unknown type ignored", "slot", w.slot, "type", m.Type)
	}
}

// hello checks that the process is the worker that we started.
func (s *supervisor) hello(w *worker, m handoff.Message) {
	var body handoff.HelloBody
	if err := m.Decode(&body); err != nil {
		s.lostChannel(w, w.process, err)
		return
	}
	if body.Slot != w.slot || m.Generation != w.generation {
		s.lostChannel(w, w.process, fmt.Errorf("HELLO of slot %d, generation %d: want slot %d, generation %d",
			body.Slot, m.Generation, w.slot, w.generation))
		return
	}
	w.process.answers = body.Answers
	s.apply(w, hello)
}

// applyIfOffered drops answers to an offer that stands no more.
func (s *supervisor) applyIfOffered(w *worker, m handoff.Message, ev happening) {
	var body struct {
		Config uint64 `json:"config"`
	}
	if err := m.Decode(&body); err != nil {
		s.lostChannel(w, w.process, err)
		return
	}
	if body.Config == w.offer && w.offer != 0 {
		s.apply(w, ev)
	}
}

// nack takes a refusal. One that names another configuration than the offered
// is late; one that names none refuses listeners, or a message it does not know.
func (s *supervisor) nack(w *worker, m handoff.Message) {
	var body handoff.NackBody
	if err := m.Decode(&body); err != nil {
		s.lostChannel(w, w.process, err)
		return
	}
	if body.Config != 0 && body.Config != w.offer {
		return
	}
	w.refusal = refusal{codeConfig, body.Text}
	if body.Config == 0 {
		w.refusal.code = codeStart
	}
	if w.state.starts() {
		s.log.Error("worker refused to start", "slot", w.slot, "pid", w.pid(), "error", body.Text)
		if !s.ready && body.Config != 0 {
			// The others will say the same: the same bytes, the same program.
			s.fail(&ExitError{codeConfig, fmt.Errorf("worker %d: %s", w.slot, body.Text)})
			return
		}
	}
	s.apply(w, nacked)
}

// lostChannel is told why process p sends no more.
func (s *supervisor) lostChannel(w *worker, p *process, err error) {
	if w.process != p {
		return
	}
	w.process.conn.Close()
	s.log.Debug("control channel closed", "slot", w.slot, "error", err)
	s.apply(w, lost)
}
