package e2e

import (
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A slowOrigin holds its answers until it is released.
type slowOrigin struct {
	*origin
	began   chan struct{} // a value for each request
	release chan struct{}
}

func newSlowOrigin(t *testing.T) *slowOrigin {
	t.Helper()
	s := &slowOrigin{began: make(chan struct{}, 1000), release: make(chan struct{})}
	s.origin = newOrigin(t, "slow", "", nil, func(w http.ResponseWriter, r *http.Request) {
		s.began <- struct{}{}
		select {
		case <-s.release:
		case <-r.Context().Done():
			return
		}
		s.echo(w, r)
	})
	return s
}

func TestCtrlCLetsRequestsInFlightEnd(t *testing.T) {
	p := newProxy(t)
	slow := newSlowOrigin(t)
	p.write(site{address: []string{p.address, "unix:" + p.path("web.sock")}, servers: []string{slow.address}})
	p.start()
	idle := connect(t, p.address)
	busy := connect(t, "unix:"+p.path("web.sock"))
	if err := busy.send(request(http.MethodGet, "/", "")); err != nil {
		t.Fatal(err)
	}
	<-slow.began

	// A terminal signals the whole group.
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.awaitLog(`msg=stopping`)
	if !idle.closed(t) {
		t.Errorf("an idle connection: want it closed")
	}
	await(t, "refusal of new connections", func() bool {
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			return true
		}
		c.Close()
		return false
	})
	if p.ended() {
		t.Fatalf("the proxy ended with a request in flight")
	}
	close(slow.release)
	a, err := busy.receive(http.MethodGet)
	if err != nil {
		t.Fatalf("the request in flight: %v", err)
	}
	a.want(t, http.StatusOK)
	if !a.closing || !busy.closed(t) {
		t.Errorf("the connection of the last request: want it announced and closed")
	}
	if code := p.wait(patience); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
	for _, name := range []string{"run/proxyd.pid", "run/lock", "run/admin.sock", "web.sock"} {
		if _, err := os.Stat(p.path(name)); !os.IsNotExist(err) {
			t.Errorf("%s after the end: got %v; want it gone", name, err)
		}
	}
}

func TestASecondSignalStopsAtOnce(t *testing.T) {
	p := newProxy(t)
	slow := newSlowOrigin(t)
	p.write(site{servers: []string{slow.address}})
	p.start()
	c := connect(t, p.address)
	if err := c.send(request(http.MethodGet, "/", "")); err != nil {
		t.Fatal(err)
	}
	<-slow.began
	p.signal(syscall.SIGTERM)
	p.awaitLog(`msg=stopping `)
	if p.ended() {
		t.Fatalf("the proxy ended with a request in flight")
	}
	began := time.Now()
	p.signal(syscall.SIGTERM)
	code := p.wait(patience)
	if took := time.Since(began); code != 0 || took > 2*time.Second {
		t.Errorf("after the second signal: got exit code %d after %v; want 0 at once", code, took)
	}
	if a, err := c.receive(http.MethodGet); err == nil {
		t.Errorf("the request in flight: got %d; want no answer", a.status)
	}
}

func TestDrainingIsBounded(t *testing.T) {
	p := newProxy(t)
	slow := newSlowOrigin(t)
	p.writeRaw(strings.NewReplacer("LISTEN", p.address, "SERVER", slow.address).Replace(`
supervisor {
  state_dir     = "run"
  workers       = 2
  drain_timeout = "300ms"
}
listener "web" {
  address = "LISTEN"
  route "all" { upstream = "slow" }
}
upstream "slow" { servers = ["SERVER"] }`))
	p.start()
	c := connect(t, p.address)
	if err := c.send(request(http.MethodGet, "/", "")); err != nil {
		t.Fatal(err)
	}
	<-slow.began
	began := time.Now()
	out, code := p.run("stop", "-c", p.path("proxy.hcl"))
	if took := time.Since(began); code != 0 || took < 300*time.Millisecond || took > 5*time.Second {
		t.Errorf("proxyd stop: got exit code %d after %v, %q; want 0 after 300ms", code, took, out)
	}
	if code := p.wait(patience); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
}
