package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A process is a child of ours whose output goes where ours goes.
type process struct {
	command *exec.Cmd
	gone    chan struct{} // closed when it has exited
}

// startProcess starts exe in a process group of its own, so that a Ctrl-C at the
// terminal reaches only us. The caller's thread must live as long as the child.
func startProcess(exe string, args ...string) (*process, error) {
	command := exec.Command(exe, args...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	p := &process{command: command, gone: make(chan struct{})}
	go func() {
		defer close(p.gone)
		_ = command.Wait() // how it ended is in its own last lines
	}()
	return p, nil
}

func (p *process) pid() int { return p.command.Process.Pid }

// stop ends the process as an operator would, and with force after patience.
func (p *process) stop(patience time.Duration) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGKILL} {
		_ = p.command.Process.Signal(s) // fails only if it has gone
		select {
		case <-p.gone:
			return
		case <-time.After(patience):
		}
	}
}
