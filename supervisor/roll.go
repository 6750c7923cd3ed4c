package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
)

// A roll replaces the workers by a new generation, and never the other way round:
// a canary starts, answers a request of its own, accepts beside the old workers
// and is watched; then the rest start, one by one; only then do the old ones
// drain. Until then whatever goes wrong ends the new ones, and the old ones have
// noticed nothing.

const (
	// probation is how long the canary is watched.
	probation = 5 * time.Second
	// maxGenerations may live at once; the oldest beyond that has to go.
	maxGenerations = 3
	// releaseLimit is how long a removed listener waits for the old workers to
	// take what is queued on it.
	releaseLimit = 3 * time.Second
)

// A roll is what a reload knows that replaces the workers.
type roll struct {
	wanted     bool
	generation uint32    // the new one; 0 until it is begun
	canary     *worker   // its first
	before     [2]tally  // of the canary and of the old generation, when the probation began
	until      time.Time // end of the probation, or of the wait for listeners
}

// owns tells whether w is of the new generation, not yet in force.
func (r *reload) owns(w *worker) bool {
	return r != nil && r.phase != switching && r.roll.generation != 0 && w.generation == r.roll.generation
}

// needsRoll tells whether running workers cannot take the new configuration.
func needsRoll(now, next *config.Config) bool {
	return workerCount(now) != workerCount(next) || now.Supervisor.User != next.Supervisor.User
}

// try starts the canary.
func (s *supervisor) try(r *reload) {
	want := workerCount(r.candidate.config)
	if free := s.freeSlots(); free < want {
		s.refuseReload(refusal{codeStart, fmt.Sprintf("a new generation of %d workers: only %d of %d slots are free, others drain: try again later",
			want, free, shm.MaxSlots)})
		return
	}
	r.phase = trying
	s.newest++
	r.roll.generation = s.newest
	s.log.Info("a new generation begins", "generation", r.roll.generation, "workers", want)
	r.roll.canary = s.join(r.roll.generation)
}

// join adds a worker to a generation; it is due to start at once.
func (s *supervisor) join(generation uint32) *worker {
	w := &worker{slot: s.freeSlot(), generation: generation, since: time.Now()}
	s.workers = append(s.workers, w)
	s.sortWorkers()
	return w
}

// stepRoll does the next thing of a roll if it can be done already.
func (s *supervisor) stepRoll(now time.Time) bool {
	r := s.reload
	switch {
	case r.phase == trying && r.roll.canary.state.serves():
		r.phase = proving
		r.roll.before, r.roll.until = s.tallies(), now.Add(s.probation)
	case r.phase == proving && !now.Before(r.roll.until):
		after := s.tallies()
		if why := worse(after[0].since(r.roll.before[0]), after[1].since(r.roll.before[1])); why != "" {
			r.refusal = refusal{codeStart, fmt.Sprintf("generation %d: %s", r.roll.generation, why)}
			return true
		}
		r.phase, r.roll.until = joining, time.Time{}
	case r.phase == joining && !s.any(func(w *worker) bool { return r.owns(w) && !w.state.serves() }):
		if s.count(r.owns) < workerCount(r.candidate.config) {
			s.join(r.roll.generation)
		} else if s.trial != nil {
			s.offerTrial(r)
		} else {
			s.replace(r)
		}
	default:
		return false
	}
	return true
}

// replace puts the new generation in force. From here on the old one goes.
func (s *supervisor) replace(r *reload) {
	r.phase, r.roll.until = switching, time.Now().Add(releaseLimit)
	s.generation = r.roll.generation
	s.sockets.add(r.added)
	s.enforce(r.number, r.candidate, r.bundle)
	s.sockets.address(s.config)
	s.retireOthers(fmt.Sprintf("replaced by generation %d", s.generation))
}

// retireOthers has all workers go that are not of the generation in force.
func (s *supervisor) retireOthers(why string) {
	for _, w := range s.workers {
		if w.generation == s.generation {
			continue
		}
		if w.leaving == "" {
			w.leaving = why
			s.apply(w, retired)
		}
		s.hurry(w)
	}
}

// hurry ends what a draining worker has left, if as many newer generations live as
// may. Numbers do not tell: those of rolls that failed are missing.
func (s *supervisor) hurry(w *worker) {
	newer := make(map[uint32]bool)
	for _, other := range s.workers {
		if other.generation > w.generation {
			newer[other.generation] = true
		}
	}
	if len(newer) >= maxGenerations && w.state == draining {
		s.send(w, handoff.Drain, handoff.DrainBody{})
		w.limit = time.Now().Add(drainGrace)
	}
}

// settled ends a reload that has been decided once nobody accepts any more from
// the listeners that it has removed.
func (s *supervisor) settled(now time.Time) bool {
	r := s.reload
	if now.Before(r.roll.until) && (s.any(func(w *worker) bool { return w.state == draining && !w.released }) || s.strangers()) {
		return false
	}
	s.sockets.prune(s.config)
	s.store()
	text := s.active()
	if r.back {
		text += ", the last good one: " + s.confidence.why
	}
	s.finishReload(result{OK: true, Text: text})
	return true
}

// A tally is what workers have answered.
type tally struct{ responses, failures uint64 }

func (t tally) since(before tally) tally {
	return tally{t.responses - before.responses, t.failures - before.failures}
}

// tallies are those of the canary and of the generation in force.
func (s *supervisor) tallies() (t [2]tally) {
	t[0].add(s.segment.Slot(s.reload.roll.canary.slot))
	for _, w := range s.workers {
		if w.current(s) {
			t[1].add(s.segment.Slot(w.slot))
		}
	}
	for _, slot := range s.theirs {
		t[1].add(s.segment.Slot(slot))
	}
	return t
}

func (t *tally) add(slot *shm.Slot) {
	for c := shm.Responses1xx; c <= shm.Responses5xx; c++ {
		t.responses += slot.Counters[c].Load()
	}
	t.failures += slot.Counters[shm.Responses5xx].Load()
}

// worse says why a canary must not be followed by others, "" if nothing speaks
// against it: it answers most with 5xx while the old generation does not. Of few
// answers, or where servers fail for all, nothing can be told.
func worse(canary, old tally) string {
	const enough = 20
	if canary.responses < enough || canary.failures*2 < canary.responses || old.failures*10 > old.responses {
		return ""
	}
	return fmt.Sprintf("the first worker answered %d of %d requests with 5xx, the old ones %d of %d",
		canary.failures, canary.responses, old.failures, old.responses)
}

// askRoll is for the admin socket: it waits for the outcome.
func (s *supervisor) askRoll(ctx context.Context) (result, error) {
	return s.askFor(ctx, "a new generation of workers", func(answer chan<- result) {
		s.rolling = true
		s.requestReload(answer)
	})
}
