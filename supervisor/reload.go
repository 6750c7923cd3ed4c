package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/supervisor/admin"
)

type result = admin.Result

// A phase is how far a reload has come.
type phase uint8

const (
	reading   phase = iota // off the loop: the disk may be slow
	waiting                // read and valid; until no worker is starting
	offering               // workers prepare it; none uses it
	trying                 // a roll: the canary starts
	proving                // a roll: the canary serves beside the old generation
	joining                // a roll: the rest of the new generation starts, one by one
	proven                 // a roll on trial: all is ready to take over from another supervisor
	switching              // decided; workers take it into use
)

// A reload is one in progress: of the configuration in the same workers or, as a
// roll, in new ones. It is either carried out whole or leaves no trace.
type reload struct {
	phase     phase
	candidate *candidate // nil while reading
	number    uint64
	bundle    *os.File  // of the candidate, sealed
	added     []*socket // that only it needs
	waiters   []chan<- result
	back      bool   // to the last good configuration
	changed   string // files that it is because of; "": it was asked for
	adoption  bool   // not of ours: the rest of what a dead supervisor had decided
	roll      roll

	refusal refusal // why it cannot be
}

// A candidate is a valid configuration as read from the disk.
type candidate struct {
	config   *config.Config
	bytes    []byte // of its bundle
	digest   [32]byte
	stamps   map[string]config.Stamp // of the files in it that the configuration names
	logs     logs                    // open once open has been called
	identity identity                // of workers; the same
}

func read(path string) (*candidate, error) { return newCandidate(config.Load(path)) }

func newCandidate(bundle *config.Bundle, cfg *config.Config, err error) (*candidate, error) {
	if err != nil {
		return nil, err
	}
	return &candidate{config: cfg, bytes: bundle.Encode(), digest: bundle.Digest(), stamps: bundle.Stamps()}, nil
}

func (c *candidate) seal() (*os.File, error) { return handoff.Seal("bundle", c.bytes) }

// A refusal is why something cannot be, and the exit code that says so.
type refusal struct {
	code int
	text string // "": none
}

// holdsStarts tells whether a worker started now would be of the wrong
// configuration a moment later.
func (r *reload) holdsStarts() bool {
	return r != nil && (r.phase == waiting || r.phase == offering || r.phase == switching && r.roll.generation == 0)
}

// requestReload asks for a reload. Those asked for while one is in progress
// become a single one after it, because it may have read the file too early.
func (s *supervisor) requestReload(waiter chan<- result) {
	s.pending = true
	if waiter != nil {
		s.waiting = append(s.waiting, waiter)
	}
}

// advanceReload takes reloads as far as they can go at the moment.
func (s *supervisor) advanceReload(now time.Time) {
	for s.stepReload(now) {
	}
}

// stepReload does the next thing if it can be done already.
func (s *supervisor) stepReload(now time.Time) bool {
	r := s.reload
	switch {
	case r == nil && (!s.ready || s.stopping || s.upgrade != nil && s.upgrade.begun || !s.pending && s.watch.changed == ""):
		return false
	case r == nil:
		s.beginReload()
	case r.phase == waiting && !s.any(func(w *worker) bool { return w.state.starts() }):
		if s.stage(r); s.reload == r && r.roll.wanted {
			s.try(r)
		} else if s.reload == r {
			s.offer(r)
		}
	case r.refusal.text != "" && r.phase != switching:
		s.refuseReload(r.refusal)
	case r.phase == offering && !s.any(r.undecided):
		s.commit(r)
	case r.phase == switching && !s.any(func(w *worker) bool { return w.state == committing }):
		return s.settled(now)
	default:
		return s.stepRoll(now)
	}
	return true
}

// undecided tells whether w may still refuse: one that dies does so only when it
// is known of what.
func (r *reload) undecided(w *worker) bool { return w.offer == r.number && w.state != staged }

func (s *supervisor) any(f func(*worker) bool) bool { return slices.ContainsFunc(s.workers, f) }

func (s *supervisor) beginReload() {
	r := &reload{waiters: s.waiting, roll: roll{wanted: s.rolling}}
	var load func() (*candidate, error)
	if s.pending {
		load, r.back = s.nextCandidate()
	} else {
		load, r.changed = s.refresh()
	}
	s.reload, s.pending, s.rolling, s.waiting = r, false, false, nil
	s.notify(s.manager.Reloading())
	// Nobody waits for it at the end: a disk that hangs must not hold up a stop.
	go func() {
		c, err := load()
		if err != nil {
			err = &ExitError{codeConfig, err}
		} else {
			err = c.open()
		}
		if !s.post(func() { s.loaded(r, c, err) }) {
			c.drop()
		}
	}()
}

// loaded is told what the file says now.
func (s *supervisor) loaded(r *reload, c *candidate, err error) {
	if s.reload != r {
		c.drop() // abandoned
		return
	}
	if err != nil {
		s.refuseReload(refusal{exitCode(err), err.Error()})
		return
	}
	r.candidate = c
	if err := s.distrusts(c); err != nil && !r.back {
		s.refuseReload(refusal{codeConfig, err.Error()})
		return
	}
	if c.digest == s.digest && !r.roll.wanted {
		s.watch = newWatch(c.stamps)
		c.drop()
		s.finishReload(result{OK: true, Text: s.active() + ", unchanged"})
		return
	}
	if fixed := fixedKeys(s.own, c.config.Supervisor); fixed != "" {
		s.refuseReload(refusal{codeConfig, fixed})
		return
	}
	r.roll.wanted = r.roll.wanted || needsRoll(s.config, c.config)
	r.phase = waiting
}

// fixedKeys names the keys that differ and that only a restart can change.
func fixedKeys(a, b config.Supervisor) string {
	var changed []string
	differ := func(key string, from, to any) {
		if from != to {
			changed = append(changed, fmt.Sprintf("supervisor.%s: %v -> %v", key, from, to))
		}
	}
	differ("pid_file", a.PIDFile, b.PIDFile)
	differ("state_dir", a.StateDir, b.StateDir)
	differ("log", a.Log, b.Log)
	if changed == nil {
		return ""
	}
	return strings.Join(changed, ", ") + ": a reload cannot change this, a restart is needed; nothing was changed"
}

// stage opens what the new configuration needs.
func (s *supervisor) stage(r *reload) {
	var err error
	if r.bundle, err = r.candidate.seal(); err != nil {
		s.refuseReload(refusal{codeStart, err.Error()})
		return
	}
	if r.added, err = s.sockets.missing(r.candidate.config); err != nil {
		s.refuseReload(refusal{codeStart, err.Error()})
		return
	}
	r.number = s.number
	if r.candidate.digest != s.digest {
		s.offered++
		r.number = s.offered
	}
}

// offer offers the new configuration to all workers.
func (s *supervisor) offer(r *reload) {
	r.phase = offering
	for _, w := range s.workers {
		if w.state == serving {
			w.queue, w.offer, w.sent, w.refusal = append(descriptorsOf(r.added), r.candidate.logs...), r.number, false, refusal{}
			s.apply(w, offered)
		}
	}
}

// refuse records why w cannot use the configuration.
func (r *reload) refuse(w *worker) {
	if r != nil && r.refusal.text == "" {
		r.refusal = refusal{w.refusal.code, fmt.Sprintf("worker %d: %s", w.slot, w.refusal.text)}
	}
}

// buried is told that a worker is gone. If it died over the configuration that
// it was offered, that is a refusal. If it was killed it says nothing about it,
// and the next worker in the slot gets whatever is in force then.
func (r *reload) buried(w *worker) {
	if r.owns(w) && w.leaving == "" {
		r.refusal = refusal{w.refusal.code, fmt.Sprintf("generation %d: worker %d: %s", w.generation, w.slot, w.refusal.text)}
	}
	// On the way back they die of what is in force, not of what is offered.
	if r != nil && !r.back && r.phase == offering && w.offer == r.number && !w.process.killedOutside() {
		r.refuse(w)
	}
}

// commit decides for the new configuration. From here on it is in force, and a
// worker that does not take it is replaced by one that does.
func (s *supervisor) commit(r *reload) {
	r.phase = switching
	s.sockets.add(r.added)
	s.enforce(r.number, r.candidate, r.bundle)
	for _, w := range s.workers {
		s.apply(w, decided)
		if w.state == gone {
			w.due = w.since // what kept it from starting may have been the old configuration
		}
	}
}

// refuseReload ends the reload without a trace.
func (s *supervisor) refuseReload(why refusal) {
	r := s.reload
	for _, w := range s.workers {
		if r.owns(w) {
			w.leaving = "its generation has failed"
			s.apply(w, hurried)
		}
		s.apply(w, dropped)
	}
	drop(r.added)
	r.candidate.drop()
	if r.bundle != nil {
		r.bundle.Close()
	}
	s.finishReload(result{Code: why.code, Text: why.text})
}

// finishReload tells everybody the outcome.
func (s *supervisor) finishReload(res result) {
	r := s.reload
	s.reload = nil
	switch {
	case r.adoption:
		return
	case s.trial != nil:
		s.fail(&ExitError{res.Code, errors.New(res.Text)})
		return
	}
	res.Config = s.number
	brief, more, _ := strings.Cut(res.Text, "\n")
	if res.OK {
		s.outcome = brief
		s.log.Info("reloaded"+r.changes(" because "), "outcome", brief)
	} else {
		s.outcome = fmt.Sprintf("reload failed: %s; config %d stays%s", summary(res.Text), s.number, r.changes(", though "))
		s.log.Error(s.outcome)
		if more != "" {
			_, _ = fmt.Fprintln(s.output, strings.TrimRight(res.Text, "\n")) // with its carets in place
		}
	}
	if !s.stopping {
		s.notify(s.manager.Ready(s.outcome))
	}
	for _, w := range r.waiters {
		w <- res
	}
}

// abandonReload ends the reload and those that wait for one, because we stop.
func (s *supervisor) abandonReload() {
	if s.reload != nil {
		if s.reload.phase == switching {
			s.finishReload(result{OK: true, Text: s.active()})
		} else {
			s.refuseReload(refusal{codeStart, errStopping.Error()})
		}
	}
	for _, w := range s.waiting {
		w <- result{Code: codeStart, Config: s.number, Text: errStopping.Error()}
	}
	s.waiting, s.pending = nil, false
}

// summary is the one line of a diagnostic that says most: with its place.
func summary(text string) string {
	lines := strings.Split(text, "\n")
	first := strings.TrimPrefix(lines[0], "error: ")
	if len(lines) > 1 {
		if place, ok := strings.CutPrefix(strings.TrimSpace(lines[1]), "--> "); ok {
			return place + ": " + first
		}
	}
	return first
}

// askReload is for the admin socket: it waits for the outcome.
func (s *supervisor) askReload(ctx context.Context) (result, error) {
	return s.askFor(ctx, "reload", s.requestReload)
}

// askFor makes a request of the admin socket and waits for the outcome.
func (s *supervisor) askFor(ctx context.Context, what string, request func(chan<- result)) (result, error) {
	answer := make(chan result, 1)
	if !s.post(func() {
		if s.stopping {
			answer <- result{Code: codeStart, Config: s.number, Text: errStopping.Error()}
			return
		}
		s.log.Info("asked for on the admin socket", "what", what)
		request(answer)
	}) {
		return result{}, errStopping
	}
	select {
	case res := <-answer:
		return res, nil
	case <-ctx.Done():
		return result{}, ctx.Err()
	case <-s.done:
	}
	select {
	case res := <-answer: // the last thing that was done
		return res, nil
	default:
		return result{}, errStopping
	}
}
