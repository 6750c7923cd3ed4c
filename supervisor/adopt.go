package supervisor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
)

// How long a new supervisor waits for the workers of a dead one before it
// serves. Orphans dial every 240 ms at most.
const (
	firstOrphanLimit = 2 * time.Second // for the first, if there was a supervisor that died
	lastOrphanLimit  = 3 * time.Second // for all that live
	freshBeat        = 3 * time.Second // a worker that has not beaten for so long may be stopped
	strayLimit       = 2 * time.Second // for those that a dead successor has left
	acceptPause      = 100 * time.Millisecond
)

// gather waits for the workers of a supervisor that has died and opens the
// segment that they share.
func (s *supervisor) gather() {
	s.tasks.Go(s.admit)
	if !s.door.stale {
		return
	}
	timer := time.NewTimer(firstOrphanLimit)
	defer timer.Stop()
	for s.segment == nil || s.strangers() {
		select {
		case f := <-s.events:
			f()
			if len(s.orphans) == 1 {
				timer.Reset(lastOrphanLimit)
			}
		case <-timer.C:
			return
		}
	}
}

// admit lets orphans in until the door is closed.
func (s *supervisor) admit() {
	for {
		conn, err := s.door.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as: too many open files
			s.log.Warn("adoption", "error", err)
			time.Sleep(acceptPause)
			continue
		}
		s.tasks.Go(func() {
			o, err := s.door.meet(conn)
			if err != nil {
				s.log.Warn("adoption", "error", err)
				conn.Close()
			} else if !s.post(func() { s.arrived(o) }) {
				o.close()
			}
		})
	}
}

// arrived takes an orphan, or keeps it until we are ready for it.
func (s *supervisor) arrived(o *orphan) {
	if s.config != nil {
		s.take(o)
		return
	}
	if s.segment == nil {
		if err := s.share(o.segment); err != nil {
			s.log.Warn("worker of another build", "pid", o.hello.Pid, "error", err)
		}
	}
	s.orphans = append(s.orphans, o)
}

// share opens a duplicate of a segment's descriptor as the one of this supervisor.
func (s *supervisor) share(f *os.File) error {
	var fd int
	err := control(f, func(old int) (err error) { fd, err = dup(old); return err })
	if err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	s.segment, err = shm.Open(os.NewFile(uintptr(fd), "shm"))
	return err
}

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) }

// strangers tells whether a worker lives that is none of ours: an orphan that has
// not come in yet.
func (s *supervisor) strangers() bool {
	for i := range shm.MaxSlots {
		slot := s.segment.Slot(i)
		pid := int(slot.Pid.Load())
		if pid != 0 && !s.came(pid) && shm.Now()-slot.Beat.Load() < int64(freshBeat) && syscall.Kill(pid, 0) != syscall.ESRCH {
			return true
		}
	}
	return false
}

func (s *supervisor) came(pid int) bool {
	return slices.ContainsFunc(s.orphans, func(o *orphan) bool { return o.hello.Pid == pid }) ||
		s.any(func(w *worker) bool { return w.pid() == pid })
}

// inherit makes what the orphans have brought ours. It returns the configuration
// in force if it is among that, and the record of it.
func (s *supervisor) inherit(e *estate) (*candidate, shm.Record, error) {
	if err := s.inheritSockets(s.collected); err != nil {
		s.log.Warn("descriptor store", "error", err)
	}
	if s.segment == nil {
		s.sockets.own()
		return nil, shm.Record{}, nil
	}
	var bundles []*os.File
	if e != nil {
		defer e.bundle.Close()
		bundles = append(bundles, e.bundle)
		if err := errors.Join(s.inheritSockets(e.sockets), s.inheritAdmin(e)); err != nil {
			return nil, shm.Record{}, err
		}
	}
	record := s.segment.Decision().Committed()
	s.generation, s.offered = max(record.Generation, 1), record.Config
	s.newest = s.generation
	var inForce *candidate
	for _, o := range s.orphans {
		s.offered = max(s.offered, o.hello.Config, o.hello.Prepared)
		s.newest = max(s.newest, o.generation)
		bundles = append(bundles, o.bundles...)
		if err := s.inheritSockets(o.sockets); err != nil {
			s.log.Warn("adoption", "error", err)
		}
		o.sockets = nil
	}
	for _, f := range bundles {
		if inForce == nil {
			inForce = unseal(f, record.Digest)
		}
	}
	s.sockets.own()
	if inForce == nil {
		if len(s.orphans) > 0 {
			s.log.Warn("no worker has the configuration that was in force: the file is taken instead")
		}
		return nil, record, nil
	}
	if err := inForce.open(); err != nil {
		s.log.Error("new workers lack something", "error", err)
	}
	return inForce, record, nil
}

// inheritSockets takes those that can be taken.
func (s *supervisor) inheritSockets(list []descriptor) error {
	var errs []error
	for _, d := range list {
		if err := s.sockets.inherit(d); err != nil {
			errs = append(errs, fmt.Errorf("listener %s: %w", d.name, err))
		}
	}
	return errors.Join(errs...)
}

// unseal reads a bundle if it is the one with that digest.
func unseal(f *os.File, digest [32]byte) *candidate {
	data, err := handoff.Unseal(f)
	if err != nil {
		return nil
	}
	return unpack(data, digest)
}

func unpack(data []byte, digest [32]byte) *candidate {
	if sha256.Sum256(data) != digest {
		return nil
	}
	bundle, err := config.DecodeBundle(data)
	if err != nil {
		return nil
	}
	cfg, err := bundle.Parse()
	if err != nil {
		return nil // of a build that knew more than this one
	}
	return &candidate{config: cfg, bytes: data, digest: digest, stamps: bundle.Stamps()}
}

// judge says what becomes of an orphan by what is in force, and why it is to
// leave if it is.
func judge(r shm.Record, h handoff.HelloBody, generation uint32) (ev happening, leaving string) {
	switch {
	case h.Draining:
		return bygone, "drains since before this supervisor"
	case generation > r.Generation:
		return stray, "of a generation that never came into force"
	case generation < r.Generation:
		return claimed, "of an earlier generation"
	case h.Config == r.Config:
		return claimed, ""
	case h.Prepared == r.Config:
		return behind, ""
	}
	return claimed, "of a configuration that is not in force"
}

// take makes an orphan a worker of ours.
func (s *supervisor) take(o *orphan) {
	record := shm.Record{Config: s.number, Generation: s.generation}
	ev, leaving := judge(record, o.hello, o.generation)
	if ev == claimed && leaving == "" {
		leaving = s.noPlaceFor(o)
	}
	r, w, err := os.Pipe()
	if err == nil {
		err = errors.Join(o.conn.Send(handoff.Owner, o.generation, handoff.OwnerBody{Incarnation: s.incarnation}, w), w.Close())
	}
	if err != nil {
		s.log.Warn("orphan not taken", "pid", o.hello.Pid, "error", err)
		r.Close() // nil if there is no pipe
		o.close()
		return
	}
	o.segment.Close()
	for _, f := range o.bundles {
		f.Close()
	}
	logs(o.sockets).close() // we have them, or had them
	now := time.Now()
	worker := &worker{slot: o.hello.Slot, generation: o.generation, leaving: leaving, since: now, beat: now, offer: s.number}
	s.vacate(worker)
	s.workers = append(s.workers, worker)
	s.sortWorkers()
	s.attend(worker, &process{pid: o.hello.Pid, pidfd: o.pidfd, conn: o.conn, logs: r, answers: o.hello.Answers})
	s.apply(worker, ev)
	if leaving != "" {
		s.log.Info("worker is to go", "slot", worker.slot, "pid", worker.pid(), "reason", leaving)
	}
	if leaving != "" || s.stopping {
		s.apply(worker, retired)
	}
	for _, w := range s.workers {
		s.hurry(w) // it may be that now there is one generation too many
	}
}

// noPlaceFor says why an orphan that could go on cannot: when we took over
// without it, as it had been stopped.
func (s *supervisor) noPlaceFor(o *orphan) string {
	if s.reload.holdsStarts() {
		return "it came in the midst of a reload"
	}
	if !sameFile(o.segment, s.segment.File()) {
		return "of another shared segment"
	}
	for _, w := range s.workers {
		if w.slot == o.hello.Slot && w.state != gone {
			return "its slot was given to another"
		}
	}
	if serving := s.count(func(w *worker) bool { return w.current(s) && w.state != gone }); serving >= workerCount(s.config) {
		return "there are enough without it"
	}
	return ""
}

// vacate makes room for an adopted worker among those that have no process.
func (s *supervisor) vacate(adopted *worker) {
	if adopted.leaving != "" {
		return
	}
	victim := -1
	for i, w := range s.workers {
		if w.current(s) && w.state == gone && (victim < 0 || w.slot == adopted.slot) {
			victim = i
		}
	}
	if victim >= 0 {
		s.workers = append(s.workers[:victim], s.workers[victim+1:]...)
	}
}
