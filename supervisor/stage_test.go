package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/proxyd/proxyd/supervisor/admin"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// A stage is a supervisor in a process of its own, with scripted workers.
type stage struct {
	t    *testing.T
	dir  string
	file string // the configuration
	port int    // of the first listener
	env  []string
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{} // closed when it has ended
}

// A logBuffer collects what a process writes.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	return &stage{t: t, dir: dir, file: filepath.Join(dir, "proxy.hcl"), port: freePort(t), log: new(logBuffer)}
}

// A play is what a configuration says, as far as these tests care.
type play struct {
	host    string // told to the workers
	listen  []string
	workers int
	more    string // in the supervisor block
	rest    string // more blocks
}

// write puts p into the configuration file, whole at any moment.
func (s *stage) write(p play) {
	s.t.Helper()
	if p.listen == nil {
		p.listen = []string{s.address()}
	}
	for i, a := range p.listen {
		p.listen[i] = fmt.Sprintf("%q", a)
	}
	if p.workers == 0 {
		p.workers = 2
	}
	s.writeText(fmt.Sprintf(`
supervisor {
  workers   = %d
  state_dir = %q
  %s
}
listener "web" {
  address = [%s]
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["127.0.0.1:9"]
  host    = %q
}
%s
`, p.workers, filepath.Join(s.dir, "state"), p.more, strings.Join(p.listen, ", "), p.host+".test", p.rest))
}

func (s *stage) writeText(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.file+".new", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.file+".new", s.file); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func (s *stage) state(name string) string { return filepath.Join(s.dir, "state", name) }

// start starts the supervisor; it may not serve yet.
func (s *stage) start(args ...string) {
	s.t.Helper()
	if args == nil {
		args = []string{"supervise", s.file}
	}
	s.cmd = exec.Command(os.Args[0], args...)
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.Stderr = s.log
	s.run()
}

func (s *stage) run() {
	s.t.Helper()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		_ = s.cmd.Wait()
	}()
	s.t.Cleanup(func() {
		pids := s.livingWorkers()
		_ = s.cmd.Process.Kill()
		<-s.done
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if s.t.Failed() {
			s.t.Logf("log:\n%s", s.log)
		}
	})
}

// serve starts the supervisor with p and waits until it serves.
func (s *stage) serve(p play) {
	s.t.Helper()
	s.write(p)
	s.start()
	s.await("serving", func() bool { return strings.Contains(s.log.String(), "msg=serving") })
}

// await waits until cond holds.
func (s *stage) await(what string, cond func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: not within %v", what, patience)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-s.done:
			if cond() {
				return
			}
			s.t.Fatalf("%s: the supervisor has ended", what)
		}
	}
}

// wait waits for the end of the supervisor and returns its exit code.
func (s *stage) wait() int {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatalf("the supervisor: still there after %v", patience)
	}
	return s.cmd.ProcessState.ExitCode()
}

// fails starts the supervisor and checks that it ends with code and text.
func (s *stage) fails(code int, text ...string) {
	s.t.Helper()
	s.start()
	if got := s.wait(); got != code {
		s.t.Errorf("exit code: got %d; want %d", got, code)
	}
	for _, want := range text {
		if !strings.Contains(s.log.String(), want) {
			s.t.Errorf("standard error: got %q; want it to contain %q", s.log, want)
		}
	}
}

func (s *stage) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) client() *admin.Client {
	s.t.Helper()
	c, err := admin.Dial(s.state("admin.sock"))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *stage) reload() admin.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := s.client().Reload(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return res
}

func (s *stage) status() admin.Status {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := s.client().Status(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// pids are those of the workers, by slot.
func (s *stage) pids() []int {
	s.t.Helper()
	var pids []int
	for _, w := range s.status().Workers {
		pids = append(pids, w.Pid)
	}
	return pids
}

// livingWorkers is pids for when the supervisor may be gone.
func (s *stage) livingWorkers() []int {
	c, err := admin.Dial(s.state("admin.sock"))
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	st, err := c.Status(ctx)
	if err != nil {
		return nil
	}
	var pids []int
	for _, w := range st.Workers {
		if w.Pid > 0 {
			pids = append(pids, w.Pid)
		}
	}
	return pids
}

// An answer is what a scripted worker says to a connection.
type answer struct {
	pid    int
	config uint64
	host   string
}

// ask connects to network and address and reads the answer.
func ask(network, address string) (answer, error) {
	var a answer
	nc, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return a, err
	}
	defer nc.Close()
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil {
		return a, err
	}
	_, err = fmt.Sscanf(line, "pid=%d config=%d host=%s", &a.pid, &a.config, &a.host)
	a.host = strings.TrimSuffix(a.host, ".test")
	return a, err
}

// answers checks that the proxy answers with host on its first listener.
func (s *stage) answers(host string) answer {
	s.t.Helper()
	a, err := ask("tcp", s.address())
	if err != nil {
		s.t.Fatalf("ask %s: %v", s.address(), err)
	}
	if a.host != host {
		s.t.Errorf("answer: got host %s; want %s", a.host, host)
	}
	return a
}

// alive tells whether there is a process pid that still does something.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// awaitGone waits for the end of a process that is not our child.
func (s *stage) awaitGone(pid int) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for alive(pid) {
		if time.Now().After(deadline) {
			s.t.Fatalf("process %d: still there after %v", pid, patience)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// leftNothing checks that nothing of the supervisor remains, once it has ended.
func (s *stage) leftNothing(pids []int) {
	s.t.Helper()
	if entries, err := os.ReadDir(filepath.Join(s.dir, "state")); err == nil {
		s.t.Errorf("state directory: got %v; want none", entries)
	}
	for _, pid := range pids {
		if alive(pid) {
			s.t.Errorf("worker %d: got alive; want gone", pid)
		}
	}
	if _, err := ask("tcp", s.address()); err == nil {
		s.t.Error("connect: got a connection; want none")
	}
}

// halt stops a process and waits until each of its threads has stopped: the
// signal reaches them after kill has returned.
func (s *stage) halt(pid int) {
	s.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	s.await("all threads to stop", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(threads) == 0 {
			return false
		}
		for _, name := range threads {
			stat, _ := os.ReadFile(name)
			_, after, _ := strings.Cut(string(stat), ") ")
			if !strings.HasPrefix(after, "T") {
				return false
			}
		}
		return true
	})
}
