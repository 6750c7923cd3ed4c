package supervisor

import (
	"cmp"
	"slices"
	"syscall"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// current tells whether w is one of those that are to serve.
func (w *worker) current(s *supervisor) bool { return w.generation == s.generation && w.leaving == "" }

func (s *supervisor) count(f func(*worker) bool) int {
	n := 0
	for _, w := range s.workers {
		if f(w) {
			n++
		}
	}
	return n
}

// fit adds workers to the generation in force until it is complete.
func (s *supervisor) fit() {
	for s.count(func(w *worker) bool { return w.current(s) }) < workerCount(s.config) {
		slot := s.freeSlot()
		if slot < 0 {
			s.log.Error("no free slot for another worker", "slots", shm.MaxSlots)
			return
		}
		s.workers = append(s.workers, &worker{slot: slot, generation: s.generation, since: time.Now()})
	}
	s.sortWorkers()
}

// free tells whether nobody writes the counters of a slot. A process that we do
// not know may be an orphan that has yet to come in.
func (s *supervisor) free(slot int) bool {
	if slices.Contains(s.theirs, slot) || slices.ContainsFunc(s.workers, func(w *worker) bool { return w.slot == slot }) {
		return false
	}
	pid := int(s.segment.Slot(slot).Pid.Load())
	return pid == 0 || syscall.Kill(pid, 0) == syscall.ESRCH
}

// freeSlot finds a slot that is free; -1: none is.
func (s *supervisor) freeSlot() int {
	for slot := range shm.MaxSlots {
		if s.free(slot) {
			return slot
		}
	}
	return -1
}

func (s *supervisor) freeSlots() int {
	n := 0
	for slot := range shm.MaxSlots {
		if s.free(slot) {
			n++
		}
	}
	return n
}

func (s *supervisor) sortWorkers() {
	slices.SortFunc(s.workers, func(a, b *worker) int {
		return cmp.Or(cmp.Compare(a.generation, b.generation), cmp.Compare(a.slot, b.slot))
	})
}
