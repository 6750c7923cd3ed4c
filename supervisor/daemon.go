package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// daemonMark in the environment tells a process that it is the daemon and that
// its descriptor 3 is a pipe to the parent, which waits to hear how the start went.
const daemonMark = "PROXYD_DAEMON"

const (
	daemonFd   = 3
	daemonMask = 0o027
	maxVerdict = 1 << 20 // bytes that the parent reads
)

// A verdict is how the start of the daemon went.
type verdict struct {
	Code int    `json:"code"`
	Text string `json:"text,omitempty"`
}

// A parent is the daemon's end of the pipe. A nil *parent hears nothing.
type parent struct{ pipe *os.File }

// daemonParent is the pipe to the parent, nil if this process is not the daemon.
func daemonParent() *parent {
	if os.Getenv(daemonMark) == "" {
		return nil
	}
	os.Unsetenv(daemonMark) // not for workers
	syscall.CloseOnExec(daemonFd)
	return &parent{os.NewFile(daemonFd, "parent")}
}

func (p *parent) ready() { p.tell(verdict{}) }

func (p *parent) failed(err error) {
	p.tell(verdict{exitCode(err), err.Error()})
}

// tell writes v, once; a parent that did not wait is no concern of ours.
func (p *parent) tell(v verdict) {
	if p == nil || p.pipe == nil {
		return
	}
	_ = json.NewEncoder(p.pipe).Encode(v)
	p.pipe.Close()
	p.pipe = nil
}

// daemonize runs this program again, detached, and waits for its verdict.
func daemonize() error {
	exe, err := workerExe()
	if err != nil {
		return &ExitError{codeStart, err}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return &ExitError{codeStart, fmt.Errorf("daemon: pipe: %w", err)}
	}
	defer r.Close()
	cmd := &exec.Cmd{
		Path:        exe,
		Args:        os.Args,
		Env:         append(os.Environ(), daemonMark+"=1"),
		ExtraFiles:  []*os.File{w}, // standard descriptors are /dev/null
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return &ExitError{codeStart, fmt.Errorf("daemon: %w", err)}
	}
	var v verdict
	if err := json.NewDecoder(io.LimitReader(r, maxVerdict)).Decode(&v); err != nil {
		how := "exited with status 0"
		if err := cmd.Wait(); err != nil {
			how = err.Error()
		}
		return &ExitError{codeStart, fmt.Errorf("the daemon ended before it served: %s (run it without --daemon to see why)", how)}
	}
	if v.Code != 0 {
		_ = cmd.Wait() // it has said why it ends
		return &ExitError{v.Code, errors.New(strings.TrimRight(v.Text, "\n"))}
	}
	return nil
}

// detach is what the daemon does with what it inherited. Its standard
// descriptors are /dev/null and its session is new already.
func detach() error {
	syscall.Umask(daemonMask)
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	return nil
}
