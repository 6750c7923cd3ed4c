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
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/handoff"
)

// tailBytes is how much of what a worker wrote last is kept, to tell why it died.
const tailBytes = 64 << 10

// A process is a worker's process with its control channel. The worker's next
// one is another, so that nothing late can be taken for the next one's.
type process struct {
	pid   int
	cmd   *exec.Cmd // nil: adopted, not our child
	pidfd *os.File  // of an adopted one
	conn  *handoff.Conn
	logs  *os.File // read end of its log pipe

	answers    bool // it knows Ask
	unanswered int  // questions that it owes an answer to

	killed atomic.Bool // it died of SIGKILL; set before it is reported as ended
	tail   tail        // of its log; written until the process is reported as ended
}

// start runs a process as worker w.
func (s *supervisor) start(w *worker) (*process, error) {
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
			os.Args[0], "worker", "--slot", strconv.Itoa(w.slot),
			"--generation", strconv.FormatUint(uint64(w.generation), 10),
		},
		Env:        s.environ,
		Stdout:     logsOut, // standard input is /dev/null
		Stderr:     logsOut,
		ExtraFiles: []*os.File{control, s.segment.File()},
		// A group of its own: Ctrl-C in a terminal is for the supervisor, who drains.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	who := s.workersAre
	if s.reload.owns(w) {
		who = s.reload.candidate.identity
	}
	if err := startConfined(p.cmd, who); err != nil {
		conn.Close()
		logs.Close()
		return nil, fmt.Errorf("start %s: %w", exe, err)
	}
	p.pid = p.cmd.Process.Pid
	return p, nil
}

// signal fails only if the process is gone, which we hear of otherwise.
func (p *process) signal(sig syscall.Signal) {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(sig)
		return
	}
	_ = control(p.pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
}

// control calls f with the descriptor of file, which stays as it is.
func control(file *os.File, f func(fd int) error) error {
	rc, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if controlErr := rc.Control(func(fd uintptr) { err = f(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
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
	status, err := p.await()
	// Something it left behind may hold the pipe open; do not wait for that.
	_ = p.logs.SetReadDeadline(time.Now().Add(time.Second))
	<-copied
	p.logs.Close()
	switch {
	case err != nil:
		return err.Error()
	case status.Exited():
		return fmt.Sprintf("exited with status %d", status.ExitStatus())
	}
	p.killed.Store(status.Signal() == syscall.SIGKILL)
	return "killed by " + unix.SignalName(status.Signal())
}

// errNotOurs is all that can be told of the end of another process's child.
var errNotOurs = errors.New("ended; only its parent was told how")

// await waits for the end of the process.
func (p *process) await() (syscall.WaitStatus, error) {
	if p.cmd != nil {
		err := p.cmd.Wait()
		if p.cmd.ProcessState == nil {
			return 0, err
		}
		return p.cmd.ProcessState.Sys().(syscall.WaitStatus), nil
	}
	defer p.pidfd.Close()
	if err := awaitReadable(p.pidfd); err != nil {
		return 0, err
	}
	// It is our child all the same if this program was replaced in place.
	var status syscall.WaitStatus
	err := control(p.pidfd, func(fd int) error {
		return unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	})
	if err != nil {
		return 0, errNotOurs
	}
	_, err = syscall.Wait4(p.pid, &status, syscall.WNOHANG, nil)
	return status, err
}

// awaitReadable waits in the runtime's poller, so that no thread does. A pidfd
// is readable once its process has ended.
func awaitReadable(f *os.File) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
}

// killedOutside tells whether the process died of SIGKILL: by the kernel for
// want of memory, or by a person, but by no fault of its configuration.
func (p *process) killedOutside() bool { return p.killed.Load() }

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
