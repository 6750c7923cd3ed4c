package supervisor

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/handoff"
)

// tailBytes is how much of what a worker wrote last is kept, to tell why it died.
const tailBytes = 64 << 10

// A process is a worker's process with its control channel. The slot's next one
// is another, so that nothing late can be taken for the next one's.
type process struct {
	cmd  *exec.Cmd
	conn *handoff.Conn
	logs *os.File // read end of its log pipe

	tail tail // of its log; written until the process is reported as ended
}

// start runs a process as the worker of a slot.
func (s *supervisor) start(slot int) (*process, error) {
	exe, err := s.exe()
	if err != nil {
		return nil, err
	}
	conn, control, err := handoff.Pair()
	if err != nil {
		return nil, err
	}
	defer control.Close()
	logs, logsOut, err := os.Pipe()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("log pipe: %w", err)
	}
	defer logsOut.Close()
	p := &process{conn: conn, logs: logs}
	p.cmd = &exec.Cmd{
		Path: exe,
		Args: []string{
			os.Args[0], "worker", "--slot", strconv.Itoa(slot),
			"--generation", strconv.FormatUint(uint64(s.generation), 10),
		},
		Env:        s.environ,
		Stdout:     logsOut, // standard input is /dev/null
		Stderr:     logsOut,
		ExtraFiles: []*os.File{control, s.segment.File()},
		// A group of its own: Ctrl-C in a terminal is for the supervisor, who drains.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if err := p.cmd.Start(); err != nil {
		conn.Close()
		logs.Close()
		return nil, fmt.Errorf("start %s: %w", exe, err)
	}
	return p, nil
}

// exe says what to run as a worker now: an upgrade may have replaced the file of
// this program since the last one was started.
func (s *supervisor) exe() (string, error) {
	if s.options.Exe != "" {
		return s.options.Exe, nil
	}
	return workerExe()
}

// workerExe says what to run as a worker: the path of this program if it still
// is this program, so that it has its name in ps, else the program itself,
// which runs on although its file was replaced.
func workerExe() (string, error) {
	const self = "/proc/self/exe"
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	at, err := os.Stat(path)
	running, selfErr := os.Stat(self)
	if selfErr != nil || err == nil && os.SameFile(at, running) {
		return path, nil // or without /proc, where there is no choice
	}
	return self, nil
}

// receive hands what the process sends to got until the channel ends.
func (p *process) receive(got func(handoff.Message), lost func(error)) {
	for {
		m, err := p.conn.Receive()
		if err != nil {
			lost(err)
			return
		}
		got(m)
	}
}

// wait copies the process's log to w until the process has ended, and says how
// that was.
func (p *process) wait(w io.Writer) string {
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		p.copyLogs(w)
	}()
	err := p.cmd.Wait()
	// Something it left behind may hold the pipe open; do not wait for that.
	_ = p.logs.SetReadDeadline(time.Now().Add(time.Second))
	<-copied
	p.logs.Close()
	switch exit := (*exec.ExitError)(nil); {
	case err == nil:
		return "exited with status 0"
	case !errors.As(err, &exit):
		return err.Error()
	case exit.Exited():
		return fmt.Sprintf("exited with status %d", exit.ExitCode())
	default:
		return "killed by " + unix.SignalName(exit.Sys().(syscall.WaitStatus).Signal())
	}
}

// killedOutside tells whether the process died of SIGKILL: by the kernel for
// want of memory, or by a person, but by no fault of its configuration.
func (p *process) killedOutside() bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

func (p *process) copyLogs(w io.Writer) {
	r := bufio.NewReaderSize(p.logs, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			if line[len(line)-1] != '\n' {
				line = append(bytes.Clone(line), '\n') // too long, or its last words
			}
			_, _ = w.Write(line)
			p.tail.add(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// A tail keeps the last tailBytes of what is added, in whole lines.
type tail struct{ b []byte }

func (t *tail) add(line []byte) {
	t.b = append(t.b, line...)
	if len(t.b) > 2*tailBytes {
		t.b = append(t.b[:0], t.b[len(t.b)-tailBytes:]...)
	}
}

// reason finds the line that tells best why a process died: that of a panic or
// of the runtime's fatal error, else the last one if that may be taken for one.
func (t *tail) reason(orLast bool) string {
	panicked, last := "", ""
	for line := range strings.Lines(string(t.b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			panicked = line
		}
		if line != "" {
			last = line
		}
	}
	if panicked == "" && orLast {
		return last
	}
	return panicked
}
