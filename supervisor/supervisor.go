package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/supervisor/sysd"
)

// A supervisor is the state that the goroutine in run owns. What other
// goroutines use of it does not change after prepare.
type supervisor struct {
	options    Options
	environ    []string // of workers
	started    time.Time
	log        *slog.Logger
	output     *output
	manager    *sysd.Manager
	upgrader   *tableflip.Upgrader
	home       *home
	admin      *socket
	closeAdmin func()
	parent     *parent // that waits for us to be ready; nil if none does
	segment    *shm.Segment
	jitter     func() float64

	own config.Supervisor // what this process itself uses, from its start to its end

	// The configuration in force.
	number     uint64 // of it; 1 is the one we started with
	config     *config.Config
	digest     [32]byte
	bundle     *os.File // sealed
	logs       logs     // that it names
	workersAre identity
	confidence confidence // in it

	sockets    sockets
	workers    []*worker // by generation and slot
	generation uint32    // that is to serve
	newest     uint32    // that has ever begun
	probation  time.Duration

	incarnation uint64          // of the supervisor, over all that have owned the segment
	door        *door           // where orphans come in
	stored      map[string]bool // descriptors that the service manager keeps for us
	collected   []descriptor    // listeners among those that it has passed
	orphans     []*orphan       // that came before we were ready for them

	offered uint64  // highest number that any reload has used
	reload  *reload // in progress; nil if none is
	pending bool    // another one was asked for
	rolling bool    // and it is to be a roll
	waiting []chan<- result
	outcome string // of the last reload
	watch   *watch // of the files that the configuration in force names

	inquiries map[uint64]inquiry // by number

	upgrade *upgrade      // asked for or in progress; nil if none is
	strays  time.Time     // until when workers of a failed successor may come in
	trial   *handoff.Conn // to the supervisor whose successor we are to be; nil if we are none, or not any more
	theirs  []int         // slots of that one's workers
	leaves  bool          // and once all is ours we leave it to whoever comes
	left    bool          // all is another's

	ready    bool // workers accept, the world has been told
	stopping bool
	failure  *ExitError // why we stop, unless we were asked to

	watchdog time.Time // when to feed it next
	wake     time.Time // when advance is to be called next, at the latest

	hangups chan os.Signal
	signals chan os.Signal
	deaths  chan os.Signal // of children; nil: none can be a stranger
	events  chan func()    // to run on the goroutine in run
	done    chan struct{}  // closed when nobody takes events any more
	tasks   sync.WaitGroup
	ending  sync.Once
}

// enforce makes a configuration the one in force.
func (s *supervisor) enforce(number uint64, c *candidate, bundle *os.File) {
	if s.bundle != nil {
		s.bundle.Close()
	}
	s.logs.close()
	s.number, s.config, s.digest, s.bundle, s.logs, s.workersAre = number, c.config, c.digest, bundle, c.logs, c.identity
	s.door.allow(c.identity.uid())
	s.trust(c)
	s.watch = newWatch(c.stamps)
	s.offered = max(s.offered, number)
	s.segment.Decision().Commit(s.record())
}

// post hands f to the goroutine in run. It reports false if that has ended.
func (s *supervisor) post(f func()) bool {
	select {
	case s.events <- f:
		return true
	case <-s.done:
		return false
	}
}

// run is the life of the supervisor. It returns when no worker is left.
func (s *supervisor) run() error {
	s.log.Info("starting", "version", s.options.Build, "config", s.options.Config, "workers", workerCount(s.config))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.drainEvents()
		if s.advance(time.Now()) {
			break
		}
		timer.Reset(time.Until(s.wake))
		select {
		case f := <-s.events:
			f()
		case <-s.hangups:
			s.log.Info("SIGHUP: reload")
			s.requestReload(nil)
		case sig := <-s.signals:
			s.signal(sig)
		case <-s.deaths:
			s.reap()
		case <-timer.C:
		}
	}
	s.end()
	if s.failure != nil {
		return s.failure
	}
	if !s.left {
		s.log.Info("stopped")
	}
	return nil
}

// end waits for all that this supervisor has started.
func (s *supervisor) end() {
	s.ending.Do(func() {
		close(s.done)
		if s.left || s.trial != nil {
			s.door.listener.Close() // the door is another's
			return                  // and so are the processes that our goroutines wait for
		}
		s.door.close()
		s.tasks.Wait()
	})
}

// drainEvents runs what has already arrived. It comes before any look at the
// clock: what was in time must count before time-outs do.
func (s *supervisor) drainEvents() {
	for {
		select {
		case f := <-s.events:
			f()
		default:
			return
		}
	}
}

// forgive grants the workers the time that this process itself has slept, such
// as in a container that was paused: they may not have run either, or what they
// said is still on its way.
func (s *supervisor) forgive(now time.Time) {
	late := now.Sub(s.wake)
	if s.wake.IsZero() || late < lateLimit {
		return
	}
	s.log.Warn("the supervisor did not run for a while; time-outs begin anew", "late", late)
	for _, w := range s.workers {
		w.beat = now
		if !w.limit.IsZero() {
			w.limit = w.limit.Add(late)
		}
	}
}

// advance does everything that has become due by now and sets the time to wake.
// It reports true when all is over.
func (s *supervisor) advance(now time.Time) (over bool) {
	if s.left || s.leaves && s.trial == nil {
		s.wake = now.Add(wakeEvery)
		return s.left
	}
	s.forgive(now)
	s.advanceWatch(now)
	for _, w := range s.workers {
		if t := s.deadline(w); !t.IsZero() && !now.Before(t) {
			s.apply(w, timeout)
		}
	}
	s.advanceReload(now)
	s.advanceUpgrade(now)
	s.advanceTrust(now)
	s.workers = slices.DeleteFunc(s.workers, func(w *worker) bool { return w.leaving != "" && w.state == gone })
	if !s.stopping {
		s.spawn(now)
	}
	s.advanceStart()
	s.feedWatchdog(now)
	s.wake = s.nextWake(now)
	return s.left || s.stopping && s.upgrade == nil && !s.any(func(w *worker) bool { return w.state != gone }) &&
		(now.After(s.strays) || !s.strangers())
}

// spawn starts the workers whose back-off is over.
func (s *supervisor) spawn(now time.Time) {
	if s.reload.holdsStarts() {
		return
	}
	for _, w := range s.workers {
		if w.state == gone && !now.Before(w.due) {
			s.apply(w, due)
		}
	}
}

// advanceStart finds the moment when the proxy is up, or cannot come up: all
// workers have been tried, and at least one serves, or none does.
func (s *supervisor) advanceStart() {
	if s.ready || s.stopping || s.trial != nil {
		return
	}
	up := 0
	var failed *worker
	for _, w := range s.workers {
		switch {
		case w.state.serves():
			up++
		case w.exits == 0:
			return // not known yet
		default:
			failed = w
		}
	}
	if up == 0 {
		s.fail(&ExitError{codeStart, fmt.Errorf("no worker could start; worker %d: %s", failed.slot, failed.lastExit)})
		return
	}
	if err := writePid(s.own.PIDFile); err != nil {
		s.fail(&ExitError{codeStart, err})
		return
	}
	s.ready = true
	s.notify(s.manager.Ready(s.active()))
	s.store()
	s.log.Info("serving", "config", s.number, "workers", up, "pid", os.Getpid(), "admin", s.own.AdminSocket)
	s.parent.ready()
	if err := s.upgrader.Ready(); err != nil {
		s.log.Error("upgrades will not be possible", "error", err)
	}
}

// active describes the configuration in force, for people.
func (s *supervisor) active() string { return fmt.Sprintf("config %d active", s.number) }

// signal does what a signal other than a hang-up asks for.
func (s *supervisor) signal(sig os.Signal) {
	switch sig {
	case syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT:
		s.stop(sig.String())
	case syscall.SIGUSR1:
		s.log.Info("SIGUSR1: reopen logs")
		s.reopenLogs(nil)
	case syscall.SIGUSR2:
		s.log.Info("SIGUSR2: upgrade")
		s.requestUpgrade(nil)
	}
}

// stop drains the workers and lets run end; a second call kills them.
func (s *supervisor) stop(why string) {
	ev := retired
	if s.stopping {
		s.log.Info("stopping at once", "reason", why)
		ev = hurried
	} else {
		s.log.Info("stopping", "reason", why, "drain_timeout", s.config.Supervisor.DrainTimeout)
		s.stopping = true
		if s.trial == nil {
			s.notify(s.manager.Stopping("draining, at most " + s.config.Supervisor.DrainTimeout.String()))
		}
		s.abandonReload()
		s.abandonUpgrade(refusal{codeStart, errStopping.Error()})
	}
	for _, w := range s.workers {
		s.apply(w, ev)
	}
	if s.manager.Stores() {
		s.sockets.disown() // they live on
	}
	// The workers accept what is queued; as each has closed its descriptors, the
	// kernel refuses new connections instead of queueing them for nobody.
	s.sockets.close()
}

// fail ends run with err, without draining.
func (s *supervisor) fail(err *ExitError) {
	if s.failure == nil {
		s.failure = err
	}
	s.stopping = true
	s.abandonReload()
	s.abandonUpgrade(refusal{codeStart, errStopping.Error()})
	for _, w := range s.workers {
		s.apply(w, hurried)
	}
}

// feedWatchdog tells systemd that we live, as long as that is of use: while a
// worker lives too.
func (s *supervisor) feedWatchdog(now time.Time) {
	interval := s.manager.Watchdog()
	if interval == 0 || now.Before(s.watchdog) {
		return
	}
	s.watchdog = now.Add(interval / 2)
	alive := s.stopping || !s.ready
	for _, w := range s.workers {
		alive = alive || w.state.serves() && now.Sub(s.lastBeat(w)) < beatLimit
	}
	if alive {
		s.notify(s.manager.Alive())
	}
}

const (
	wakeEvery = time.Second // the workers' beats come as often, so it costs nothing
	lateLimit = time.Second
)

// nextWake is when something becomes due that nothing else would tell us of, and
// soon enough to notice when this process did not run.
func (s *supervisor) nextWake(now time.Time) time.Time {
	wake := now.Add(wakeEvery)
	earliest := func(t time.Time) {
		if !t.IsZero() && t.Before(wake) {
			wake = t
		}
	}
	for _, w := range s.workers {
		earliest(s.deadline(w))
		if w.state == gone && !s.stopping && !s.reload.holdsStarts() {
			earliest(w.due)
		}
	}
	if s.manager.Watchdog() > 0 {
		earliest(s.watchdog)
	}
	if s.reload != nil {
		earliest(s.reload.roll.until)
	}
	if s.upgrade != nil {
		earliest(s.upgrade.until)
	}
	if s.watches() {
		earliest(s.watch.due)
	}
	return wake
}

func (s *supervisor) notify(err error) {
	if err != nil {
		s.log.Warn("service manager not told", "error", err)
	}
}

var errStopping = errors.New("proxyd is stopping")
