package supervisor

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/supervisor/admin"
)

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
	if err := s.sockets.take(s.collect(passed)); err != nil {
		return &ExitError{codeStart, err}
	}
	who, err := identify(s.own.User)
	if err != nil {
		return &ExitError{codeConfig, err}
	}
	if s.door, err = openDoor(s.home.dir, who.uid(), e); err != nil {
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
	if os.Getpid() == 1 || e != nil {
		s.deaths = make(chan os.Signal, 1)
		signal.Notify(s.deaths, syscall.SIGCHLD)
		s.reap()
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
		if err := first.open(); err != nil {
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
	s.recall()
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
	if !s.pending {
		s.watch = newWatch(first.stamps)
	}
	return nil
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
		Ask: s.ask,
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
