package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
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
	"github.com/proxyd/proxyd/supervisor/admin"
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
	// A flood of hang-ups is one, and must not keep a stop out of a full channel.
	hangups, signals, pipes := make(chan os.Signal, 1), make(chan os.Signal, 64), make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2)
	signal.Notify(pipes, syscall.SIGPIPE) // nobody reads our log any more: no reason to die
	defer func() {
		signal.Stop(hangups)
		signal.Stop(signals)
		signal.Stop(pipes)
	}()

	manager, passed, err := sysd.Take()
	if err != nil {
		return &ExitError{codeStart, err}
	}
	e, err := inheritance(o, upgrader)
	if err != nil {
		return &ExitError{codeStart, err}
	}
	if e != nil && e.giver != nil {
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
	own := first.config.Supervisor
	home, err := enter(own.StateDir, e)
	if err != nil {
		return &ExitError{codeStart, err}
	}
	out, err := newOutput(own.Log, o.Stderr, o.Daemon)
	if err != nil {
		home.leave()
		return &ExitError{codeStart, err}
	}
	defer out.Close()
	s := &supervisor{
		options:    o,
		environ:    sysd.Environ(),
		manager:    manager,
		upgrader:   upgrader,
		home:       home,
		hangups:    hangups,
		signals:    signals,
		parent:     parent,
		output:     out,
		log:        slog.New(slog.NewTextHandler(out, nil)),
		own:        own,
		sockets:    sockets{open: make(map[string]*socket)},
		generation: 1,
		newest:     1,
		probation:  cmp.Or(o.Probation, probation),
		started:    time.Now(),
		events:     make(chan func(), 256),
		done:       make(chan struct{}),
		jitter:     rand.Float64,
	}
	defer s.release()
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

// release gives back all that is ours, and nothing that is another's.
func (s *supervisor) release() {
	theirs := s.left || s.trial != nil
	if theirs {
		s.sockets.disown()
	} else {
		removePid(s.own.PIDFile)
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
}

// prepare does all that can fail before the first worker starts.
func (s *supervisor) prepare(first *candidate, e *estate, passed []*os.File) error {
	if _, err := s.exe(); err != nil {
		return &ExitError{codeStart, err}
	}
	if n := workerCount(first.config); n > shm.MaxSlots {
		return &ExitError{codeConfig, fmt.Errorf("supervisor.workers = %d: at most %d", n, shm.MaxSlots)}
	}
	if e != nil {
		passed = append(passed, e.passed...)
	}
	if err := s.sockets.take(passed); err != nil {
		return &ExitError{codeStart, err}
	}
	var err error
	if s.door, err = openDoor(s.home.dir, os.Geteuid(), e); err != nil {
		return &ExitError{codeStart, err}
	}
	if e != nil && e.giver != nil {
		return s.prepareTrial(e, first)
	}
	if e != nil {
		if err := s.share(e.segment); err != nil {
			return &ExitError{codeStart, err}
		}
		e.segment.Close()
		s.orphans = nil
	}
	s.gather()
	return s.prepareStart(first, e)
}

// prepareStart finds out what is to be in force, and gets what that needs.
func (s *supervisor) prepareStart(first *candidate, e *estate) error {
	inForce, record, err := s.inherit(e)
	if err != nil {
		return &ExitError{codeStart, err}
	}
	number := record.Config
	if inForce == nil {
		inForce = first
		if number == 0 || record.Digest != first.digest {
			number++
		}
		if err := first.openLogs(); err != nil {
			return err
		}
	}
	added, err := s.sockets.missing(inForce.config)
	if err != nil {
		inForce.drop()
		return &ExitError{codeStart, err}
	}
	s.sockets.add(added)
	s.sockets.address(inForce.config)
	if s.segment == nil {
		if s.segment, err = shm.Create(); err != nil {
			inForce.drop()
			return &ExitError{codeStart, err}
		}
	}
	return s.begin(number, inForce, first)
}

// begin puts a configuration in force and takes the orphans, if there are any.
func (s *supervisor) begin(number uint64, inForce, first *candidate) error {
	bundle, err := inForce.seal()
	if err != nil {
		inForce.drop()
		return &ExitError{codeStart, err}
	}
	s.enforce(number, inForce, bundle)
	s.incarnation = s.segment.Decision().Own()
	adopted := s.orphans
	s.orphans = nil
	for _, o := range adopted {
		s.take(o)
	}
	s.fit()
	if len(adopted) == 0 {
		return nil
	}
	s.log.Info("workers adopted", "workers", len(adopted), "config", number, "incarnation", s.incarnation)
	// The dead supervisor may have been in the midst of a reload that it had
	// decided: this is the rest of it.
	s.reload = &reload{phase: switching, adoption: true}
	s.pending = inForce.digest != first.digest
	return nil
}

// workerCount is how many workers cfg wants.
func workerCount(cfg *config.Config) int {
	if n := cfg.Supervisor.Workers; n > 0 {
		return n
	}
	return min(runtime.GOMAXPROCS(0), shm.MaxSlots) // knows the limits of our cgroup
}

// openAdmin opens the admin socket, or the one that has come with an estate.
func (s *supervisor) openAdmin() error {
	path := s.own.AdminSocket
	if s.admin == nil {
		if _, err := makeDir(filepath.Dir(path)); err != nil {
			return fmt.Errorf("admin socket %s: %w", path, err)
		}
		sock, err := bindUnix(config.Address{Network: "unix", Value: path}, 0o600)
		if err != nil {
			return fmt.Errorf("admin socket: %w", err)
		}
		s.admin = sock
	}
	if s.admin.file == nil {
		s.admin.file, _ = os.Lstat(path) // inherited: it is for us to remove
	}
	fd, err := dup(s.admin.fd)
	if err != nil {
		s.admin.close()
		return fmt.Errorf("admin socket %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		s.admin.close()
		return fmt.Errorf("admin socket %s: %w", path, err)
	}
	server := admin.Serve(l, admin.Handlers{
		Reload: s.askReload, Roll: s.askRoll, Upgrade: s.askUpgrade, Reopen: s.askReopen, Stop: s.askStop, Status: s.askStatus,
	}, s.log)
	s.closeAdmin = func() {
		server.Close()
		if s.left {
			s.admin.file = nil // another's
		}
		s.admin.close()
	}
	return nil
}

// inheritAdmin takes the admin socket of an estate.
func (s *supervisor) inheritAdmin(e *estate) error {
	fd, err := handoff.Detach(e.admin)
	if err != nil {
		return err
	}
	s.admin = &socket{name: "admin", address: config.Address{Network: "unix", Value: s.own.AdminSocket}, fd: fd, bound: boundTo(fd)}
	return nil
}
