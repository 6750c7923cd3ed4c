package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReloadsUnderLoadLoseNothing changes the file and sends HUP, ten times a
// second, while clients keep asking over kept and over new connections.
func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	reloads, kept, renewed := 100, 64, 200
	if testing.Short() {
		reloads, kept, renewed = 10, 16, 50
	}
	p := newProxy(t)
	p.daemon = true
	origin := newOrigin(t, "origin", "", nil, nil)
	other := newOrigin(t, "other", "", nil, nil)
	write := func(i int) {
		addresses := []string{p.address}
		if i%3 == 0 {
			addresses = append(addresses, "unix:"+p.path("extra.sock"))
		}
		servers := []string{origin.address, other.address}
		p.write(site{
			address: addresses, servers: servers[:1+i%2], route: `rate_limit = ["all"]`,
			upstream: fmt.Sprintf("host = \"v%d.example\"\n health \"tcp\" {}", i),
			rest:     fmt.Sprintf("rate_limit \"all\" {\n key = request.path\n rate = \"%d/h\"\n}", 1_000_000+i),
		})
	}
	write(0)
	p.daemonize()
	before := p.pids()
	supervisor := p.status().Pid

	l := newLoad(t, p.address)
	l.check = func(a *answer) error {
		if err := a.ok(); err != nil || strings.Contains(a.body, "host=v") {
			return err
		}
		return fmt.Errorf("answer %q of no configuration", a.body)
	}
	l.keep(kept, 20*time.Millisecond)
	l.renew(renewed)
	l.awaitMore(t, 100)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for i := 1; i <= reloads; i++ {
		<-ticker.C
		write(i)
		if err := syscall.Kill(supervisor, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	last := fmt.Sprintf("host=v%d.example", reloads)
	await(t, "the last file in force", func() bool { return strings.Contains(p.get("/").body, last) })
	l.awaitMore(t, 100)
	l.end(t)
	if after := p.pids(); !slices.Equal(before, after) {
		t.Errorf("workers: got %v; want %v as before", after, before)
	}
	for range 20 {
		if body := p.get("/").body; !strings.Contains(body, last) {
			t.Errorf("after the last reload: got %q; want %s", body, last)
		}
	}
	if n := p.logged(`level=(ERROR|WARN)`); n > 0 {
		t.Errorf("log: got %d warnings and errors; want none", n)
	}
	t.Logf("%d signals, %d reloads, config %d", reloads, p.logged(`msg=reloaded`), p.status().Config)
}

func TestABadFileLeavesTheOldInForce(t *testing.T) {
	p := newProxy(t)
	good := site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}}
	p.write(good)
	p.start()
	c := connect(t, p.address)
	c.get(t, "/").want(t, http.StatusOK)
	before := p.pids()

	bad := good
	bad.upstream = `polcy = "round_robin"`
	p.write(bad)
	p.signal(syscall.SIGHUP)
	p.awaitLog(`reload failed: .*proxy.hcl:\d+:\d+: .*config 1 stays`)
	c.get(t, "/").want(t, http.StatusOK)
	p.get("/").want(t, http.StatusOK)

	for _, target := range [][]string{{"--state-dir", p.path("run")}, {"-c", p.path("proxy.hcl")}} {
		out, code := p.run(append([]string{"reload"}, target...)...)
		if code != 1 {
			t.Errorf("proxyd reload %v: got exit code %d; want 1", target, code)
		}
		for _, want := range []string{"proxy.hcl:", "polcy", "^^^^^", `Did you mean "policy"`} {
			if !strings.Contains(out, want) {
				t.Errorf("proxyd reload %v: got\n%s\nwant %s in it", target, out, want)
			}
		}
	}
	c.get(t, "/").want(t, http.StatusOK)

	p.write(site{servers: good.servers, upstream: `host = "good.example"`})
	if out, code := p.run("reload", "-c", p.path("proxy.hcl")); code != 0 || !strings.Contains(out, "config 2 active") {
		t.Errorf("proxyd reload: got exit code %d, %q; want 0, config 2 active", code, out)
	}
	if a := c.get(t, "/"); !strings.Contains(a.body, "host=good.example") {
		t.Errorf("after the reload: got %q; want the new host", a.body)
	}
	if after := p.pids(); !slices.Equal(before, after) {
		t.Errorf("workers: got %v; want %v as before", after, before)
	}
}

// A request in flight ends under the configuration that it began with.
func TestAReloadLetsRequestsInFlightEnd(t *testing.T) {
	p := newProxy(t)
	began, release := make(chan struct{}), make(chan struct{})
	slow := newOrigin(t, "slow", "", nil, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "first half,")
		_ = http.NewResponseController(w).Flush()
		close(began)
		<-release
		fmt.Fprint(w, " second half")
	})
	next := newOrigin(t, "next", "", nil, nil)
	p.write(site{servers: []string{slow.address}})
	p.start()
	c := connect(t, p.address)
	if err := c.send(request(http.MethodGet, "/", "")); err != nil {
		t.Fatal(err)
	}
	<-began
	p.write(site{servers: []string{next.address}})
	if out, code := p.run("reload", "-c", p.path("proxy.hcl")); code != 0 {
		t.Fatalf("reload: exit code %d: %s", code, out)
	}
	if a := p.get("/"); !strings.HasPrefix(a.body, "next ") {
		t.Errorf("a new request: got %q; want it from the new server", a.body)
	}
	close(release)
	a, err := c.receive(http.MethodGet)
	if err != nil || a.body != "first half, second half" {
		t.Fatalf("the request in flight: got %v, %v; want both halves", a, err)
	}
	if a := c.get(t, "/"); !strings.HasPrefix(a.body, "next ") {
		t.Errorf("the next on its connection: got %q; want it from the new server", a.body)
	}
}
