package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/proxyd/proxyd/internal/handoff"
)

// A successor is a supervisor on trial: the one before it runs yet, owns the
// estate, and leads the generation in force. What it starts stands beside that,
// and what it shares it must leave as it is, until it is told that all is its own.

// tellGiver says why the successor ends.
func (e *estate) tellGiver(err error) {
	body := handoff.NackBody{Text: err.Error()}
	if exitCode(err) == codeConfig {
		body.Config = 1
	}
	_ = e.giver.Send(handoff.Nack, 0, body) // it hears of our end, too
}

// prepareTrial makes s ready to start a generation with first, the configuration
// of the file, beside that of the giver.
func (s *supervisor) prepareTrial(e *estate, first *candidate) error {
	if e.body.StateDir != s.own.StateDir {
		return &ExitError{codeConfig, fmt.Errorf("supervisor.state_dir: %s -> %s: a restart is needed", e.body.StateDir, s.own.StateDir)}
	}
	if err := s.share(e.segment); err != nil {
		return &ExitError{codeStart, err}
	}
	e.segment.Close()
	record := s.segment.Decision().Committed()
	s.number, s.digest, s.generation = record.Config, record.Digest, record.Generation
	s.newest, s.offered, s.theirs = e.body.Newest, e.body.Offered, e.body.Slots
	s.config, s.bundle = first.config, e.bundle
	if inForce := unseal(e.bundle, record.Digest); inForce != nil {
		s.config = inForce.config // else one that this build does not know any more
	}
	if err := errors.Join(s.inheritSockets(e.sockets), s.inheritAdmin(e)); err != nil {
		return &ExitError{codeStart, err}
	}
	s.sockets.address(s.config)
	if err := first.open(); err != nil {
		return err
	}
	s.leaves = e.body.Leave
	s.reload = &reload{phase: waiting, candidate: first, roll: roll{wanted: true}}
	return nil
}

// hearGiver passes on what the giver of the estate says.
func (s *supervisor) hearGiver(giver *handoff.Conn) {
	for {
		m, err := giver.Receive()
		if err != nil {
			s.post(func() { s.lostGiver(err) })
			return
		}
		m.CloseFiles()
		switch m.Type {
		case handoff.Owner:
			s.post(s.takeOver)
		case handoff.Commit:
			s.post(func() { s.left = s.leaves && s.trial == nil })
		}
	}
}

// lostGiver ends the trial: it was called off, or the giver has died and its
// workers wait for a supervisor that somebody starts.
func (s *supervisor) lostGiver(err error) {
	if s.trial == nil {
		s.left = s.left || s.leaves
		return
	}
	why := errors.New("the supervisor that was to be replaced has called it off")
	if !errors.Is(err, io.EOF) {
		why = err
	}
	s.fail(&ExitError{codeStart, why})
}

// offerTrial says that the new generation serves.
func (s *supervisor) offerTrial(r *reload) {
	r.phase = proven
	if err := s.trial.Send(handoff.Accepting, 0, handoff.AcceptingBody{Config: r.number}); err != nil {
		s.lostGiver(err)
	}
}

// takeOver makes all that the giver had our own.
func (s *supervisor) takeOver() {
	r := s.reload
	if s.trial == nil || r == nil || r.phase != proven {
		return
	}
	if !s.leaves {
		if err := s.sign(); err != nil {
			s.refuseReload(refusal{codeStart, err.Error()})
			return
		}
	}
	s.incarnation = s.segment.Decision().Own()
	s.replace(r)
	giver := s.trial
	s.trial = nil
	if err := errors.Join(giver.Send(handoff.Committed, 0, handoff.CommittedBody{Config: s.number}), s.upgrader.Ready()); err != nil {
		s.log.Warn("the supervisor before this one", "error", err) // it is gone: all the more ours
	}
	if s.leaves {
		return // as soon as the giver knows
	}
	giver.Close()
	s.ready = true
	s.sockets.own()
	s.tasks.Go(s.admit)
	if err := s.openAdmin(); err != nil {
		s.log.Error("no admin socket", "error", err)
	}
	s.log.Info("serving", "config", s.number, "generation", s.generation, "incarnation", s.incarnation, "pid", os.Getpid())
}
