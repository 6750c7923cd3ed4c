package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const oneHost = "one.one.one.one"

// A tutorial is the scenario of the shipped proxy.hcl: a proxy before two TLS
// origins and a third server that is dead.
type tutorial struct {
	*proxy
	origins [2]*origin
	dead    string
}

// newTutorial makes the scenario. The file is the shipped one but for addresses,
// the authority and the state directory.
func newTutorial(t *testing.T) *tutorial {
	t.Helper()
	u := &tutorial{proxy: newProxy(t), dead: refused(t)}
	ca := newAuthority(t)
	ca.write(u.path("ca.pem"))
	for i := range u.origins {
		u.origins[i] = newOrigin(t, fmt.Sprintf("origin%d", i), "", ca.server(oneHost), nil)
	}
	shipped, err := os.ReadFile("../../../proxy.hcl")
	if err != nil {
		t.Fatal(err)
	}
	text := string(shipped)
	for _, r := range [][2]string{
		{`"0.0.0.0:6188"`, quoted([]string{u.address})},
		{`"1.1.1.1:443", "1.0.0.1:443"`, quoted([]string{u.origins[0].address, u.origins[1].address, u.dead})},
		{`tls { sni = "one.one.one.one" }`, "tls {\n sni = \"one.one.one.one\"\n ca = \"ca.pem\"\n }"},
	} {
		if strings.Count(text, r[0]) != 1 {
			t.Fatalf("proxy.hcl: want %s in it once", r[0])
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	u.writeText(text)
	return u
}

// awaitDown waits until the health check has found address down, times times.
func (u *tutorial) awaitDown(address string, times int) {
	u.t.Helper()
	u.awaitLogs(`upstream one: server `+address+` is down`, times)
}

func TestRequestsAlternateBetweenTheLiveServers(t *testing.T) {
	u := newTutorial(t)
	u.start()
	u.awaitDown(u.dead, 1)
	for _, o := range u.origins {
		u.awaitLog(`upstream one: server ` + o.address + ` is up`)
	}
	c := connect(t, u.address)
	last := ""
	seen := make(map[string]int)
	for i := range 100 {
		a := c.get(t, fmt.Sprintf("/%d", i))
		a.want(t, http.StatusOK)
		name, _, _ := strings.Cut(a.body, " ")
		if name == last {
			t.Fatalf("request %d: got %s twice in a row; want strict alternation", i, name)
		}
		last = name
		seen[name]++
	}
	if seen["origin0"] != 50 || seen["origin1"] != 50 {
		t.Errorf("got %v; want 50 each", seen)
	}
}

func TestHostAndSNIAreTheUpstreams(t *testing.T) {
	u := newTutorial(t)
	u.start()
	for range 4 {
		a := u.get("/cdn-cgi/trace?x=1")
		a.want(t, http.StatusOK)
		want := " GET /cdn-cgi/trace?x=1 host=one.one.one.one sni=one.one.one.one for=127.0.0.1 "
		if !strings.Contains(a.body, want) {
			t.Errorf("the origin got %q; want %q", a.body, want)
		}
	}
}

func TestACertificateForAnotherNameIsABadGateway(t *testing.T) {
	p := newProxy(t)
	ca := newAuthority(t)
	ca.write(p.path("ca.pem"))
	other := newOrigin(t, "other", "", ca.server("two.two.two.two"), nil)
	stranger := newOrigin(t, "stranger", "", newAuthority(t).server(oneHost), nil)
	for _, test := range []struct{ address, reason string }{
		{other.address, `certificate is valid for two.two.two.two, not one.one.one.one`},
		{stranger.address, `certificate signed by unknown authority`},
	} {
		p.write(site{
			servers:  []string{test.address},
			upstream: "host = \"one.one.one.one\"\n tls { ca = \"ca.pem\" }\n health \"tcp\" {}",
		})
		if p.cmd == nil {
			p.start()
		} else if out, code := p.run("reload", "-c", p.path("proxy.hcl")); code != 0 {
			t.Fatalf("reload: %s", out)
		}
		p.get("/").want(t, http.StatusBadGateway)
		p.awaitLog(test.reason)
	}
	if n := other.requests.Load() + stranger.requests.Load(); n != 0 {
		t.Errorf("got %d requests at origins that are not who they should be; want 0", n)
	}
}

func TestADeadServerCostsNoRequest(t *testing.T) {
	requests := 10_000
	if testing.Short() {
		requests = 2000
	}
	u := newTutorial(t)
	u.start() // and do not wait until the dead server is known to be dead
	l := newLoad(t, u.address)
	began := time.Now()
	l.keep(8, 0)
	await(t, "the requests", func() bool {
		answered, failed := l.counts()
		return answered+failed >= requests
	})
	took := time.Since(began)
	l.end(t)
	answered, _ := l.counts()
	t.Logf("%d requests in %v; the origins got %d and %d", answered, took.Round(time.Millisecond),
		u.origins[0].requests.Load(), u.origins[1].requests.Load())
	if n := u.logged(`cannot connect`); n > 20 {
		t.Errorf("got %d connects to the dead server; want few", n)
	}
}

// A server that dies takes with it no more than the requests it had accepted,
// and has requests again soon after it is back. It dies as a killed process
// does, with FIN, or as a machine does that comes up again, with RST.
func TestAServerThatDiesUnderLoad(t *testing.T) {
	long(t)
	u := newTutorial(t)
	u.start()
	u.awaitDown(u.dead, 1)
	victim := u.origins[0]
	l := newLoad(t, u.address)
	l.method, l.body = http.MethodGet, ""
	const clients = 16
	l.keep(clients, 0)
	l.awaitMore(t, 500)
	failed := 0
	for round := range 6 {
		reset := round%2 == 0
		unanswered := victim.kill(reset)
		l.awaitMore(t, 20*clients) // none of them was under way when it died
		u.awaitDown(victim.address, round+1)
		_, now := l.counts()
		if now-failed > unanswered {
			t.Errorf("round %d, reset %v: got %d failed requests, %d of which the server had accepted, such as %q",
				round, reset, now-failed, unanswered, l.why())
		}
		served := victim.requests.Load()
		victim.start()
		began := time.Now()
		await(t, "requests at the server that is back", func() bool { return victim.requests.Load() > served })
		back := time.Since(began)
		if back > 2*time.Second {
			t.Errorf("round %d: got requests after %v; want 2s at most", round, back)
		}
		t.Logf("reset %-5v: %d accepted and not answered, %d failed; requests again after %v",
			reset, unanswered, now-failed, back.Round(time.Millisecond))
		failed = now
		l.awaitMore(t, 200)
	}
	l.stop()
	answered, all := l.counts()
	t.Logf("%d requests answered, %d failed", answered, all)
}

func TestNoServerLeft(t *testing.T) {
	u := newTutorial(t)
	u.start()
	u.get("/").want(t, http.StatusOK)
	for _, o := range u.origins {
		o.kill(true)
	}
	// A request hurries the probes: it finds out what they would.
	if a := u.get("/"); a.status != http.StatusBadGateway && a.status != http.StatusServiceUnavailable {
		t.Errorf("before the probes: got %d; want 502 or 503", a.status)
	}
	for _, o := range u.origins {
		u.awaitDown(o.address, 1)
	}
	for range 10 {
		began := time.Now()
		a := u.get("/")
		took := time.Since(began)
		a.want(t, http.StatusServiceUnavailable)
		if after := a.header.Get("Retry-After"); after != "1" && after != "2" {
			t.Errorf("Retry-After: got %q; want the time to the next probe", after)
		}
		if took > time.Second {
			t.Errorf("got the answer after %v; want it at once", took)
		}
	}
	u.origins[1].start()
	began := time.Now()
	await(t, "service again", func() bool { return u.get("/").status == http.StatusOK })
	if back := time.Since(began); back > 2*time.Second {
		t.Errorf("got service again after %v; want 2s at most", back)
	}
}
