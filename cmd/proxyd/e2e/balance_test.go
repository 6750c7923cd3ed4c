package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counter is the sum of a counter over all workers.
func (p *proxy) counter(name string) (sum uint64) {
	p.t.Helper()
	var s struct {
		Workers []struct{ Counters map[string]uint64 }
	}
	out := p.operate("status", "--format", "json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		p.t.Fatalf("proxyd status: %v: %s", err, out)
	}
	for _, w := range s.Workers {
		sum += w.Counters[name]
	}
	return sum
}

// server is the name of the origin that answers a request on a new connection.
func (p *proxy) server(fields ...string) string {
	p.t.Helper()
	a := p.get("/", fields...)
	if a.status != http.StatusOK {
		return fmt.Sprint(a.status)
	}
	name, _, _ := strings.Cut(a.body, " ")
	return name
}

// tally counts the answers of each origin to n requests on new connections.
func (p *proxy) tally(n int, fields ...string) map[string]int {
	p.t.Helper()
	got := make(map[string]int)
	for range n {
		got[p.server(fields...)]++
	}
	return got
}

// replaceFile writes a file in one step.
func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// newOrigins starts n origins, called o0, o1 and so on.
func newOrigins(t *testing.T, n int) (all []*origin, addresses []string) {
	t.Helper()
	for i := range n {
		o := newOrigin(t, fmt.Sprintf("o%d", i), "", nil, nil)
		all, addresses = append(all, o), append(addresses, o.address)
	}
	return all, addresses
}

// TestPolicies asks through each policy, over both workers, and changes the policy
// by reloads on the way, which lose no connection to a server.
func TestPolicies(t *testing.T) {
	p := newProxy(t)
	origins, servers := newOrigins(t, 3)
	for i, policy := range []string{"round_robin", "random", "least_request", "p2c", "ewma", "maglev", "ketama"} {
		upstream := fmt.Sprintf("policy = %q", policy)
		keyed := policy == "maglev" || policy == "ketama"
		if keyed {
			upstream += "\n  hash_key = request.header[\"user\"]"
		}
		p.write(site{servers: servers, upstream: upstream})
		if i == 0 {
			p.start()
		} else {
			p.operate("reload")
		}
		if got := p.tally(90); len(got) != 3 {
			t.Errorf("%s: 90 requests were answered by %v; want all three servers", policy, got)
		}
		if !keyed {
			continue
		}
		all := make(map[string]bool)
		for user := range 12 {
			got := p.tally(6, fmt.Sprintf("user: %d", user))
			for name := range got {
				all[name] = true
			}
			if len(got) != 1 {
				t.Errorf("%s: user %d was served by %v; want one", policy, user, got)
			}
		}
		if len(all) != 3 {
			t.Errorf("%s: 12 users were served by %v; want all three servers", policy, all)
		}
	}
	for _, o := range origins {
		if got := o.connections.Load(); got > 2*3 { // the most at once, in each worker, and some luck
			t.Errorf("%s: %d connections; want those that it had, kept through reloads", o.name, got)
		}
	}
}

// TestBackups has a backup in use exactly while no primary is.
func TestBackups(t *testing.T) {
	p := newProxy(t)
	primary, backup := newOrigin(t, "primary", "", nil, nil), newOrigin(t, "backup", "", nil, nil)
	p.write(site{servers: []string{primary.address}, upstream: fmt.Sprintf(
		"server %q {\n backup = true\n }\n health \"tcp\" { interval = \"100ms\" }", backup.address)})
	p.start()
	await(t, "the primary to serve", func() bool { return p.server() == "primary" })
	if got := p.tally(20); got["primary"] != 20 {
		t.Errorf("with a primary: got %v; want it alone", got)
	}
	primary.kill(true)
	await(t, "the backup to serve", func() bool { return p.server() == "backup" })
	if got := p.tally(20); got["backup"] != 20 {
		t.Errorf("without a primary: got %v; want the backup alone", got)
	}
	is := func(state string) func() bool {
		return func() bool { return p.servers()[primary.address].State == state }
	}
	await(t, "the primary to be down", is("down"))
	primary.start()
	await(t, "the primary to be up", is("up"))
	await(t, "the primary to serve again", func() bool { return p.server() == "primary" })
	if got := p.tally(20); got["primary"] != 20 {
		t.Errorf("with the primary back: got %v; want it alone", got)
	}
}

// TestHealthByHTTP takes a server out that answers its probes with what is not
// expected, though it answers requests.
func TestHealthByHTTP(t *testing.T) {
	p := newProxy(t)
	var well atomic.Bool
	well.Store(true)
	ill := newOrigin(t, "ill", "", nil, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && !well.Load() {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		fmt.Fprint(w, "ill here")
	})
	other := newOrigin(t, "other", "", nil, nil)
	p.write(site{servers: []string{ill.address, other.address}, upstream: "health \"http\" {\n" +
		" path = \"/healthz\"\n interval = \"100ms\"\n rise = 1\n fall = 1\n expect = response.status == 200\n initial = \"up\"\n }"})
	p.start()
	if got := p.server(); got != "ill" && got != "other" { // before any probe can have ended
		t.Errorf("with initial = \"up\", the first request got %s; want an answer", got)
	}
	well.Store(false)
	await(t, "the ill one to be down", func() bool { return p.servers()[ill.address].State == "down" })
	if got := p.tally(20); got["other"] != 20 {
		t.Errorf("got %v; want the other server alone", got)
	}
	p.awaitLog("is down: .*418")
	well.Store(true)
	await(t, "the ill one to be back", func() bool { return p.server() == "ill" })
}

// TestEjection takes a server that answers with errors out of use for a while, in
// all workers, and no more of them than allowed.
func TestEjection(t *testing.T) {
	p := newProxy(t)
	p.workers = 4
	var failing atomic.Bool
	failing.Store(true)
	fail := func(name string) *origin {
		return newOrigin(t, name, "", nil, func(w http.ResponseWriter, r *http.Request) {
			if failing.Load() {
				http.Error(w, "no", http.StatusInternalServerError)
				return
			}
			fmt.Fprintf(w, "%s here", name)
		})
	}
	bad, worse, good := fail("bad"), fail("worse"), newOrigin(t, "good", "", nil, nil)
	p.write(site{servers: []string{bad.address, worse.address, good.address}, upstream: `eject = { errors = 5, for = "500ms", max_percent = 34 }`})
	p.start()
	got := p.tally(200)
	if bad, worse := bad.requests.Load(), worse.requests.Load(); min(bad, worse) > 20 || max(bad, worse) < 60 {
		t.Errorf("the two that fail got %d and %d of 200 requests; want one of them out of use, and no more than one", bad, worse)
	}
	if p.counter("proxyd_upstream_ejections_total") == 0 || p.logged("server ejected") == 0 {
		t.Errorf("no ejection was counted, or none logged; answers %v", got)
	}
	failing.Store(false)
	await(t, "both to serve again", func() bool {
		got := p.tally(12)
		return got["bad"] > 0 && got["worse"] > 0
	})
}

// TestPending bounds what a server has to do at once, over all workers: what is
// more waits, and what is more than may wait is refused at once.
func TestPending(t *testing.T) {
	p := newProxy(t)
	var here, most atomic.Int64
	o := newOrigin(t, "slow", "", nil, func(w http.ResponseWriter, r *http.Request) {
		n := here.Add(1)
		defer here.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			continue
		}
		pause := time.NewTimer(10 * time.Millisecond)
		defer pause.Stop()
		<-pause.C
		fmt.Fprint(w, "slow here")
	})
	p.write(site{servers: []string{o.address}, upstream: "limits = { connections = 3, pending = 100 }"})
	p.start()
	var all sync.WaitGroup
	var failed atomic.Int64
	for range 60 {
		all.Go(func() {
			c, err := dial(p.address)
			if err != nil {
				failed.Add(1)
				return
			}
			defer c.Close()
			for range 3 {
				if a, err := c.ask(http.MethodGet, "/", ""); err != nil || a.ok() != nil {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if failed.Load() > 0 || most.Load() > 3 || p.counter("proxyd_upstream_pending_total") == 0 {
		t.Errorf("%d of 180 requests failed, the server had up to %d at once, %d waited; want none, 3, some",
			failed.Load(), most.Load(), p.counter("proxyd_upstream_pending_total"))
	}
}

// TestAFullQueue refuses at once, and says when to come again.
func TestAFullQueue(t *testing.T) {
	p := newProxy(t)
	p.workers = 1
	o := newPausingOrigin(t, "slow")
	p.write(site{servers: []string{o.address}, upstream: "limits = { connections = 1, pending = 1 }"})
	p.start()
	first, second := connect(t, p.address), connect(t, p.address)
	for _, c := range []*client{first, second} {
		if err := c.send(request(http.MethodGet, "/pause", "")); err != nil {
			t.Fatal(err)
		}
		if c == first {
			await(t, "the first at the server", func() bool { return o.paused.Load() == 1 })
		}
	}
	await(t, "the second in line", func() bool { return p.counter("proxyd_upstream_pending_total") == 1 })
	began := time.Now()
	a := p.get("/")
	if took := time.Since(began); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "1" || took > 2*time.Second {
		t.Errorf("got %d, Retry-After %q, after %v; want 503, 1, at once", a.status, a.header.Get("Retry-After"), took)
	}
	close(o.release)
	for _, c := range []*client{first, second} {
		a, err := c.receive(http.MethodGet)
		if err != nil {
			t.Fatal(err)
		}
		a.want(t, http.StatusOK)
	}
}

// TestServersFromAFile has servers come and go by a file that is watched, through
// a reload and the death of a worker, and a mistake in it changes nothing.
func TestServersFromAFile(t *testing.T) {
	p := newProxy(t)
	origins, servers := newOrigins(t, 3)
	file := p.path("one.servers")
	replaceFile(t, file, "# ours\n"+servers[1]+" weight=2\n")
	p.write(site{servers: servers[:1], upstream: fmt.Sprintf("discover \"file\" { path = %q }", file)})
	p.start()
	serve := func(names ...string) {
		t.Helper()
		await(t, fmt.Sprintf("%v to serve", names), func() bool {
			got := p.tally(24)
			for _, name := range names {
				if got[name] == 0 {
					return false
				}
			}
			return len(got) == len(names)
		})
	}
	serve("o0", "o1")
	replaceFile(t, file, servers[1]+"\n"+servers[2]+"\n")
	serve("o0", "o1", "o2")
	replaceFile(t, file, servers[2]+"\nno address\n")
	p.awaitLog("one.servers: line 2")
	serve("o0", "o1", "o2")
	if got := p.counter("proxyd_discover_errors_total"); got == 0 {
		t.Error("the mistake was not counted")
	}
	replaceFile(t, file, servers[2]+"\n")
	serve("o0", "o2")
	for _, pid := range p.pids() {
		kill(t, pid)
	}
	serve("o0", "o2")
	p.write(site{servers: servers[:1], upstream: fmt.Sprintf("policy = \"p2c\"\n discover \"file\" { path = %q }", file)})
	p.operate("reload")
	serve("o0", "o2")
	origins[2].kill(true)
	serve("o0") // connects that fail have it passed over
}

// TestReuse measures which share of the requests of 64 clients goes over
// connections that had served before. Workers do not share theirs: this test says
// that they need not.
func TestReuse(t *testing.T) {
	long(t)
	server := serveText(t)
	for _, kept := range []bool{true, false} {
		var ratios []float64
		for _, workers := range []int{1, 2, 4} {
			t.Run(fmt.Sprintf("kept=%v workers=%d", kept, workers), func(t *testing.T) {
				p := newProxy(t)
				p.workers = workers
				p.write(site{servers: []string{server}})
				p.start()
				l := newLoad(t, p.address)
				l.method, l.body = http.MethodGet, ""
				if kept {
					l.keep(64, 0)
				} else {
					l.keep(64, 0, "Connection: close")
				}
				l.awaitMore(t, 40_000)
				l.end(t)
				connects, reuses := p.counter("proxyd_upstream_connects_total"), p.counter("proxyd_upstream_reuses_total")
				ratios = append(ratios, float64(reuses)/float64(connects+reuses))
				t.Logf("%d connections, reuse %.2f %%", connects, 100*ratios[len(ratios)-1])
			})
		}
		for _, r := range ratios {
			if r < ratios[0]-0.01 {
				t.Errorf("kept=%v: reuse ratios with 1, 2 and 4 workers: %.4f; want them within 1 %% of the first", kept, ratios)
			}
		}
	}
}
