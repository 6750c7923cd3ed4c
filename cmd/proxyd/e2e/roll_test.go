package e2e

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serving lists the processes of the workers of a generation that serve.
func (p *proxy) serving(generation uint32) (pids []int) {
	p.t.Helper()
	for _, w := range p.status().Workers {
		if w.Generation == generation && w.State == "serving" {
			pids = append(pids, w.Pid)
		}
	}
	return pids
}

// TestARollUnderLoadLosesNothing replaces the workers while clients keep asking,
// one holds half a head, and one waits for a slow server.
func TestARollUnderLoadLosesNothing(t *testing.T) {
	p := newProxy(t)
	slow := newSlowOrigin(t)
	p.write(site{
		servers: []string{newOrigin(t, "origin", "", nil, nil).address},
		rest:    "listener \"slow\" {\n address = \"unix:" + p.path("slow.sock") + "\"\n route \"all\" { upstream = \"slow\" }\n}\nupstream \"slow\" { servers = [\"" + slow.address + "\"] }",
	})
	p.start()
	before := p.pids()
	busy := connect(t, "unix:"+p.path("slow.sock"))
	if err := busy.send(request(http.MethodGet, "/", "")); err != nil {
		t.Fatal(err)
	}
	<-slow.began
	half := connect(t, p.address)
	if err := half.send("GET / HTTP/1.1\r\nHost: te"); err != nil {
		t.Fatal(err)
	}
	l := newLoad(t, p.address)
	l.keep(32, 20*time.Millisecond)
	l.renew(100)
	l.awaitMore(t, 100)

	began := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if out, code := p.run("roll", "-c", p.path("proxy.hcl")); code != 0 || !strings.Contains(out, "config 1 active") {
			t.Errorf("proxyd roll: got exit code %d, %s; want 0", code, out)
		}
	}()
	if err := half.send("st\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if a, err := half.receive(http.MethodGet); err != nil || a.status != http.StatusOK {
		t.Errorf("the request whose head was half sent: got %+v, %v; want 200", a, err)
	}
	<-done
	t.Logf("rolled after %v", time.Since(began).Round(time.Millisecond))
	if got := p.serving(2); len(got) != 2 || slices.Contains(before, got[0]) {
		t.Errorf("workers: got %v; want two others than %v", got, before)
	}
	l.awaitMore(t, 100)
	close(slow.release)
	if a, err := busy.receive(http.MethodGet); err != nil || a.status != http.StatusOK {
		t.Errorf("the request in flight: got %+v, %v; want 200", a, err)
	}
	l.end(t)
}

// HUP with another number of workers is a roll.
func TestAReloadWithMoreWorkers(t *testing.T) {
	p := newProxy(t)
	s := site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}}
	p.write(s)
	p.start()
	p.workers = 3
	p.write(s)
	p.signal(syscall.SIGHUP)
	await(t, "three workers of generation 2", func() bool { return len(p.serving(2)) == 3 })
	await(t, "the end of those before", func() bool { return len(p.status().Workers) == 3 })
	p.get("/").want(t, http.StatusOK)
}

// A generation that answers with errors, which the one before does not, does not
// replace it: its first worker is the only one that ever serves.
func TestARollToWorkersThatFail(t *testing.T) {
	long(t)
	p := newProxy(t)
	good := site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}}
	p.write(good)
	p.start()
	before := p.pids()
	l := newLoad(t, p.address)
	l.check = func(a *answer) error {
		if a.status == http.StatusBadGateway {
			return nil // of the first worker of the new generation
		}
		return a.ok()
	}
	l.renew(200)
	l.awaitMore(t, 20)

	p.workers = 3
	p.write(site{servers: []string{freeAddress(t)}})
	out, code := p.run("reload", "-c", p.path("proxy.hcl"))
	if code != 3 || !regexp.MustCompile(`answered \d+ of \d+ requests with 5xx`).MatchString(out) {
		t.Errorf("reload: got exit code %d, %s; want 3 and the share of 5xx", code, out)
	}
	await(t, "the workers of before alone", func() bool { return slices.Equal(p.pids(), before) })
	for range 50 {
		p.get("/").want(t, http.StatusOK)
	}
	l.end(t)
	t.Logf("%s", out)
}
