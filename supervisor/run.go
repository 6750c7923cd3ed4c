package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/supervisor/sysd"
)

// Options are what the command line says.
type Options struct {
	Config string // path of the configuration file
	Daemon bool   // detach; Run in the parent returns once workers accept
	Exe    string // what to run as a worker; empty: this program
	Build  string // version of this program, for status

	Probation time.Duration // of a new generation and of a new program; 0: 5 s
	Upgrade   time.Duration // for a new program to take over; 0: 2 min

	Stderr io.Writer // where to log unless the configuration names a file; nil: os.Stderr
}

// The exit codes that an ExitError can have.
const (
	codeConfig = 1 // a mistake in the configuration
	codeStart  = 3 // could not start: address in use, permission, workers that die
)

// An ExitError is why Run failed, with the exit code that says so.
type ExitError struct {
	Code int   // 1 configuration, 3 could not start
	Err  error // nil: somebody has told it already
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// exitCode is the one that err stands for.
func exitCode(err error) int {
	if exit, ok := errors.AsType[*ExitError](err); ok {
		return exit.Code
	}
	return codeStart
}

// Run supervises until it is told to stop. It returns nil after a clean stop
// and an *ExitError otherwise. With Daemon, it returns nil in the parent once
// the daemon's workers accept. A process calls it once.
func Run(o Options) error {
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	path, err := filepath.Abs(o.Config)
	if err != nil {
		return &ExitError{codeConfig, err}
	}
	o.Config = path
	upgrader, err := newUpgrader(o.Upgrade)
	if err != nil {
		return &ExitError{codeStart, err}
	}
	defer upgrader.Stop()
	closeOnExec()
	inherits := upgrader.HasParent() || os.Getenv(estateVariable) != ""
	var parent *parent
	if o.Daemon && inherits {
		err = detach()
	} else if o.Daemon {
		if parent = daemonParent(); parent == nil {
			return daemonize()
		}
		if err := detach(); err != nil {
			parent.failed(&ExitError{codeStart, err})
			return &ExitError{codeStart, err}
		}
	}
	if err == nil {
		err = supervise(o, parent, upgrader)
	}
	if err != nil {
		parent.failed(err)
	}
	return err
}

// newUpgrader prepares this process to be upgraded, and to be an upgrade itself.
func newUpgrader(limit time.Duration) (*tableflip.Upgrader, error) {
	// The program is looked for again at an upgrade, when the folder is another.
	if program, err := exec.LookPath(os.Args[0]); err == nil {
		if program, err = filepath.Abs(program); err == nil {
			os.Args[0] = program
		}
	}
	upgrader, err := tableflip.New(tableflip.Options{UpgradeTimeout: cmp.Or(limit, upgradeLimit)})
	if err != nil {
		return nil, fmt.Errorf("upgrader: %w", err)
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "TABLEFLIP_") {
			os.Unsetenv(name) // it is about this process, not about those that we start
		}
	}
	return upgrader, nil
}

// inheritance is the estate that another supervisor leaves to this process; nil
// if there is none.
func inheritance(o Options, upgrader *tableflip.Upgrader) (*estate, error) {
	if !upgrader.HasParent() {
		return takeInPlace()
	}
	file, err := upgrader.File(successorChannel)
	if err != nil || file == nil {
		return nil, errors.Join(err, errors.New("upgrade: no channel to the supervisor before this one"))
	}
	giver, err := handoff.NewConn(file)
	if err != nil {
		return nil, err
	}
	return receiveEstate(giver, o.Build)
}

// supervise acquires in order all that a supervisor owns, runs it, and gives
// everything back in reverse.
func supervise(o Options, parent *parent, upgrader *tableflip.Upgrader) (err error) {
	s := newSupervisor(o, parent, upgrader)
	defer s.catchSignals()()
	manager, passed, err := sysd.Take()
	if err != nil {
		return &ExitError{codeStart, err}
	}
	s.manager, s.environ = manager, sysd.Environ()
	e, err := inheritance(o, upgrader)
	if err != nil {
		return &ExitError{codeStart, err}
	}
	if e != nil && e.giver != nil {
		s.trial = e.giver
		defer e.giver.Close()
		defer func() {
			if err != nil {
				e.tellGiver(err)
			}
		}()
	}
	first, err := read(o.Config)
	if err != nil {
		return &ExitError{codeConfig, err}
	}
	s.own = first.config.Supervisor
	if s.home, err = enter(s.own.StateDir, e); err != nil {
		return &ExitError{codeStart, err}
	}
	defer s.release()
	if s.output, err = newOutput(s.own.Log, o.Stderr, o.Daemon); err != nil {
		return &ExitError{codeStart, err}
	}
	s.log = slog.New(slog.NewTextHandler(s.output, nil))
	if err := s.prepare(first, e, passed); err != nil {
		return err
	}
	if s.trial != nil {
		go s.hearGiver(s.trial)
	} else if err := s.openAdmin(); err != nil {
		return &ExitError{codeStart, err}
	}
	if err := s.run(); err != nil {
		return err
	}
	if s.left && s.upgrade != nil {
		return s.leave()
	}
	return nil
}

func newSupervisor(o Options, parent *parent, upgrader *tableflip.Upgrader) *supervisor {
	return &supervisor{
		options:    o,
		upgrader:   upgrader,
		parent:     parent,
		sockets:    sockets{open: make(map[string]*socket)},
		inquiries:  make(map[uint64]inquiry),
		generation: 1,
		newest:     1,
		probation:  cmp.Or(o.Probation, probation),
		started:    time.Now(),
		events:     make(chan func(), 256),
		done:       make(chan struct{}),
		jitter:     rand.Float64,
		// A flood of hang-ups is one, and must not keep a stop out of a full channel.
		hangups: make(chan os.Signal, 1),
		signals: make(chan os.Signal, 64),
	}
}

// catchSignals has signals come as values, until the function it returns is called.
func (s *supervisor) catchSignals() (stop func()) {
	ignored := make(chan os.Signal, 1)
	signal.Notify(s.hangups, syscall.SIGHUP)
	signal.Notify(s.signals, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2)
	signal.Notify(ignored, syscall.SIGPIPE) // nobody reads our log any more: no reason to die
	return func() {
		for _, c := range []chan os.Signal{s.hangups, s.signals, s.deaths, ignored} {
			signal.Stop(c)
		}
	}
}

// release gives back all that is ours, and nothing that is another's.
func (s *supervisor) release() {
	theirs := s.left || s.trial != nil
	if theirs {
		s.sockets.disown()
	} else {
		removePid(s.own.PIDFile)
		os.Remove(s.goodFile())
	}
	if s.closeAdmin != nil {
		s.closeAdmin()
	}
	if s.door != nil {
		s.end()
	}
	for _, o := range s.orphans {
		o.close()
	}
	s.sockets.close()
	s.logs.close()
	s.bundle.Close() // nil is no harm
	if s.segment != nil {
		s.segment.Close()
	}
	if !theirs {
		s.home.leave()
	}
	if s.output != nil {
		s.output.Close()
	}
}

// workerCount is how many workers cfg wants.
func workerCount(cfg *config.Config) int {
	if n := cfg.Supervisor.Workers; n > 0 {
		return n
	}
	// It knows the limits of our cgroup. Half of the slots are for the next generation.
	return min(runtime.GOMAXPROCS(0), shm.MaxSlots/2)
}
