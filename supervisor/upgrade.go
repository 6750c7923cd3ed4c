package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
)

// An upgrade starts the program anew, from the file where it was started from,
// beside this process. The successor gets a copy of the estate, starts workers
// of its own next to ours, and is watched. Only then is all its own, and we go;
// before, whatever happens to it has changed nothing.
//
// Where the number of this process must stay, the successor does all that and
// goes again, and this process executes the new program in its place.

const (
	validateLimit = 10 * time.Second // for the new program to check the configuration
	takeLimit     = 10 * time.Second // for the successor to make all its own
	abandonLimit  = 5 * time.Second  // for an unwanted successor to end by itself
	upgradeLimit  = 2 * time.Minute  // for all of it

	successorChannel = "ctl.super" // its name among the descriptors that the new process gets
)

// An upgrade is one in progress.
type upgrade struct {
	waiters []chan<- result
	conn    *handoff.Conn // to the successor; nil while the new program checks the file
	pid     int           // of the successor, 0 until it has said HELLO
	build   string

	begun     bool
	refusal   refusal
	until     time.Time // when patience with the successor, or with how well it does, ends
	watched   bool      // its workers serve
	asked     bool      // to take all
	committed bool      // it has
	flipped   bool      // it is ready, says tableflip
	dismissed bool      // it has been told to go, as all is done that it was needed for
	closed    bool      // its end of the channel
	list      []named   // the estate, for the new program in this process
}

// staysPut tells whether the number of this process must not change: nobody
// would be told. A daemon's is in its PID file, a service's manager is told.
func (s *supervisor) staysPut() bool {
	return os.Getpid() == 1 || !s.options.Daemon && os.Getenv("NOTIFY_SOCKET") == ""
}

// requestUpgrade asks for an upgrade; it begins when nothing else is in progress.
func (s *supervisor) requestUpgrade(waiter chan<- result) {
	if s.upgrade == nil {
		s.upgrade = new(upgrade)
	}
	if waiter != nil {
		s.upgrade.waiters = append(s.upgrade.waiters, waiter)
	}
}

// advanceUpgrade takes an upgrade as far as it can go at the moment.
func (s *supervisor) advanceUpgrade(now time.Time) {
	u := s.upgrade
	switch {
	case u == nil:
	case !u.begun && s.ready && s.reload == nil && !s.stopping:
		u.begun = true
		s.log.Info("upgrade begins", "program", os.Args[0])
		s.validate(u)
	case u.until.IsZero() || now.Before(u.until):
	case u.refusal.text != "":
		s.upgrader.Stop() // kills it
		u.until = time.Time{}
	case u.watched && !u.asked:
		u.asked, u.until = true, now.Add(takeLimit)
		if err := u.conn.Send(handoff.Owner, 0, handoff.OwnerBody{Incarnation: s.incarnation + 1}); err != nil {
			s.abandonUpgrade(refusal{codeStart, err.Error()})
		}
	default:
		s.abandonUpgrade(refusal{codeStart, "the new process does not take over"})
	}
	if u == nil || !u.committed || !u.flipped {
		return
	}
	switch {
	case u.closed || !s.staysPut():
		s.bequeath(u)
	case !u.dismissed: // not before: its end and that it is ready could be mistaken for a failure
		u.dismissed = true
		if err := u.conn.Send(handoff.Commit, 0, handoff.CommitBody{Config: s.number}); err != nil {
			s.log.Warn("the new process", "error", err) // it is gone, then, and that is all that was wanted
		}
	}
}

// bequeath ends the life of this supervisor, as all is the successor's.
func (s *supervisor) bequeath(u *upgrade) {
	s.left = true
	if s.staysPut() {
		u.pid = os.Getpid()
		var err error
		if u.list, err = s.estate(); err != nil {
			s.log.Error("estate", "error", err) // the workers serve on, and wait for whoever comes
		}
	}
	s.log.Info("upgraded", "pid", u.pid, "version", u.build)
	for _, w := range u.waiters {
		w <- result{OK: true, Config: s.number, Text: fmt.Sprintf("upgraded to %s, pid %d", u.build, u.pid)}
	}
	for _, w := range s.waiting {
		w <- result{Code: codeStart, Config: s.number, Text: "proxyd was upgraded meanwhile: try again"}
	}
}

// validate has the new program check the configuration, before it is run as more.
func (s *supervisor) validate(u *upgrade) {
	args := []string{"validate", "-c", s.options.Config}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), validateLimit)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], args...)
		cmd.Env = s.environ
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.WaitDelay = time.Second
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		s.post(func() {
			switch exit := (*exec.ExitError)(nil); {
			case s.stopping:
				s.failUpgrade(refusal{codeStart, errStopping.Error()})
			case err == nil:
				s.startSuccessor(u)
			case errors.As(err, &exit) && exit.ExitCode() == codeConfig:
				s.failUpgrade(refusal{codeConfig, strings.TrimSpace(out.String())})
			default:
				s.failUpgrade(refusal{codeStart, strings.TrimSpace(fmt.Sprintf("%s %s: %v\n%s", os.Args[0], strings.Join(args, " "), err, out.String()))})
			}
		})
	}()
}

// startSuccessor starts the new process and the goroutines that hear of it.
func (s *supervisor) startSuccessor(u *upgrade) {
	list, err := s.estate()
	if err != nil {
		s.failUpgrade(refusal{codeStart, err.Error()})
		return
	}
	conn, file, err := handoff.Pair()
	if err == nil {
		err = errors.Join(s.upgrader.AddFile(successorChannel, file), file.Close())
	}
	if err != nil {
		closeNamed(list)
		s.failUpgrade(refusal{codeStart, err.Error()})
		return
	}
	u.conn = conn
	body := handoff.EstateBody{
		Newest: s.newest, Offered: s.offered, StateDir: s.own.StateDir, Made: s.home.made, Leave: s.staysPut(),
	}
	for _, w := range s.workers {
		body.Slots = append(body.Slots, w.slot)
	}
	go func() {
		err := s.upgrader.Upgrade()
		s.post(func() { s.flipped(u, err) })
	}()
	go s.hearSuccessor(u, body, list)
}

// hearSuccessor gives the successor the estate and passes on what it says.
func (s *supervisor) hearSuccessor(u *upgrade, body handoff.EstateBody, list []named) {
	m, err := u.conn.ReceiveBefore(time.Now().Add(upgradeLimit))
	if err == nil {
		s.post(func() { s.heardSuccessor(u, m) })
		err = giveEstate(u.conn, body, list)
	}
	closeNamed(list)
	for err == nil {
		var m handoff.Message
		if m, err = u.conn.Receive(); err == nil {
			s.post(func() { s.heardSuccessor(u, m) })
		}
	}
	s.post(func() {
		u.closed = true
		if s.upgrade == u && !u.committed {
			s.abandonUpgrade(refusal{codeStart, fmt.Sprintf("lost the new process: %v", err)})
		}
	})
}

func (s *supervisor) heardSuccessor(u *upgrade, m handoff.Message) {
	m.CloseFiles()
	if s.upgrade != u || u.refusal.text != "" {
		return
	}
	switch m.Type {
	case handoff.Hello:
		var body handoff.HelloBody
		if err := m.Decode(&body); err != nil {
			s.abandonUpgrade(refusal{codeStart, err.Error()})
			return
		}
		u.pid, u.build = body.Pid, body.Build
		s.log.Info("the new process starts", "pid", u.pid, "version", u.build)
	case handoff.Accepting:
		u.watched, u.until = true, time.Now().Add(s.probation)
		s.log.Info("the workers of the new process serve", "pid", u.pid)
	case handoff.Committed:
		u.committed, u.until = true, time.Time{}
	case handoff.Nack:
		var body handoff.NackBody
		_ = m.Decode(&body) // without a reason it is a refusal too
		code := codeStart
		if body.Config != 0 {
			code = codeConfig
		}
		s.abandonUpgrade(refusal{code, body.Text})
	}
}

// flipped is told that the successor is ready or how it ended.
func (s *supervisor) flipped(u *upgrade, err error) {
	if err == nil {
		u.flipped = true
		return
	}
	if u.refusal.text == "" {
		u.refusal = refusal{codeStart, err.Error()}
	}
	s.failUpgrade(u.refusal)
}

// abandonUpgrade sends the successor away; the upgrade ends with its process.
func (s *supervisor) abandonUpgrade(why refusal) {
	u := s.upgrade
	if u == nil || u.refusal.text != "" || u.committed && u.flipped {
		return
	}
	if u.conn == nil { // there is none yet: the end of the check ends the upgrade
		if !u.begun {
			s.failUpgrade(why)
		}
		return
	}
	u.refusal, u.until = why, time.Time{}
	if s.stopping {
		u.until = time.Now().Add(abandonLimit)
	}
	u.conn.Close()
	if u.flipped { // nothing more will be heard of it
		s.failUpgrade(why)
	}
}

// failUpgrade ends an upgrade that has changed nothing, or takes back what it has.
func (s *supervisor) failUpgrade(why refusal) {
	u := s.upgrade
	if u == nil {
		return
	}
	if u.conn != nil {
		u.conn.Close()
		s.strays = time.Now().Add(strayLimit)
	}
	s.upgrade = nil
	s.segment.Decision().Commit(s.record())
	if u.asked && !s.stopping {
		if err := s.sign(); err != nil {
			s.log.Error("our number", "error", err)
		}
	}
	brief, _, _ := strings.Cut(why.text, "\n")
	s.log.Error("upgrade failed: "+brief, "generation", s.generation)
	for _, w := range u.waiters {
		w <- result{Code: why.code, Config: s.number, Text: why.text}
	}
}

// sign puts our number into the lock and the PID file, after another supervisor's.
func (s *supervisor) sign() error {
	return errors.Join(sign(s.home.lock, s.home.path), writePid(s.own.PIDFile))
}

// record is what is in force.
func (s *supervisor) record() shm.Record {
	return shm.Record{Config: s.number, Digest: s.digest, Generation: s.generation}
}

// leave is the end of a supervisor whose successor has all: it tells the service
// manager or, where this process is to stay, puts the new program into it. It
// returns when the process is to end.
func (s *supervisor) leave() error {
	u := s.upgrade
	if !s.staysPut() {
		s.notify(s.manager.Successor(u.pid, "upgraded to "+u.build))
		s.notify(s.manager.Barrier())
		return nil
	}
	s.closeAdmin() // after the answers on their way
	s.output.Close()
	var err error
	for _, exe := range []string{os.Args[0], "/proc/self/exe"} { // the program of before is better than none
		err = execInPlace(exe, s.home.made, u.list)
		fmt.Fprintln(s.options.Stderr, err)
	}
	return &ExitError{codeStart, err}
}

// askUpgrade is for the admin socket: it waits for the outcome.
func (s *supervisor) askUpgrade(ctx context.Context) (result, error) {
	return s.askFor(ctx, "upgrade", s.requestUpgrade)
}
