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
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/proxyd/proxyd/internal/config"
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

	Probation time.Duration // of the first worker of a new generation; 0: 5 s

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
	var parent *parent
	if o.Daemon {
		if parent = daemonParent(); parent == nil {
			return daemonize()
		}
		if err := detach(); err != nil {
			parent.failed(&ExitError{codeStart, err})
			return &ExitError{codeStart, err}
		}
	}
	if err := supervise(o, parent); err != nil {
		parent.failed(err)
		return err
	}
	return nil
}

// supervise acquires in order all that a supervisor owns, runs it, and gives
// everything back in reverse.
func supervise(o Options, parent *parent) error {
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

	first, err := read(o.Config)
	if err != nil {
		return &ExitError{codeConfig, err}
	}
	cfg := first.config
	home, err := enter(cfg.Supervisor.StateDir)
	if err != nil {
		return &ExitError{codeStart, err}
	}
	defer home.leave()
	out, err := newOutput(cfg.Supervisor.Log, o.Stderr, o.Daemon)
	if err != nil {
		return &ExitError{codeStart, err}
	}
	defer out.Close()
	s := &supervisor{
		options:    o,
		hangups:    hangups,
		signals:    signals,
		parent:     parent,
		output:     out,
		log:        slog.New(slog.NewTextHandler(out, nil)),
		own:        cfg.Supervisor,
		sockets:    sockets{open: make(map[string]*socket)},
		generation: 1,
		newest:     1,
		probation:  cmp.Or(o.Probation, probation),
		started:    time.Now(),
		events:     make(chan func(), 256),
		done:       make(chan struct{}),
		jitter:     rand.Float64,
	}
	if s.door, err = openDoor(home.dir, os.Geteuid()); err != nil {
		return &ExitError{codeStart, err}
	}
	defer s.end()
	defer s.sockets.close()
	defer func() {
		if s.segment != nil {
			s.segment.Close()
		}
	}()
	if err := s.prepare(first); err != nil {
		for _, o := range s.orphans {
			o.close()
		}
		return err
	}
	defer func() { s.bundle.Close(); s.logs.close() }() // those in force by then
	closeAdmin, err := s.serveAdmin()
	if err != nil {
		return &ExitError{codeStart, err}
	}
	defer closeAdmin()
	defer removePid(s.own.PIDFile)
	return s.run()
}

// prepare does all that can fail before the first worker starts.
func (s *supervisor) prepare(first *candidate) error {
	if _, err := s.exe(); err != nil {
		return &ExitError{codeStart, err}
	}
	manager, passed, err := sysd.Take()
	s.manager, s.environ = manager, sysd.Environ()
	if err := errors.Join(err, s.sockets.take(passed)); err != nil {
		return &ExitError{codeStart, err}
	}
	if n := workerCount(first.config); n > shm.MaxSlots {
		return &ExitError{codeConfig, fmt.Errorf("supervisor.workers = %d: at most %d", n, shm.MaxSlots)}
	}
	s.gather()
	inForce, record := s.inherit()
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
			return &ExitError{codeStart, err}
		}
	}
	return s.begin(number, inForce, first)
}

// begin puts a configuration in force and takes the orphans, if there are any.
func (s *supervisor) begin(number uint64, inForce, first *candidate) error {
	bundle, err := inForce.seal()
	if err != nil {
		return &ExitError{codeStart, err}
	}
	s.enforce(number, inForce, bundle)
	s.incarnation = s.segment.Decision().Own()
	for _, o := range s.orphans {
		s.take(o)
	}
	s.fit()
	if len(s.orphans) == 0 {
		return nil
	}
	s.log.Info("workers adopted", "workers", len(s.orphans), "config", number, "incarnation", s.incarnation)
	s.orphans = nil
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

// serveAdmin opens the admin socket. The function it returns closes it, after
// the answers that are on their way.
func (s *supervisor) serveAdmin() (func(), error) {
	path := s.own.AdminSocket
	if _, err := makeDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	sock, err := bindUnix(config.Address{Network: "unix", Value: path}, 0o600)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	f := os.NewFile(uintptr(sock.fd), path)
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		sock.unlink()
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	server := admin.Serve(l, admin.Handlers{Reload: s.askReload, Roll: s.askRoll, Reopen: s.askReopen, Stop: s.askStop, Status: s.askStatus}, s.log)
	return func() {
		server.Close()
		sock.unlink()
	}, nil
}
