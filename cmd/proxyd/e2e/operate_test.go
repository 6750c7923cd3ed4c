package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A listed server is what 'proxyd server list' tells of one, as far as tests look
// at it.
type listed struct {
	Address    string
	Weight     int
	Configured int `json:"configured_weight"`
	State      string
	Admin      string
	InFlight   int `json:"in_flight"`
	Source     string
}

// servers lists those of the upstream "one", by address.
func (p *proxy) servers() map[string]listed {
	p.t.Helper()
	var all struct {
		Upstreams []struct {
			Name    string
			Servers []listed
		}
	}
	out := p.operate("server", "list", "one", "--json")
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all.Upstreams) != 1 {
		p.t.Fatalf("proxyd server list: %v: %s", err, out)
	}
	servers := make(map[string]listed)
	for _, s := range all.Upstreams[0].Servers {
		servers[s.Address] = s
	}
	return servers
}

// operate runs a command that must succeed.
func (p *proxy) operate(args ...string) string {
	p.t.Helper()
	out, code := p.run(append(args, "--state-dir", p.path("run"))...)
	if code != 0 {
		p.t.Fatalf("proxyd %s: got exit code %d, %s; want 0", strings.Join(args, " "), code, out)
	}
	return out
}

// A pausing origin knows when it was last asked, and answers requests below
// /pause only after release.
type pausingOrigin struct {
	*origin
	last    atomic.Int64 // monotonic, of the last request
	paused  atomic.Int64 // requests that wait
	release chan struct{}
}

func newPausingOrigin(t *testing.T, name string) *pausingOrigin {
	t.Helper()
	o := &pausingOrigin{release: make(chan struct{})}
	o.origin = newOrigin(t, name, "", nil, func(w http.ResponseWriter, r *http.Request) {
		o.last.Store(monotonic())
		if strings.HasPrefix(r.URL.Path, "/pause") {
			o.paused.Add(1)
			select {
			case <-o.release:
			case <-r.Context().Done():
				return
			}
		}
		o.echo(w, r)
	})
	return o
}

// TestADrainUnderLoad drains one of two servers under load on kept-alive and new
// connections, while requests are in flight to it: nothing is lost, no worker asks
// it any more at once, and the command can wait for what is in flight.
func TestADrainUnderLoad(t *testing.T) {
	p := newProxy(t)
	p.workers = 4
	one, two := newPausingOrigin(t, "one"), newPausingOrigin(t, "two")
	p.write(site{servers: []string{one.address, two.address}, upstream: `health "tcp" { interval = "200ms" }`})
	p.start()
	await(t, "both servers up", func() bool {
		s := p.servers()
		return s[one.address].State == "up" && s[two.address].State == "up"
	})
	l := newLoad(t, p.address)
	l.keep(32, 10*time.Millisecond)
	l.renew(100)
	const pausing = 12
	answers := make(chan error, pausing)
	for i := range pausing {
		go func() {
			c, err := dial(p.address)
			if err != nil {
				answers <- err
				return
			}
			defer c.Close()
			a, err := c.ask(http.MethodGet, fmt.Sprintf("/pause/%d", i), "")
			if err == nil {
				err = a.ok()
			}
			answers <- err
		}()
	}
	await(t, "requests in flight", func() bool { return one.paused.Load()+two.paused.Load() == pausing })
	l.awaitMore(t, 500)
	if one.paused.Load() == 0 || two.paused.Load() == 0 {
		t.Fatalf("requests in flight: got %d and %d; want some to each", one.paused.Load(), two.paused.Load())
	}

	out := p.operate("server", "drain", "one", one.address)
	told := monotonic()
	if !strings.Contains(out, one.address+": draining") {
		t.Errorf("server drain: got %q; want that it is draining", out)
	}
	l.awaitMore(t, 1000)
	late := time.Duration(one.last.Load() - told)
	t.Logf("the last request came %v after the command had returned", late)
	if late > 100*time.Millisecond {
		t.Errorf("the last request to the drained server: got one %v after the command; want none after 100ms", late)
	}
	want := int(one.paused.Load())
	await(t, "nothing in flight but what pauses", func() bool { return p.servers()[one.address].InFlight == want })

	if out, code := p.run("server", "drain", "one", one.address, "--wait", "300ms", "--state-dir", p.path("run")); code != 3 || !strings.Contains(out, "still in flight") {
		t.Errorf("server drain --wait: got exit code %d, %s; want 3, as requests are in flight", code, out)
	}
	close(one.release)
	p.operate("server", "drain", "one", one.address, "--wait", "10s")
	close(two.release)
	for range pausing {
		if err := <-answers; err != nil {
			t.Errorf("a request in flight: %v", err)
		}
	}

	before := one.requests.Load()
	p.operate("server", "enable", "one", one.address)
	await(t, "requests to the server that is enabled again", func() bool { return one.requests.Load() >= before+100 })
	l.awaitMore(t, 100)
	l.end(t)
}

// What an operator has said holds until an operator says otherwise, whoever dies
// or is replaced.
func TestADrainOutlivesWhatCarriesIt(t *testing.T) {
	long(t)
	p := newProxy(t)
	one, two := newOrigin(t, "one", "", nil, nil), newOrigin(t, "two", "", nil, nil)
	write := func(version int) {
		p.write(site{servers: []string{one.address, two.address}, upstream: fmt.Sprintf("host = \"v%d.example\"", version)})
	}
	write(1)
	p.startInstalled()
	p.operate("server", "drain", "one", one.address)
	p.operate("server", "weight", "one", two.address, "7")
	asked := one.requests.Load()
	l := newLoad(t, p.address)
	l.keep(8, 10*time.Millisecond)
	l.renew(50)
	check := func(after string) {
		t.Helper()
		l.awaitMore(t, 100)
		s := p.servers()
		if a, b := s[one.address], s[two.address]; a.Admin != "draining" || a.Weight != 1 || b.Admin != "" || b.Weight != 7 || b.Configured != 1 {
			t.Errorf("after %s: got %+v and %+v; want one draining and one of weight 7", after, a, b)
		}
		if n := one.requests.Load() - asked; n > 0 {
			t.Errorf("after %s: got %d requests to the drained server; want none", after, n)
		}
	}
	check("the change itself")

	write(2)
	p.operate("reload")
	check("a reload")
	p.operate("roll")
	check("a roll")
	p.installNext()
	p.upgrade()
	await(t, "the new program", func() bool {
		out, code := p.run("status", "--state-dir", p.path("run"))
		return code == 0 && strings.Contains(out, "next, pid")
	})
	check("an upgrade")
	p.settled(p.status().Generation)

	p.killSupervisor()
	before := p.logged(`msg=serving`)
	p.launch(p.command(t.Context(), p.path("proxyd"), "-c", p.path("proxy.hcl")))
	p.awaitLogs(`msg=serving`, before+1)
	check("the death of the supervisor")
	l.end(t)

	pids := p.pids()
	for _, pid := range pids { // one after the other: connections of theirs are lost, nothing else
		kill(t, pid)
	}
	await(t, "other workers", func() bool { return len(p.serving(p.status().Generation)) == p.workers && p.pids()[0] != pids[0] })
	if s := p.servers(); s[one.address].Admin != "draining" || s[two.address].Weight != 7 {
		t.Errorf("after the death of all workers: got %+v; want one draining and one of weight 7", s)
	}
	p.get("/").want(t, http.StatusOK)
	if n := one.requests.Load() - asked; n > 0 {
		t.Errorf("after the death of all workers: got %d requests to the drained server; want none", n)
	}
	p.operate("server", "enable", "one", one.address)
	p.operate("server", "weight", "one", two.address, "default")
	await(t, "requests to the server that is enabled again", func() bool {
		p.get("/").want(t, http.StatusOK)
		return one.requests.Load() > asked
	})
}

// Workers that hang cost a second, and are not what the answer hangs on.
func TestAQuestionWhileAWorkerHangs(t *testing.T) {
	p := newProxy(t)
	o := newOrigin(t, "origin", "", nil, nil)
	p.write(site{servers: []string{o.address}})
	p.start()
	pids := p.pids()
	if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { // it may have been killed for it
		if err := syscall.Kill(pids[0], syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}()
	began := time.Now()
	for range 3 {
		if s := p.servers(); len(s) != 1 || s[o.address].Source != "config" {
			t.Errorf("servers: got %+v; want the one of the file", s)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("three questions: took %v; want one second for the worker that hangs, once", took)
	}
}
