package supervisor

import (
	"fmt"
	"syscall"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
)

// How long a worker may take; the start is bounded by ready_timeout.
const (
	prepareLimit = 10 * time.Second // from the offer of a configuration to PREPARED
	commitLimit  = 2 * time.Second  // from COMMIT to COMMITTED
	beatLimit    = 10 * time.Second // without a beat
	stuckLimit   = time.Second      // from SIGQUIT to SIGKILL
	drainGrace   = time.Second      // from the end of drain_timeout to SIGKILL
)

// A worker is one slot and the process in it, if there is one.
type worker struct {
	slot    int
	state   state
	since   time.Time // of the state
	limit   time.Time // when the state's time is over; zero: never
	process *process  // nil if gone
	beat    time.Time // last BEAT message

	queue   []*socket // still to be sent
	offer   uint64    // configuration it was offered; 0: none
	sent    bool      // PREPARE of the offer was
	refusal refusal   // why it did not take the offer, or why we end it

	served   time.Time // since when, this process; zero: has not
	due      time.Time // when to start the next process
	failures int       // deaths in a row
	exits    int       // processes that have ended in this slot
	lastExit string    // how the last one did
}

// apply lets ev happen to w, by the table.
func (s *supervisor) apply(w *worker, ev happening) {
	next, act := step(w.state, ev)
	if next == w.state && act == nothing {
		return
	}
	before := w.state
	if next != before {
		w.state, w.since = next, time.Now()
		w.limit = s.limitOf(w, before)
	}
	if ev == timeout && before != draining {
		w.refusal = refusal{codeStart, fmt.Sprintf("did not answer in time (%v)", before)}
		s.log.Error("worker does not answer", "slot", w.slot, "pid", w.pid(), "state", before)
	}
	s.act(w, act)
}

// limitOf says when the time of the state that w has entered is over.
func (s *supervisor) limitOf(w *worker, before state) time.Time {
	now := w.since
	switch w.state {
	case greeting:
		return now.Add(s.config.Supervisor.ReadyTimeout)
	case loading, opening:
		return w.limit // one time-out for the whole start
	case staging:
		return now.Add(prepareLimit)
	case committing:
		return now.Add(commitLimit)
	case draining:
		return now.Add(s.config.Supervisor.DrainTimeout + drainGrace)
	case stuck:
		return now.Add(stuckLimit)
	}
	return time.Time{}
}

// deadline is when timeout happens to w; zero: not by itself.
func (s *supervisor) deadline(w *worker) time.Time {
	if w.state == serving {
		return s.lastBeat(w).Add(beatLimit)
	}
	return w.limit
}

// lastBeat is the later of the last BEAT and of the word in the shared segment,
// which the worker's loop moves too and which no full socket can hold up.
func (s *supervisor) lastBeat(w *worker) time.Time {
	inSegment := time.Now().Add(time.Duration(s.segment.Slot(w.slot).Beat.Load() - shm.Now()))
	if inSegment.After(w.beat) {
		return inSegment
	}
	return w.beat
}

// act does what the table says.
func (s *supervisor) act(w *worker, a action) {
	switch a {
	case launch:
		s.launch(w)
	case deliver:
		s.deliver(w)
	case sendStart:
		s.send(w, handoff.Start, handoff.StartBody{})
	case announce:
		w.served, w.beat = w.since, w.since
		s.log.Info("worker serves", "slot", w.slot, "pid", w.pid(), "config", w.offer)
		w.offer = 0
	case refuse:
		s.reload.refuse(w)
		s.sendAbort(w)
	case sendAbort:
		s.sendAbort(w)
	case sendCommit:
		s.send(w, handoff.Commit, handoff.CommitBody{Config: w.offer})
	case settle:
		w.offer = 0
	case sendDrain:
		s.send(w, handoff.Drain, handoff.DrainBody{Hard: s.config.Supervisor.DrainTimeout})
	case quit:
		s.signalWorker(w, syscall.SIGQUIT)
	case kill:
		s.signalWorker(w, syscall.SIGKILL)
	case bury:
		s.bury(w)
	}
}

func (s *supervisor) sendAbort(w *worker) {
	s.send(w, handoff.Abort, handoff.AbortBody{Config: w.offer})
	w.queue, w.offer, w.refusal = nil, 0, refusal{}
}

// send sends a message to w. A worker that cannot be told things is lost.
func (s *supervisor) send(w *worker, t handoff.Type, body any, fds ...int) {
	if err := w.process.conn.SendFDs(t, s.generation, body, fds...); err != nil {
		s.log.Error("worker cannot be reached", "slot", w.slot, "pid", w.pid(), "error", err)
		s.apply(w, lost)
	}
}

func (s *supervisor) signalWorker(w *worker, sig syscall.Signal) {
	_ = w.process.cmd.Process.Signal(sig) // fails only if it is gone, which we hear of otherwise
}

// launch starts a process for w and the goroutines that tell what becomes of it.
func (s *supervisor) launch(w *worker) {
	p, err := s.start(w.slot)
	if err != nil {
		s.log.Error("worker not started", "slot", w.slot, "error", err)
		w.refusal = refusal{codeStart, err.Error()}
		s.apply(w, exited)
		return
	}
	w.process, w.refusal, w.served = p, refusal{}, time.Time{}
	w.queue, w.offer, w.sent = s.sockets.all(), s.number, false
	s.tasks.Go(func() {
		p.receive(
			func(m handoff.Message) { s.post(func() { s.received(w, p, m) }) },
			func(err error) { s.post(func() { s.lostChannel(w, p, err) }) })
	})
	s.tasks.Go(func() {
		how := p.wait(s.output)
		p.conn.Close()
		s.post(func() { s.ended(w, p, how) })
	})
}

// deliver sends the next batch of listeners or, after the last, the
// configuration. One batch at a time: the kernel bounds descriptors in flight.
func (s *supervisor) deliver(w *worker) {
	if n := min(len(w.queue), handoff.MaxFiles); n > 0 {
		var body handoff.ListenBody
		var fds []int
		for _, sock := range w.queue[:n] {
			body.Names = append(body.Names, sock.name)
			fds = append(fds, sock.fd)
		}
		w.queue = w.queue[n:]
		s.send(w, handoff.Listen, body, fds...)
		return
	}
	if w.sent {
		return
	}
	w.sent = true
	digest, bundle := s.digest, s.bundle
	if w.state == staging {
		digest, bundle = s.reload.candidate.digest, s.reload.bundle
	}
	s.send(w, handoff.Prepare, handoff.PrepareBody{Config: w.offer, SHA256: digest}, int(bundle.Fd()))
}

// received takes a message of process p.
func (s *supervisor) received(w *worker, p *process, m handoff.Message) {
	m.CloseFiles() // a worker has none to give
	if w.process != p {
		return
	}
	switch m.Type {
	case handoff.Hello:
		s.hello(w, m)
	case handoff.Ack:
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
	if body.Slot != w.slot || m.Generation != s.generation {
		s.lostChannel(w, w.process, fmt.Errorf("HELLO of slot %d, generation %d: want slot %d, generation %d",
			body.Slot, m.Generation, w.slot, s.generation))
		return
	}
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

// ended is told how process p ended.
func (s *supervisor) ended(w *worker, p *process, how string) {
	if w.process != p {
		return
	}
	if reason := p.tail.reason(w.served.IsZero()); reason != "" {
		how += ": " + reason
	}
	if w.refusal.text != "" && (w.state == stuck || w.state == dying) {
		how = w.refusal.text // the end of it was our doing
	}
	w.refusal = refusal{codeStart, how}
	s.apply(w, exited)
}

// bury records the end of a process and when the next one starts.
func (s *supervisor) bury(w *worker) {
	w.exits++
	w.lastExit = w.refusal.text
	if s.stopping {
		s.log.Info("worker ended", "slot", w.slot, "pid", w.pid(), "how", w.lastExit)
	} else {
		if !w.served.IsZero() && w.since.Sub(w.served) >= healthyTime {
			w.failures = 0
		}
		w.failures++
		wait := delay(w.failures, s.jitter())
		w.due = w.since.Add(wait)
		s.log.Error("worker ended", "slot", w.slot, "pid", w.pid(), "how", w.lastExit, "restart_in", wait.Round(time.Millisecond))
	}
	s.reload.buried(w)
	w.process, w.queue, w.offer, w.refusal = nil, nil, 0, refusal{}
}

// pid is that of the process in the slot, 0 if there is none.
func (w *worker) pid() int {
	if w.process == nil {
		return 0
	}
	return w.process.cmd.Process.Pid
}
