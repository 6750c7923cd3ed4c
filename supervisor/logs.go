package supervisor

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
)

// logs are the open files of a configuration's access logs. Workers write to
// them; we only open them, because a worker may be a user who cannot.
type logs []descriptor

// open opens the files of c's access logs and finds the user of its workers. The
// disk may be slow: it is not for the loop.
func (c *candidate) open() error {
	var err error
	if c.identity, err = identify(c.config.Supervisor.User); err != nil {
		return &ExitError{codeConfig, err}
	}
	list, err := openLogs(c.config)
	if err != nil {
		return &ExitError{codeStart, err}
	}
	c.logs = list
	return nil
}

// openLogs opens all or, with every reason why not, none.
func openLogs(cfg *config.Config) (logs, error) {
	var list logs
	var errs []error
	for _, a := range cfg.AccessLogs {
		// Opening a FIFO would else wait for its reader.
		const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT | unix.O_CLOEXEC | unix.O_NONBLOCK
		fd, err := unix.Open(a.Output, flags, 0o640)
		if err != nil {
			errs = append(errs, fmt.Errorf("access log: open %s: %w", a.Output, err))
			continue
		}
		list = append(list, descriptor{handoff.Logs, a.FileName(), fd})
	}
	if errs != nil {
		list.close()
		return nil, errors.Join(errs...)
	}
	return list, nil
}

func (l logs) close() {
	for _, d := range l {
		unix.Close(d.fd)
	}
}

// drop lets go of what c has open, as it will not be used.
func (c *candidate) drop() {
	if c != nil {
		c.logs.close()
		c.logs = nil
	}
}

// reopenLogs opens all log files anew, after someone has renamed the old ones.
// The outcome goes to answer if that is not nil.
func (s *supervisor) reopenLogs(answer chan<- error) {
	s.output.Reopen()
	number, cfg := s.number, s.config
	// As with a reload, nobody waits for it at the end.
	go func() {
		opened, err := openLogs(cfg)
		if !s.post(func() {
			err := s.reopened(number, opened, err)
			if answer != nil {
				answer <- err
			}
		}) {
			opened.close()
		}
	}()
}

// reopened takes the files that openLogs opened for configuration number.
func (s *supervisor) reopened(number uint64, opened logs, err error) error {
	if err != nil {
		s.log.Error("access logs not reopened, the old files stay", "error", err)
		return err
	}
	if number != s.number {
		opened.close() // a reload was faster, and has opened them itself
		return nil
	}
	s.logs.close()
	s.logs = opened
	for _, w := range s.workers {
		if !w.state.serves() && w.state != draining {
			continue // not yet: it gets the new ones; or not any more
		}
		for rest := []descriptor(opened); len(rest) > 0; {
			rest = s.sendBatch(w, rest)
		}
	}
	s.log.Info("logs reopened")
	return nil
}

// askReopen is for the admin socket: it waits for the outcome.
func (s *supervisor) askReopen(ctx context.Context) error {
	answer := make(chan error, 1)
	if !s.post(func() {
		s.log.Info("reopening of logs asked for on the admin socket")
		s.reopenLogs(answer)
	}) {
		return errStopping
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return errStopping
	}
}
