package supervisor

import (
	"fmt"
	"slices"
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

// A worker is one of a generation: a slot, and the process in it if there is one.
type worker struct {
	slot       int
	generation uint32
	leaving    string // why it is not to be replaced when it ends; "": it is

	state   state
	since   time.Time // of the state
	limit   time.Time // when the state's time is over; zero: never
	process *process  // nil if gone
	beat    time.Time // last BEAT message

	queue   []descriptor // still to be sent
	offer   uint64       // configuration it was offered; 0: none
	sent    bool         // PREPARE of the offer was
	refusal refusal      // why it did not take the offer, or why we end it

	released bool      // drains and has closed its listeners
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
	if next != before || act == sendDrain {
		w.state, w.since = next, time.Now()
		w.limit = s.limitOf(w)
	}
	if ev == timeout && before != draining {
		w.refusal = refusal{codeStart, fmt.Sprintf("did not answer in time (%v)", before)}
		s.log.Error("worker does not answer", "slot", w.slot, "pid", w.pid(), "state", before)
	}
	s.act(w, act)
}

// limitOf says when the time of the state that w has entered is over.
func (s *supervisor) limitOf(w *worker) time.Time {
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
		return now.Add(s.drain().Hard + drainGrace)
	case stuck:
		return now.Add(stuckLimit)
	}
	return time.Time{}
}

// drain is how long a worker may take that is to go.
func (s *supervisor) drain() handoff.DrainBody {
	patience := s.config.Supervisor.DrainTimeout
	if s.stopping {
		return handoff.DrainBody{Hard: patience}
	}
	// Another generation serves already: there is no hurry.
	return handoff.DrainBody{Soft: patience, Hard: max(patience, s.config.Supervisor.StreamTimeout)}
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
		heirs := s.heirs()
		s.send(w, handoff.Drain, s.drain(), heirs...)
		closeFDs(heirs)
	case welcome:
		w.served = w.since
		s.log.Info("worker adopted", "slot", w.slot, "pid", w.pid(), "generation", w.generation)
		s.sendAbort(w) // of whatever the dead supervisor had begun
	case quit:
		w.process.signal(syscall.SIGQUIT)
	case kill:
		w.process.signal(syscall.SIGKILL)
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
	if err := w.process.conn.SendFDs(t, w.generation, body, fds...); err != nil {
		s.log.Error("worker cannot be reached", "slot", w.slot, "pid", w.pid(), "error", err)
		s.apply(w, lost)
	}
}

// launch starts a process for w.
func (s *supervisor) launch(w *worker) {
	p, err := s.start(w)
	if err != nil {
		s.log.Error("worker not started", "slot", w.slot, "error", err)
		w.refusal = refusal{codeStart, err.Error()}
		s.apply(w, exited)
		return
	}
	w.queue, w.offer, w.sent = append(s.sockets.descriptors(), s.logs...), s.number, false
	if r := s.reload; r.owns(w) {
		w.queue = slices.Concat(s.sockets.descriptors(), descriptorsOf(r.added), r.candidate.logs)
		w.offer = r.number
	}
	s.attend(w, p)
}

// attend gives w its process, and starts the goroutines that tell what becomes of it.
func (s *supervisor) attend(w *worker, p *process) {
	w.process, w.refusal, w.served, w.released = p, refusal{}, time.Time{}, false
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

// A descriptor is one to be sent to workers.
type descriptor struct {
	with handoff.Type // of message: Listen or Logs
	name string
	fd   int
}

// deliver sends the next batch of descriptors or, after the last, the
// configuration. One batch at a time: the kernel bounds descriptors in flight.
func (s *supervisor) deliver(w *worker) {
	if len(w.queue) > 0 {
		w.queue = s.sendBatch(w, w.queue)
		return
	}
	if w.sent {
		return
	}
	w.sent = true
	digest, bundle := s.digest, s.bundle
	if w.state == staging || s.reload.owns(w) {
		digest, bundle = s.reload.candidate.digest, s.reload.bundle
	}
	s.send(w, handoff.Prepare, handoff.PrepareBody{Config: w.offer, SHA256: digest}, int(bundle.Fd()))
}

// sendBatch sends as many of list as fit in one message and returns the rest.
func (s *supervisor) sendBatch(w *worker, list []descriptor) (rest []descriptor) {
	var names []string
	var fds []int
	for _, d := range list {
		if d.with != list[0].with || len(fds) == handoff.MaxFiles {
			break
		}
		names, fds = append(names, d.name), append(fds, d.fd)
	}
	var body any = handoff.ListenBody{Names: names}
	if list[0].with == handoff.Logs {
		body = handoff.LogsBody{Names: names}
	}
	s.send(w, list[0].with, body, fds...)
	return list[len(fds):]
}

// ended is told how process p ended.
func (s *supervisor) ended(w *worker, p *process, how string) {
	if w.process != p {
		return
	}
	if reason := p.tail.reason(w.served.IsZero()); reason != "" {
		how += ": " + reason
	}
	if w.refusal.text == "" || w.state != stuck && w.state != dying { // else the end of it was our doing
		w.refusal = refusal{codeStart, how}
	}
	s.apply(w, exited)
}

// bury records the end of a process and when the next one starts.
func (s *supervisor) bury(w *worker) {
	w.exits++
	w.lastExit = w.refusal.text
	if s.stopping || w.leaving != "" {
		s.log.Info("worker ended", "slot", w.slot, "pid", w.pid(), "how", w.lastExit)
	} else {
		if !w.served.IsZero() && w.since.Sub(w.served) >= healthyTime {
			w.failures = 0
		}
		w.failures++
		if w.process != nil && !w.process.killedOutside() && w.generation == s.generation {
			defer s.crashed(w)
		}
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
	return w.process.pid
}
