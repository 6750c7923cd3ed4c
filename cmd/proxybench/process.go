package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A process is a child of ours. It dies with the thread that started it, so that
// thread lives as long as the program: see bench.run.
type process struct {
	name    string
	command *exec.Cmd
	log     string        // file of its standard error
	gone    chan struct{} // closed when it has exited

	stdin  io.WriteCloser // pipes, of those that talk
	stdout io.ReadCloser
}

// A launch says how to start a process.
type launch struct {
	name string
	args []string // the program first
	env  []string // besides ours
	log  string
	cpu  int
	talk bool
}

// start starts a process in a group of its own: a Ctrl-C at the terminal reaches
// only us, and what it starts itself can be ended with it.
func (c *cpus) start(l launch) (*process, error) {
	log, err := os.Create(l.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	p := &process{name: l.name, command: exec.Command(l.args[0], l.args[1:]...), log: l.log, gone: make(chan struct{})}
	p.command.Env = append(os.Environ(), l.env...)
	p.command.Stderr = log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if !l.talk {
		p.command.Stdout = log
	} else if err := p.pipes(); err != nil {
		return nil, err
	}
	if err := c.on(l.cpu, p.command.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	go func() {
		defer close(p.gone)
		_, _ = p.command.Process.Wait() // how it ended is in its log; Cmd.Wait would close pipes under the reader
	}()
	return p, nil
}

// raiseDescriptors lets us and all children open as many files as the hard limit
// allows. Go does it for itself, but takes it back for its children.
func raiseDescriptors() error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	r.Cur = r.Max
	return os.NewSyscallError("setrlimit", syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r))
}

// spareDescriptors returns how many connections a proxy can surely hold: it may
// keep a descriptor free for an upstream connection of each.
func spareDescriptors() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil || r.Cur > maxFDs {
		r.Cur = maxFDs
	}
	return max(2, int(r.Cur)/3)
}

func (p *process) pipes() (err error) {
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		return err
	}
	p.stdout, err = p.command.StdoutPipe()
	return err
}

func (p *process) pid() int { return p.command.Process.Pid }

// stop asks the process to end, and after patience its whole group.
func (p *process) stop(patience time.Duration) {
	_ = p.command.Process.Signal(syscall.SIGTERM) // fails only if it has gone
	select {
	case <-p.gone:
	case <-time.After(patience):
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
		<-p.gone
	}
	if p.stdin != nil {
		p.stdin.Close()
		p.stdout.Close()
	}
}

// lastWords returns the last lines that the process wrote.
func (p *process) lastWords() string {
	text, err := os.ReadFile(p.log)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return "it said nothing"
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
