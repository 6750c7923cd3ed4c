package supervisor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proxyd/proxyd/supervisor/admin"
)

func TestServesAndStops(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	path := filepath.Join(s.dir, "web.sock")
	s.serve(play{host: "a", listen: []string{s.address(), "unix:" + path}, workers: 3})
	a := s.answers("a")
	st := s.status()
	if len(st.Workers) != 3 || !slices.Contains(s.pids(), a.pid) || a.config != 1 {
		t.Errorf("answer: got %+v; want config 1 and one of the 3 pids of %v", a, s.pids())
	}
	if st.State != "serving" || st.ConfigNumber != 1 || st.Version != "test" || st.Config != s.file || len(st.Digest) != 64 || len(st.Listeners) != 2 {
		t.Errorf("status: got %+v; want it serving config 1 on 2 listeners", st)
	}
	if got, err := ask("unix", path); err != nil || got.host != "a" {
		t.Errorf("unix socket: got %+v, %v; want an answer", got, err)
	}
	if got, want := readPid(s.state("proxyd.pid")), fmt.Sprint(s.cmd.Process.Pid); got != want {
		t.Errorf("pid file: got %s; want %s", got, want)
	}
	pids := s.pids()
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
	s.leftNothing(pids)
	if _, err := os.Lstat(path); err == nil {
		t.Error("unix socket after the end: got it; want none")
	}
}

func TestReloadTakesTheNewFile(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	pids := s.pids()
	s.write(play{host: "b"})
	if res := s.reload(); !res.OK || res.Code != 0 || res.Config != 2 || res.Text != "config 2 active" {
		t.Errorf("reload: got %+v; want config 2 active", res)
	}
	if a := s.answers("b"); a.config != 2 {
		t.Errorf("config: got %d; want 2", a.config)
	}
	if got := s.pids(); !slices.Equal(got, pids) {
		t.Errorf("pids: got %v; want the same as before, %v", got, pids)
	}
	if res := s.reload(); !res.OK || res.Config != 2 || !strings.Contains(res.Text, "unchanged") {
		t.Errorf("reload of the same: got %+v; want config 2, unchanged", res)
	}
}

func TestReloadThatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	busy := mustBind(t, tcp(fmt.Sprintf("127.0.0.1:%d", freePort(t))))
	s.serve(play{host: "a"})
	pids := s.pids()
	fresh := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	tests := []struct {
		name string
		play play
		code int
		text string
	}{
		{"worker says no", play{host: "nack", listen: []string{s.address(), fresh}}, 1, "certificate of nack.test has expired"},
		{"port in use", play{host: "b", listen: []string{s.address(), fresh, busy.bound}}, 3, "address already in use"},
		{"fixed key", play{host: "b", workers: 4, more: `log = "/tmp/x"`}, 1, "supervisor.log: "},
		{"other state", play{host: "b", more: `pid_file = "/tmp/x"`}, 1, "a restart is needed"},
	}
	for _, tt := range tests {
		s.write(tt.play)
		if res := s.reload(); res.OK || res.Code != tt.code || res.Config != 1 || !strings.Contains(res.Text, tt.text) {
			t.Errorf("%s: got %+v; want code %d and %q", tt.name, res, tt.code, tt.text)
		}
		if a := s.answers("a"); a.config != 1 {
			t.Errorf("%s: got config %d in force; want 1", tt.name, a.config)
		}
		if reachable("tcp", fresh) == nil {
			t.Errorf("%s: got a connection to %s; want none", tt.name, fresh)
		}
	}
	s.writeText("listener \"web\" {\n  adress = \":1\"\n}\n")
	res := s.reload()
	for _, want := range []string{"proxy.hcl:2:3", "^^^^^^", `Did you mean "address"?`} {
		if res.OK || res.Code != 1 || !strings.Contains(res.Text, want) {
			t.Errorf("bad file: got %+v; want code 1 and %q", res, want)
		}
	}
	s.await("diagnostics in the log", func() bool { return strings.Contains(s.log.String(), "^^^^^^") })
	if got := s.status().LastReload; !strings.Contains(got, "config 1 stays") {
		t.Errorf("last reload: got %q; want that config 1 stays", got)
	}
	if got := s.pids(); !slices.Equal(got, pids) {
		t.Errorf("pids: got %v; want the same as before, %v", got, pids)
	}
	s.write(play{host: "b", listen: []string{s.address(), fresh}})
	if res := s.reload(); !res.OK {
		t.Errorf("reload after those: got %+v; want it to work", res)
	}
	s.answers("b")
}

// Whatever a configuration makes of the workers, they live on with the old one.
func TestReloadThatKillsAWorker(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"panic": "panic: boom", "exit": "exited with status 7"} {
		s := newStage(t)
		s.serve(play{host: "a"})
		s.write(play{host: host})
		if res := s.reload(); res.OK || res.Code != 3 || !strings.Contains(res.Text, want) {
			t.Errorf("%s: got %+v; want code 3 and %q", host, res, want)
		}
		s.await("other workers", func() bool { // both have died of it, the second perhaps later
			return !slices.ContainsFunc(s.status().Workers, func(w admin.Worker) bool { return w.State != "serving" || w.Restarts == 0 })
		})
		s.answers("a")
		s.write(play{host: "b"})
		if res := s.reload(); !res.OK {
			t.Errorf("%s: next reload: got %+v; want it to work", host, res)
		}
	}
}

// A worker that does not commit is replaced; the reload has been decided.
func TestReloadReplacesAWorkerThatDoesNotCommit(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	pids := s.pids()
	s.write(play{host: "deaf"})
	if res := s.reload(); !res.OK || res.Config != 2 {
		t.Errorf("reload: got %+v; want config 2", res)
	}
	s.await("new workers", func() bool {
		for _, w := range s.status().Workers {
			if w.State != "serving" || slices.Contains(pids, w.Pid) {
				return false
			}
		}
		return true
	})
	if a := s.answers("deaf"); a.config != 2 {
		t.Errorf("config: got %d; want 2", a.config)
	}
}

func TestReloadAddsAndRemovesListeners(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	other := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	path := filepath.Join(s.dir, "web.sock")
	s.serve(play{host: "a"})
	for i := range 3 {
		s.write(play{host: "b", listen: []string{s.address(), other, "unix:" + path}})
		if res := s.reload(); !res.OK {
			t.Fatalf("add, round %d: got %+v", i, res)
		}
		for network, address := range map[string]string{"tcp": other, "unix": path} {
			if a, err := ask(network, address); err != nil || a.host != "b" {
				t.Errorf("added %s, round %d: got %+v, %v; want an answer", address, i, a, err)
			}
		}
		s.write(play{host: "c"})
		if res := s.reload(); !res.OK {
			t.Fatalf("remove, round %d: got %+v", i, res)
		}
		if reachable("tcp", other) == nil || reachable("unix", path) == nil {
			t.Errorf("removed, round %d: got a connection; want none", i)
		}
		s.answers("c")
	}
}

func TestManyHangups(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "v"})
	pids := s.pids()
	const last = 50
	s.answersAtAll()
	descriptors := s.descriptors()
	for i := 1; i <= last; i++ {
		s.write(play{host: fmt.Sprintf("v%d", i)})
		s.signal(syscall.SIGHUP)
		s.answersAtAll()
	}
	s.await("the last file in force", func() bool {
		a, err := ask("tcp", s.address())
		return err == nil && a.host == fmt.Sprintf("v%d", last)
	})
	s.await("the descriptors of before", func() bool { return s.descriptors() <= descriptors })
	if got := s.pids(); !slices.Equal(got, pids) {
		t.Errorf("pids: got %v; want the same as before, %v", got, pids)
	}
}

// descriptors counts those of the supervisor.
func (s *stage) descriptors() int {
	s.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(entries)
}

func (s *stage) answersAtAll() {
	s.t.Helper()
	if _, err := ask("tcp", s.address()); err != nil {
		s.t.Errorf("ask: %v", err)
	}
}

func TestKilledWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	before := s.pids()
	start := time.Now()
	if err := syscall.Kill(before[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var now []admin.Worker
	s.await("a new worker", func() bool {
		now = s.status().Workers
		return now[0].State == "serving" && now[0].Pid != before[0]
	})
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("replaced after %v; want under a second or so", took)
	}
	if now[0].Restarts != 1 || !strings.Contains(now[0].LastExit, "SIGKILL") || now[1].Pid != before[1] {
		t.Errorf("workers: got %+v; want slot 0 restarted once after SIGKILL, slot 1 as it was", now)
	}
	s.write(play{host: "b"})
	if res := s.reload(); !res.OK {
		t.Errorf("reload: got %+v; want it to reach the new worker", res)
	}
	s.answers("b")
}

// A worker that is killed in the midst of a reload must not stop it.
func TestReloadsWhileWorkersAreKilled(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "v"})
	for i := range 20 {
		host := fmt.Sprintf("v%d", i)
		s.write(play{host: host})
		for _, pid := range s.livingWorkers() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			break
		}
		if res := s.reload(); !res.OK {
			t.Errorf("reload %d: got %+v; want it to work", i, res)
		}
		s.answers(host)
	}
}

func TestStoppedWorkerIsReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a worker may be silent")
	}
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	before := s.pids()
	start := time.Now()
	s.halt(before[1])
	s.await("a new worker", func() bool {
		w := s.status().Workers[1]
		return w.State == "serving" && w.Pid != before[1]
	})
	if took := time.Since(start); took > 13*time.Second {
		t.Errorf("replaced after %v; want at most 12s", took)
	}
}

// A worker that hangs when a reload comes makes it fail, in finite time, and is
// replaced.
func TestReloadWithAStoppedWorker(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a worker may be silent")
	}
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	before := s.pids()
	s.halt(before[1])
	s.write(play{host: "b"})
	if res := s.reload(); res.OK || res.Code != 3 || !strings.Contains(res.Text, "worker 1: did not answer in time") {
		t.Errorf("reload: got %+v; want code 3 and that worker 1 did not answer", res)
	}
	s.await("a new worker", func() bool {
		w := s.status().Workers[1]
		return w.State == "serving" && w.Pid != before[1]
	})
	if res := s.reload(); !res.OK {
		t.Errorf("reload again: got %+v; want it to work", res)
	}
	s.answers("b")
}

// After a pause of the supervisor itself, workers are not taken for dead.
func TestStoppedSupervisorGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a worker may be silent")
	}
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	before := s.pids()
	s.signal(syscall.SIGSTOP)
	<-time.After(beatLimit + time.Second)
	s.signal(syscall.SIGCONT)
	s.answers("a")
	if got := s.pids(); !slices.Equal(got, before) {
		t.Errorf("pids: got %v; want the same as before, %v", got, before)
	}
	s.write(play{host: "b"})
	if res := s.reload(); !res.OK {
		t.Errorf("reload: got %+v; want it to work", res)
	}
	if got := s.pids(); !slices.Equal(got, before) {
		t.Errorf("pids: got %v; want the same as before, %v", got, before)
	}
}

func TestStopDrains(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "slow", more: `drain_timeout = "1s"`})
	pids := s.pids()
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.client().Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 900*time.Millisecond {
		t.Errorf("stop: took %v; want it to wait for the workers, who take 1s", took)
	}
	if code := s.wait(); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
	s.leftNothing(pids)
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "slow", more: `drain_timeout = "5m"`})
	pids := s.pids()
	s.signal(syscall.SIGTERM)
	s.await("draining", func() bool { return s.status().State == "stopping" })
	if res := s.reload(); res.OK || !strings.Contains(res.Text, "stopping") {
		t.Errorf("reload: got %+v; want it refused", res)
	}
	s.signal(syscall.SIGINT)
	if code := s.wait(); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
	s.leftNothing(pids)
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	busy := mustBind(t, tcp(fmt.Sprintf("127.0.0.1:%d", freePort(t))))
	tests := []struct {
		name string
		play play
		env  []string
		code int
		text string
	}{
		{"worker says no", play{host: "nack"}, nil, 1, "certificate of nack.test has expired"},
		{"workers crash", play{host: "panic"}, nil, 3, "no worker could start; worker 1: exited with status 2: panic: boom"},
		{"workers exit", play{host: "exit"}, nil, 3, "exited with status 7: cannot go on"},
		{"workers hang", play{host: "mute", more: `ready_timeout = "1s"`}, nil, 3, "did not answer in time (opening)"},
		{"no worker to run", play{host: "a"}, []string{"TEST_EXE=/no/such/file"}, 3, "start /no/such/file: "},
		{"port in use", play{host: "a", listen: []string{busy.bound}}, nil, 3, `listener "web": bind ` + busy.bound + ": address already in use"},
		{"no socket passed", play{host: "a", listen: []string{"systemd:web"}}, nil, 3, `systemd passed no socket named "web"`},
		{"log", play{host: "a", more: `log = "/no/such/dir/log"`}, nil, 3, "log: open /no/such/dir/log: no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.env = tt.env
			s.write(tt.play)
			s.fails(tt.code, tt.text)
			s.leftNothing(nil)
		})
	}
	s := newStage(t)
	s.writeText("listener {")
	s.fails(1, "error: ", "proxy.hcl:1")
}

func TestSecondInstanceIsRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	cmd := exec.Command(os.Args[0], "supervise", s.file)
	out, err := cmd.CombinedOutput()
	want := fmt.Sprintf("already running as pid %d", s.cmd.Process.Pid)
	if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), want) {
		t.Errorf("second one: got %v, %q; want exit code 3 and %q", err, out, want)
	}
	s.answers("a")
}

func TestStartsAfterAKill(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	pids := s.pids()
	s.signal(syscall.SIGKILL)
	s.wait()
	again := newStage(t)
	again.dir, again.file, again.port = s.dir, s.file, s.port
	for _, pid := range pids { // the scripted workers end with their supervisor
		again.awaitGone(pid)
	}
	for _, name := range []string{"lock", "proxyd.pid", "admin.sock"} {
		if _, err := os.Lstat(s.state(name)); err != nil {
			t.Errorf("left by the killed one: %v", err)
		}
	}
	again.serve(play{host: "b"})
	again.answers("b")
}

func TestLogFile(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	path := filepath.Join(s.dir, "log")
	s.write(play{host: "a", more: fmt.Sprintf("log = %q", path)})
	s.start()
	logged := func(path, text string) func() bool {
		return func() bool {
			b, _ := os.ReadFile(path)
			return strings.Contains(string(b), text)
		}
	}
	s.await("log", logged(path, "msg=serving"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGUSR1)
	s.await("reopened log", logged(path, "logs reopened"))
	s.answers("a")
}

func TestDaemon(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	if err := os.WriteFile(s.file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	launch := func() (string, int) {
		// Relative, from its folder: the daemon works elsewhere.
		cmd := exec.Command(os.Args[0], "supervise", "proxy.hcl", "daemon")
		cmd.Dir = s.dir
		out, _ := cmd.CombinedOutput() // returns only if the daemon has let go of the pipe
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := launch(); code != 1 || !strings.Contains(out, "proxy.hcl:1:1") {
		t.Errorf("bad file: got %d, %q; want 1 and a diagnostic", code, out)
	}
	s.write(play{host: "panic"})
	if out, code := launch(); code != 3 || !strings.Contains(out, "panic: boom") {
		t.Errorf("workers that crash: got %d, %q; want 3 and why", code, out)
	}
	s.write(play{host: "a", more: fmt.Sprintf("log = %q", filepath.Join(s.dir, "log"))})
	if out, code := launch(); code != 0 || out != "" {
		t.Errorf("daemon: got %d, %q; want 0 and nothing", code, out)
	}
	s.answers("a") // at once
	st := s.status()
	if sid, err := syscall.Getpgid(st.Pid); err != nil || sid != st.Pid {
		t.Errorf("process group of the daemon: got %d, %v; want its own, %d", sid, err, st.Pid)
	}
	for fd, want := range map[int]string{0: os.DevNull, 1: filepath.Join(s.dir, "log"), 2: filepath.Join(s.dir, "log")} {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", st.Pid, fd)); err != nil || got != want {
			t.Errorf("descriptor %d: got %s, %v; want %s", fd, got, err, want)
		}
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", st.Pid)); err != nil || cwd != "/" {
		t.Errorf("working directory: got %s, %v; want /", cwd, err)
	}
	s.write(play{host: "b", more: fmt.Sprintf("log = %q", filepath.Join(s.dir, "log"))})
	if res := s.reload(); !res.OK {
		t.Errorf("reload: got %+v; want it to work", res)
	}
	pids := s.pids()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.client().Stop(ctx); err != nil {
		t.Fatal(err)
	}
	s.leftNothing(append(pids, st.Pid))
}

// Whoever read standard error may go away.
func TestOutlivesTheReaderOfItsLog(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.write(play{host: "a"})
	s.cmd = exec.Command(os.Args[0], "supervise", s.file)
	s.cmd.Stderr = w
	s.run()
	w.Close()
	r.Close()
	s.await("serving", func() bool { _, err := ask("tcp", s.address()); return err == nil })
	s.write(play{host: "b"})
	if res := s.reload(); !res.OK {
		t.Errorf("reload: got %+v; want it to work", res)
	}
	s.answers("b")
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
}
