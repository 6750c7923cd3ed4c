package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killSupervisor kills the proxy's supervisor in the foreground and returns when
// it is gone.
func (p *proxy) killSupervisor() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.wait(patience)
}

// TestASupervisorThatIsKilled kills the supervisor under load, leaves the workers
// alone for a while, and starts it again.
func TestASupervisorThatIsKilled(t *testing.T) {
	const limit = 100
	awaitHour(t)
	alone := 5 * time.Second
	switch {
	case tortured():
		alone = 30 * time.Second
	case testing.Short():
		alone = time.Second
	}
	p := newProxy(t)
	origin := newOrigin(t, "origin", "", nil, nil).address
	perSecond(p, fmt.Sprintf("%d/h", limit), origin)
	p.start()
	before := p.pids()
	if got := use(t, p, "app", limit/2); got != limit/2 {
		t.Fatalf("before: got %d admitted; want %d", got, limit/2)
	}
	l := newLoad(t, p.address)
	l.keep(32, 20*time.Millisecond)
	l.renew(100)
	l.awaitMore(t, 100)

	p.killSupervisor()
	for end := time.Now().Add(alone); time.Now().Before(end); {
		l.awaitMore(t, 20)
	}
	p.start()
	s := p.status()
	if got := p.pids(); !slices.Equal(got, before) || s.Incarnation != 2 {
		t.Errorf("got workers %v of incarnation %d; want %v as before, and 2", got, s.Incarnation, before)
	}
	if got := use(t, p, "app", limit); got != limit/2 {
		t.Errorf("after: got %d admitted; want the %d that were left", got, limit/2)
	}
	perSecond(p, fmt.Sprintf("%d/h", limit+1), origin)
	if out, code := p.run("reload", "-c", p.path("proxy.hcl")); code != 0 {
		t.Errorf("reload: got exit code %d, %s; want 0", code, out)
	}
	l.awaitMore(t, 100)
	l.end(t)
	if got := p.pids(); !slices.Equal(got, before) {
		t.Errorf("workers: got %v; want %v as before", got, before)
	}
	if pid := pidFile(t, s.PIDFile); pid != p.cmd.Process.Pid {
		t.Errorf("PID file: got %d; want %d", pid, p.cmd.Process.Pid)
	}

	// An adopted worker is watched and replaced as any other.
	kill(t, before[0])
	await(t, "another worker", func() bool { return p.status().Workers[0].State == "serving" && p.pids()[0] != before[0] })
	p.get("/").want(t, http.StatusOK)
	p.signal(syscall.SIGTERM)
	if code := p.wait(patience); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
	if left := processesOf(p.dir); len(left) > 0 {
		t.Errorf("got processes %v; want none", left)
	}
}

// Whenever the supervisor dies in a reload, the next one finds all workers, and
// brings all of them to one configuration.
func TestASupervisorThatIsKilledInAReload(t *testing.T) {
	long(t)
	rounds := 30
	if tortured() {
		rounds = 200
	}
	p := newProxy(t)
	origin := newOrigin(t, "origin", "", nil, nil).address
	write := func(i int) {
		addresses := []string{p.address}
		if i%2 == 0 {
			addresses = append(addresses, "unix:"+p.path("extra.sock"))
		}
		p.write(site{address: addresses, servers: []string{origin}, upstream: fmt.Sprintf(`host = "v%d.example"`, i)})
	}
	write(0)
	p.start()
	before := p.pids()
	l := newLoad(t, p.address)
	l.keep(8, 20*time.Millisecond)
	l.renew(50)
	for i := 1; i <= rounds; i++ {
		write(i)
		p.signal(syscall.SIGHUP)
		<-time.After(rand.N(30 * time.Millisecond)) // the moment is the point
		p.killSupervisor()
		p.start()
		want := fmt.Sprintf("host=v%d.example", i)
		await(t, want, func() bool {
			for range 8 {
				if !strings.Contains(p.get("/").body, want) {
					return false
				}
			}
			return true
		})
		if i%2 == 0 {
			c := connect(t, "unix:"+p.path("extra.sock"))
			c.get(t, "/").want(t, http.StatusOK)
		}
	}
	l.end(t)
	if got := p.pids(); !slices.Equal(got, before) {
		t.Errorf("workers: got %v; want %v as before", got, before)
	}
	if got := p.status().Incarnation; got != uint64(rounds)+1 {
		t.Errorf("incarnation: got %d; want %d", got, rounds+1)
	}
}

// Workers without a supervisor can be stopped, and end what they have begun.
func TestOrphansThatAreTold(t *testing.T) {
	p := newProxy(t)
	slow := newSlowOrigin(t)
	p.write(site{servers: []string{slow.address}})
	p.start()
	pids := p.pids()
	c := connect(t, p.address)
	if err := c.send(request(http.MethodGet, "/", "")); err != nil {
		t.Fatal(err)
	}
	<-slow.began
	p.killSupervisor()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "end of the idle worker", func() bool { return len(processesOf(p.dir)) == 1 })
	close(slow.release)
	a, err := c.receive(http.MethodGet)
	if err != nil {
		t.Fatal(err)
	}
	a.want(t, http.StatusOK)
	await(t, "end of the busy worker", func() bool { return len(processesOf(p.dir)) == 0 })
}

// What a dead proxy has left is no obstacle, and a process that got the number
// of a dead one is let alone.
func TestAStaleStateDirectory(t *testing.T) {
	p := newProxy(t)
	p.write(site{servers: []string{refused(t)}})
	p.start()
	pids := p.pids()
	p.killSupervisor()
	for _, pid := range pids {
		kill(t, pid)
	}
	bystander := p.command(context.Background(), "sleep", "60")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bystander.Process.Kill(); _ = bystander.Wait() }()
	for _, name := range []string{"proxyd.pid", "lock"} {
		if err := os.WriteFile(p.path("run/"+name), []byte(strconv.Itoa(bystander.Process.Pid)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	if err := syscall.Kill(bystander.Process.Pid, 0); err != nil {
		t.Errorf("the process whose number was in the files: %v; want it alive", err)
	}
	if out, code := p.run("-c", p.path("proxy.hcl")); code != 3 || !strings.Contains(out, fmt.Sprintf("already running as pid %d", p.cmd.Process.Pid)) {
		t.Errorf("a second instance: got %d, %s; want 3 and the pid of the first", code, out)
	}
}
