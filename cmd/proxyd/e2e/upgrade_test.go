package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// next is a build of the same program with another version, made once.
var next = sync.OnceValues(func() (string, error) {
	file := filepath.Join(filepath.Dir(binary), "next")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X main.version=next", "-o", file, "..").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build another proxyd: %w: %s", err, out)
	}
	return file, nil
})

// install puts a program into the proxy's own file, as a package manager does:
// under another name, then in one step.
func (p *proxy) install(from string) {
	p.t.Helper()
	program, err := os.ReadFile(from)
	if err != nil {
		p.t.Fatal(err)
	}
	p.installText(string(program))
}

func (p *proxy) installText(program string) {
	p.t.Helper()
	if err := os.WriteFile(p.path("proxyd.next"), []byte(program), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.path("proxyd.next"), p.path("proxyd")); err != nil {
		p.t.Fatal(err)
	}
}

func (p *proxy) installNext() {
	p.t.Helper()
	file, err := next()
	if err != nil {
		p.t.Fatal(err)
	}
	p.install(file)
}

// startInstalled runs the proxy from its own file, with further arguments.
func (p *proxy) startInstalled(args ...string) {
	p.t.Helper()
	p.install(binary)
	before := p.logged(`msg=serving`)
	p.launch(p.command(context.Background(), p.path("proxyd"), append(args, "-c", p.path("proxy.hcl"))...))
	p.awaitLogs(`msg=serving`, before+1)
}

// upgrade asks for an upgrade, which must succeed.
func (p *proxy) upgrade() {
	p.t.Helper()
	if out, code := p.run("upgrade", "-c", p.path("proxy.hcl")); code != 0 {
		p.t.Fatalf("proxyd upgrade: got exit code %d, %s; want 0", code, out)
	}
}

// settled waits until there are only the workers of one generation.
func (p *proxy) settled(generation uint32) {
	p.t.Helper()
	await(p.t, fmt.Sprintf("generation %d alone", generation), func() bool {
		return len(p.serving(generation)) == p.workers && len(p.status().Workers) == p.workers
	})
}

// TestAnUpgradeInPlace upgrades a proxy in the foreground under load: its process
// stays and runs another program.
func TestAnUpgradeInPlace(t *testing.T) {
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	const limit = 100
	awaitHour(t)
	p := newProxy(t)
	perSecond(p, fmt.Sprintf("%d/h", limit), newOrigin(t, "origin", "", nil, nil).address)
	p.startInstalled()
	if got := use(t, p, "app", limit/2); got != limit/2 {
		t.Fatalf("before: got %d admitted; want %d", got, limit/2)
	}
	l := newLoad(t, p.address)
	l.keep(32, 20*time.Millisecond)
	l.renew(100)
	l.awaitMore(t, 100)
	p.installNext()
	for round := range rounds {
		began := time.Now()
		p.upgrade()
		t.Logf("upgraded after %v", time.Since(began).Round(time.Millisecond))
		await(t, "the new program", func() bool {
			out, code := p.run("status", "--state-dir", p.path("run"))
			return code == 0 && strings.Contains(out, "next, pid")
		})
		p.settled(uint32(round) + 2)
		if s := p.status(); s.Pid != p.cmd.Process.Pid || pidFile(t, s.PIDFile) != s.Pid {
			t.Errorf("process: got %d; want %d as before", s.Pid, p.cmd.Process.Pid)
		}
	}
	l.awaitMore(t, 100)
	l.end(t)
	if got := use(t, p, "app", limit); got != limit/2 {
		t.Errorf("after: got %d admitted; want the %d that were left", got, limit/2)
	}
	p.write(site{servers: []string{newOrigin(t, "other", "", nil, nil).address}})
	if out, code := p.run("reload", "-c", p.path("proxy.hcl")); code != 0 {
		t.Errorf("reload: got exit code %d, %s; want 0", code, out)
	}
	if a := p.get("/"); !strings.HasPrefix(a.body, "other ") {
		t.Errorf("after the reload: got %q; want an answer of the other server", a.body)
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(patience); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
	if left := processesOf(p.dir); len(left) > 0 {
		t.Errorf("got processes %v; want none", left)
	}
}

// TestAnUpgradeOfADaemon upgrades a daemon under load: another process follows it.
func TestAnUpgradeOfADaemon(t *testing.T) {
	long(t)
	p := newProxy(t)
	p.daemon = true
	p.write(site{
		address: []string{p.address, "unix:" + p.path("web.sock")},
		servers: []string{newOrigin(t, "origin", "", nil, nil).address},
	})
	p.install(binary)
	c := p.command(context.Background(), p.path("proxyd"), "--daemon", "-c", p.path("proxy.hcl"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("proxyd --daemon: %v, %s", err, out)
	}
	p.installNext()
	l := newLoad(t, p.address)
	l.keep(32, 20*time.Millisecond)
	l.renew(100)
	l.awaitMore(t, 100)
	pids := []int{p.status().Pid}
	for round := range 2 {
		if round == 0 {
			p.upgrade()
		} else if err := syscall.Kill(pids[round], syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		await(t, "another process", func() bool {
			out, code := p.run("status", "--state-dir", p.path("run"), "--format", "json")
			return code == 0 && strings.Contains(out, `"incarnation": `+fmt.Sprint(round+2))
		})
		p.settled(uint32(round) + 2)
		s := p.status()
		if slices.Contains(pids, s.Pid) || pidFile(t, s.PIDFile) != s.Pid {
			t.Errorf("process: got %d, %d in the PID file; want another than %v in both", s.Pid, pidFile(t, s.PIDFile), pids)
		}
		await(t, "end of the one before", func() bool { return len(processesOf(p.dir)) == 1+p.workers })
		pids = append(pids, s.Pid)
		connect(t, "unix:"+p.path("web.sock")).get(t, "/").want(t, http.StatusOK)
	}
	l.awaitMore(t, 100)
	l.end(t)
	if out, code := p.run("-c", p.path("proxy.hcl")); code != 3 || !strings.Contains(out, fmt.Sprintf("already running as pid %d", pids[2])) {
		t.Errorf("a second instance: got %d, %s; want 3 and the pid of the first", code, out)
	}
	if out, code := p.run("stop", "-c", p.path("proxy.hcl")); code != 0 {
		t.Errorf("stop: got exit code %d, %s; want 0", code, out)
	}
	if entries, err := os.ReadDir(p.path("run")); err == nil {
		t.Errorf("state directory after the end: got %v; want none", entries)
	}
	if _, err := os.Lstat(p.path("web.sock")); err == nil {
		t.Error("unix socket after the end: got it; want none")
	}
}

// Programs that are no good are refused, or taken back, and nobody notices.
func TestAnUpgradeThatFails(t *testing.T) {
	long(t)
	good, err := next()
	if err != nil {
		t.Fatal(err)
	}
	script := func(text string) string { return "#!/bin/sh\n" + strings.ReplaceAll(text, "REAL", good) + "\n" }
	tests := []struct {
		name, program, want string
	}{
		{"missing", "", "no such file"},
		{"no program", "text", "exec format error"},
		{"fails", script("echo broken >&2; exit 9"), "exit status 9"},
		{"fails as supervisor", script(`case $1 in validate) exec REAL "$@";; esac; exit 9`), "exit status 9"},
		{"is killed as supervisor", script(`case $1 in validate|worker) exec REAL "$@";; esac; (sleep 1; kill -9 $$) & exec REAL "$@"`), "killed"},
	}
	if testing.Short() {
		tests = tests[:4]
	}
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	p.startInstalled()
	before := p.pids()
	l := newLoad(t, p.address)
	l.keep(16, 20*time.Millisecond)
	l.renew(50)
	for _, tt := range tests {
		if tt.program == "" {
			if err := os.Remove(p.path("proxyd")); err != nil {
				t.Fatal(err)
			}
		} else {
			p.installText(tt.program)
		}
		out, code := p.run("upgrade", "-c", p.path("proxy.hcl"))
		if code != 3 || !strings.Contains(out, tt.want) {
			t.Errorf("%s: got exit code %d, %s; want 3 and %q", tt.name, code, out, tt.want)
		}
		await(t, tt.name+": nothing left of it", func() bool { return len(processesOf(p.dir)) == 1+len(before) })
		if s := p.status(); s.Pid != p.cmd.Process.Pid || pidFile(t, s.PIDFile) != s.Pid || !slices.Equal(p.pids(), before) {
			t.Errorf("%s: got %+v; want process %d with workers %v", tt.name, s, p.cmd.Process.Pid, before)
		}
		l.awaitMore(t, 20)
	}
	p.install(good)
	p.upgrade()
	p.settled(p.status().Generation)
	l.awaitMore(t, 20)
	l.end(t)
}

// What dies of the new program while it is on trial takes nothing with it.
func TestAnUpgradeWhoseProcessesDie(t *testing.T) {
	long(t)
	tests := []struct {
		name   string
		victim string // a line of the log with its pid
		signal syscall.Signal
		want   string
	}{
		{"a worker in its probation", `msg="worker serves" slot=\d+ pid=(\d+)`, syscall.SIGSEGV, "generation"},
		{"the supervisor before its workers serve", `msg="the new process starts" pid=(\d+)`, syscall.SIGKILL, "killed"},
		{"the supervisor while it is watched", `msg="the workers of the new process serve" pid=(\d+)`, syscall.SIGKILL, "killed"},
	}
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	p.startInstalled()
	p.installNext()
	before := p.pids()
	l := newLoad(t, p.address)
	l.keep(16, 20*time.Millisecond)
	l.renew(50)
	for _, tt := range tests {
		logged := len(p.log())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if out, code := p.run("upgrade", "-c", p.path("proxy.hcl")); code != 3 || !strings.Contains(out, tt.want) {
				t.Errorf("%s: got exit code %d, %s; want 3 and %q", tt.name, code, out, tt.want)
			}
		}()
		var found []string
		await(t, tt.name, func() bool {
			found = regexp.MustCompile(tt.victim).FindStringSubmatch(p.log()[logged:])
			return found != nil
		})
		pid, err := strconv.Atoi(found[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, tt.signal); err != nil {
			t.Fatal(err)
		}
		<-done
		await(t, tt.name+": nothing left of it", func() bool { return len(processesOf(p.dir)) == 1+len(before) })
		if s := p.status(); s.Pid != p.cmd.Process.Pid || pidFile(t, s.PIDFile) != s.Pid || !slices.Equal(p.pids(), before) {
			t.Errorf("%s: got %+v; want process %d with workers %v", tt.name, s, p.cmd.Process.Pid, before)
		}
		l.awaitMore(t, 20)
	}
	l.end(t)
}

// A stop in the midst of an upgrade stops both.
func TestAStopInAnUpgrade(t *testing.T) {
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	p.startInstalled()
	p.installNext()
	p.signal(syscall.SIGUSR2)
	p.awaitLogs(`msg="worker serves"`, p.workers+1)
	p.signal(syscall.SIGTERM)
	if code := p.wait(patience); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
	if left := processesOf(p.dir); len(left) > 0 {
		t.Errorf("got processes %v; want none", left)
	}
}

// A supervisor that dies in an upgrade leaves its own workers, and the next one
// finds them and nothing else.
func TestASupervisorThatIsKilledInAnUpgrade(t *testing.T) {
	long(t)
	const moments = 6
	rounds := moments
	if tortured() {
		rounds = 4 * moments
	}
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	p.startInstalled()
	p.installNext()
	l := newLoad(t, p.address)
	l.keep(8, 20*time.Millisecond)
	l.renew(50)
	for round := range rounds {
		p.signal(syscall.SIGUSR2)
		<-time.After(time.Duration(round%moments) * 2200 * time.Millisecond)
		p.killSupervisor()
		before := p.logged(`msg=serving`)
		p.launch(p.command(context.Background(), p.path("proxyd"), "-c", p.path("proxy.hcl")))
		p.awaitLogs(`msg=serving`, before+1)
		await(t, "one supervisor and its workers", func() bool { return len(processesOf(p.dir)) == 1+p.workers })
		p.settled(p.status().Generation)
		l.awaitMore(t, 20)
	}
	l.end(t)
}

// TestAsProcessOne runs the proxy as the first process of a namespace, as in a
// container: an upgrade leaves it the first, and it takes note of every child.
func TestAsProcessOne(t *testing.T) {
	long(t)
	unshare, err := exec.LookPath("unshare")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs unshare and root")
	}
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	p.install(binary)
	p.launch(p.command(context.Background(), unshare, "--pid", "--fork", "--kill-child", "--mount-proc", p.path("proxyd"), "-c", p.path("proxy.hcl")))
	p.awaitLog(`msg=serving`)
	l := newLoad(t, p.address)
	l.renew(50)
	for generation := uint32(2); generation <= 3; generation++ {
		p.upgrade()
		p.settled(generation)
		if s := p.status(); s.Pid != 1 {
			t.Errorf("process: got %d; want 1", s.Pid)
		}
		await(t, "no process but unshare, the first and its workers", func() bool { return len(childrenOf(t, p.cmd.Process.Pid)) == 1+p.workers })
	}
	l.awaitMore(t, 20)
	l.end(t)
	if out, code := p.run("stop", "--state-dir", p.path("run")); code != 0 {
		t.Errorf("stop: got exit code %d, %s; want 0", code, out)
	}
}

// childrenOf lists the children of a process and theirs, dead ones too.
func childrenOf(t *testing.T, pid int) (all []int) {
	t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range tasks {
		b, _ := os.ReadFile(name)
		for text := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(text); err == nil {
				all = append(append(all, child), childrenOf(t, child)...)
			}
		}
	}
	return all
}

// A mistake in the file is found before anything is started.
func TestAnUpgradeWithABadFile(t *testing.T) {
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	p.startInstalled()
	before := p.pids()
	p.writeText("listener \"web\" {\n  adress = \":1\"\n}\n")
	out, code := p.run("upgrade", "--state-dir", p.path("run"))
	if code != 1 || !strings.Contains(out, "adress") {
		t.Errorf("upgrade: got exit code %d, %s; want 1 and the mistake", code, out)
	}
	if got := p.pids(); !slices.Equal(got, before) {
		t.Errorf("workers: got %v; want %v as before", got, before)
	}
	p.get("/").want(t, http.StatusOK)
}

// TestAWorkerThatDiesAfterAnUpgrade kills a worker when the program's file is
// another one already, as between the upgrade of a package and the restart: what
// takes its place is the program that runs.
func TestAWorkerThatDiesAfterAnUpgrade(t *testing.T) {
	long(t)
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	file := p.path("proxyd")
	if err := os.WriteFile(file, program, 0o755); err != nil {
		t.Fatal(err)
	}
	p.launch(p.command(context.Background(), file, "-c", p.path("proxy.hcl")))
	p.awaitLog(`msg=serving`)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	kill(t, p.pids()[0])
	p.awaitLogs(`msg="worker serves" slot=0 `, 2)
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexit 9\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	kill(t, p.pids()[1])
	p.awaitLogs(`msg="worker serves" slot=1 `, 2)
	p.get("/").want(t, http.StatusOK)
}
