package worker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// under is how many requests the balancer believes to be under way at the servers
// of all upstreams that p has had. It runs on the loop.
func (p *proxy) under() (n int) {
	for _, u := range p.upstreams {
		for _, s := range u.pool.Servers() {
			n += s.Info().InFlight
		}
	}
	return n
}

// balanced is an upstream "up" of those servers with more of its block.
func balanced(more string, servers ...string) string {
	return strings.Replace(upstreamOf(servers...), "servers", more+"\n servers", 1)
}

// A gate is an origin that answers /slow when it is let, and others at once.
type gate struct {
	address string
	asked   chan string // URIs, as they come
	let     chan struct{}
	here    atomic.Int64 // requests at the server
	most    atomic.Int64 // at once
}

func startGate(t *testing.T) *gate {
	g := &gate{asked: make(chan string, 1000), let: make(chan struct{}, 1000)}
	g.address = startOrigin(t, reads(func(req *http.Request, _ string) string {
		n := g.here.Add(1)
		defer g.here.Add(-1)
		for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
			continue
		}
		g.asked <- req.RequestURI
		if strings.HasPrefix(req.URL.Path, "/slow") {
			<-g.let
		}
		return okResponse
	}))
	return g
}

// A caller is a connection with a request under way.
type caller struct {
	net.Conn
	r *bufio.Reader
}

// begin sends a request on a connection of its own.
func (p *proxy) begin(t *testing.T, uri string, lines ...string) *caller {
	t.Helper()
	c := p.dial(t)
	head := append([]string{"GET " + uri + " HTTP/1.1", "Host: a"}, lines...)
	if _, err := io.WriteString(c, strings.Join(head, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return &caller{c, bufio.NewReader(c)}
}

// wants reads the response, which must have that status.
func (c *caller) wants(t *testing.T, status int) *http.Response {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != status {
		t.Fatalf("got %d %q, %v; want %d", resp.StatusCode, body, err, status)
	}
	return resp
}

// queued waits until n requests are in line.
func (p *proxy) queued(t *testing.T, n int) {
	t.Helper()
	awaitLoop(t, p, fmt.Sprintf("%d in line", n), func() bool { return len(p.current.upstreams[0].waiting) == n })
}

// Requests for which no server has room wait, are served in order, and never
// burden the server with more than it may have.
func TestPending(t *testing.T) {
	g := startGate(t)
	p := startProxy(t, `upstream = "up"`, balanced("limits = { connections = 2, pending = 10 }", g.address))
	running := []*caller{p.begin(t, "/slow"), p.begin(t, "/slow")}
	<-g.asked
	<-g.asked
	var line []*caller
	for i := range 10 {
		line = append(line, p.begin(t, fmt.Sprintf("/slow/%d", i)))
		p.queued(t, i+1)
	}
	refused := p.begin(t, "/").wants(t, 503)
	if got := refused.Header.Get("Retry-After"); got != "1" {
		t.Errorf("refused with Retry-After %q; want 1", got)
	}
	for i := range line {
		g.let <- struct{}{}
		if got, want := <-g.asked, fmt.Sprintf("/slow/%d", i); got != want {
			t.Errorf("the server got %s; want %s, who waits for longest", got, want)
		}
	}
	g.let <- struct{}{}
	g.let <- struct{}{}
	for _, c := range append(running, line...) {
		c.wants(t, 200)
	}
	if got := g.most.Load(); got != 2 {
		t.Errorf("%d requests at once at the server; want 2", got)
	}
	if got := p.shared.Counters[shm.Pending].Load(); got != 10 {
		t.Errorf("%d waits counted; want 10", got)
	}
	if got := p.shared.Counters[shm.PendingRefused].Load(); got != 1 {
		t.Errorf("%d refusals counted; want 1", got)
	}
}

// Who waits for too long is refused; who goes away leaves the line at once.
func TestPendingEnds(t *testing.T) {
	g := startGate(t)
	p := startProxy(t, `upstream = "up"`, strings.Replace(balanced("limits = { connections = 1 }", g.address), "timeouts = {", "timeouts = { connect = \"200ms\",", 1))
	running := p.begin(t, "/slow")
	<-g.asked
	began := time.Now()
	p.begin(t, "/").wants(t, 503)
	if took := time.Since(began); took < 190*time.Millisecond || took > 5*time.Second {
		t.Errorf("refused after %v; want the time that a connect may take, 200ms", took)
	}
	gone := p.begin(t, "/gone")
	p.queued(t, 1)
	gone.Close()
	p.queued(t, 0)
	next := p.begin(t, "/next")
	p.queued(t, 1)
	g.let <- struct{}{}
	running.wants(t, 200)
	next.wants(t, 200)
	if got := <-g.asked; got != "/next" {
		t.Errorf("the server got %s; want /next only", got)
	}
}

// Requests of another worker count, and its room is found.
func TestPendingOverWorkers(t *testing.T) {
	g := startGate(t)
	rest := balanced("limits = { connections = 1 }", g.address)
	p := startProxy(t, `upstream = "up"`, rest)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other := startProxyIn(t, p.seg, 1, ln, `upstream = "up"`, rest)
	running := p.begin(t, "/slow")
	<-g.asked
	waiting := other.begin(t, "/")
	other.queued(t, 1)
	g.let <- struct{}{}
	running.wants(t, 200)
	waiting.wants(t, 200)
	if got := g.most.Load(); got != 1 {
		t.Errorf("%d requests at once at the server; want 1", got)
	}
}

// A request that waits is served by the upstream it waits at, also if a reload
// changes that meanwhile.
func TestPendingOutlivesReload(t *testing.T) {
	g := startGate(t)
	p := startProxy(t, `upstream = "up"`, balanced("limits = { connections = 1 }", g.address))
	running := p.begin(t, "/slow")
	<-g.asked
	waiting := p.begin(t, "/")
	p.queued(t, 1)
	p.configure(t, nil, `upstream = "up"`, balanced("limits = { connections = 1, pending = 7 }", g.address))
	g.let <- struct{}{}
	running.wants(t, 200)
	waiting.wants(t, 200)
}

// The same key goes to the same server; without a key any will do.
func TestHashKey(t *testing.T) {
	for _, policy := range []string{"maglev", "ketama"} {
		t.Run(policy, func(t *testing.T) {
			var servers []string
			for i := range 5 {
				servers = append(servers, startOrigin(t, reads(constant(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", i)))))
			}
			rest := balanced(fmt.Sprintf("policy = %q\n hash_key = request.header[\"user\"]", policy), servers...)
			p := startProxy(t, `upstream = "up"`, rest)
			answers := func(user string) map[string]bool {
				t.Helper()
				found := make(map[string]bool)
				for range 30 {
					_, body := p.exchangeOf(t, "GET / HTTP/1.1\r\nHost: a\r\n"+user+"\r\n")
					found[body] = true
				}
				return found
			}
			all := make(map[string]bool)
			for i := range 20 {
				found := answers(fmt.Sprintf("User: %d\r\n", i))
				if len(found) != 1 {
					t.Fatalf("user %d was served by %v; want one", i, found)
				}
				for s := range found {
					all[s] = true
				}
			}
			if len(all) < 3 {
				t.Errorf("20 users were served by %v; want most of the 5", all)
			}
			if found := answers(""); len(found) < 3 {
				t.Errorf("nobody was served by %v; want most of the 5", found)
			}
			before := answers("User: x\r\n")
			p.configure(t, nil, "upstream = \"up\"\nstrip_prefix = \"/x\"", rest)
			for s := range answers("User: x\r\n") {
				if !before[s] {
					t.Errorf("after a reload, user x was served by %s; want %v", s, before)
				}
			}
		})
	}
}

// A reload that changes how an upstream balances, or its servers, keeps the
// connections to those that stay. Other connections are closed, and so are those
// for which TLS has changed.
func TestReloadHandsConnectionsOn(t *testing.T) {
	opened, closed := make(chan string, 10), make(chan string, 10)
	start := func(name string) (address string) {
		return startOrigin(t, func(c net.Conn) {
			opened <- name
			answers(okResponse)(c)
			closed <- name
		})
	}
	stays, leaves := start("stays"), start("leaves")
	p := startProxy(t, `upstream = "up"`, upstreamOf(stays, leaves))
	c := p.dial(t)
	get(t, c)
	get(t, c)
	for _, rest := range []string{
		balanced("policy = \"p2c\"\n host = \"other\"", stays),
		balanced("policy = \"least_request\"\n slow_start = \"1s\"", stays),
		upstreamOf(stays) + "upstream \"other\" {\n servers = [\"" + stays + "\"]\n}\n",
	} {
		p.configure(t, nil, `upstream = "up"`, rest)
		get(t, c)
	}
	if got := len(opened); got != 2 {
		t.Errorf("%d connections opened; want one to each server", got)
	}
	p.configure(t, nil, `upstream = "up"`, balanced("tls {\n verify = false\n}", stays))
	for _, want := range []string{"leaves", "stays"} {
		select {
		case got := <-closed:
			if got != want {
				t.Errorf("the connection to the one that %s was closed; want that to the one that %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the connection to the one that %s is still open", want)
		}
	}
}

// A server that fails too often is out of use for a while.
func TestEject(t *testing.T) {
	var failing atomic.Bool
	var hits atomic.Int64
	failing.Store(true)
	bad := startOrigin(t, reads(func(*http.Request, string) string {
		hits.Add(1)
		if failing.Load() {
			return unavailable
		}
		return okResponse
	}))
	p := startProxy(t, `upstream = "up"`, balanced(`eject = { errors = 3, for = "300ms", max_percent = 50 }`, bad, startOrigin(t, answers(okResponse))))
	failed := 0
	for range 40 {
		if resp, _ := p.exchangeOf(t, getRequest); resp.StatusCode == 503 {
			failed++
		}
	}
	if failed != 3 {
		t.Errorf("%d requests failed; want 3, and then no more to that server", failed)
	}
	if got := p.shared.Counters[shm.Ejections].Load(); got != 1 {
		t.Errorf("%d ejections counted; want 1", got)
	}
	if want := "server ejected"; !strings.Contains(p.log.String(), want) {
		t.Errorf("log %q; want %q in it", p.log, want)
	}
	failing.Store(false)
	for before, deadline := hits.Load(), time.Now().Add(10*time.Second); hits.Load() == before; {
		if resp, _ := p.exchangeOf(t, getRequest); resp.StatusCode != 200 {
			t.Fatalf("got %d; want 200", resp.StatusCode)
		}
		if time.Now().After(deadline) {
			t.Fatal("the server was not asked again")
		}
	}
}

// By ewma a server that never answers, or only with errors, is hardly asked.
func TestEWMALearnsOfFailures(t *testing.T) {
	stuck := startGate(t)
	for name, bad := range map[string]string{"stuck": stuck.address, "failing": startOrigin(t, answers(unavailable))} {
		upstream := balanced(`policy = "ewma"`, bad, startOrigin(t, answers(okResponse)))
		p := startProxy(t, `
  timeouts = { first_byte = "50ms" }
  retry = { attempts = 2, on = ["timeout", "503"], budget = "100%" }
  upstream = "up"`, upstream)
		const requests = 40
		for range requests {
			if resp, _ := p.exchangeOf(t, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"); resp.StatusCode != 200 {
				t.Errorf("%s: got %d; want 200 of the other server", name, resp.StatusCode)
			}
		}
		if got := p.shared.Counters[shm.Retries].Load(); got > requests/4 {
			t.Errorf("%s: got %d of %d requests at the server that fails; want a few", name, got, requests)
		}
	}
}

// Clients that go away say nothing about the server.
func TestClientsAreNotHeldAgainstServers(t *testing.T) {
	g := startGate(t)
	p := startProxy(t, `upstream = "up"`, balanced(`eject = { errors = 1, for = "1h", max_percent = 100 }`, g.address))
	for range 5 {
		c := p.begin(t, "/slow")
		<-g.asked
		c.Close()
		g.let <- struct{}{}
	}
	awaitLoop(t, p, "all to be gone", func() bool { return p.clients == 0 && p.under() == 0 })
	if got := p.shared.Counters[shm.Ejections].Load(); got != 0 {
		t.Errorf("%d ejections because of clients that went away; want 0", got)
	}
}

// Servers come and go by a file that is watched, and connections to those that
// stay are kept.
func TestDiscovered(t *testing.T) {
	opened := make(chan net.Conn, 10)
	stays := startOrigin(t, func(c net.Conn) {
		opened <- c
		reads(constant("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstays"))(c)
	})
	comes := startOrigin(t, reads(constant("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ncomes")))
	file := filepath.Join(t.TempDir(), "up.servers")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(stays + "\n")
	p := startProxy(t, `upstream = "up"`, fmt.Sprintf("upstream \"up\" {\n discover \"file\" { path = %q }\n}\n", file))
	serves := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; {
			resp, body := p.exchangeOf(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if resp.StatusCode == 200 && body == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %d %q; want an answer of the server that %s", resp.StatusCode, body, want)
			}
			time.Sleep(time.Millisecond)
		}
	}
	serves("stays")
	write(stays + "\n" + comes + " weight=2\n")
	serves("comes")
	serves("stays")
	if got := len(opened); got != 1 {
		t.Errorf("%d connections to the server that stays; want 1", got)
	}
	write(comes + "\n")
	awaitLoop(t, p, "one server", func() bool { return len(p.current.upstreams[0].conns) == 1 })
	serves("comes")
	p.onLoop(func() {
		for s, pool := range p.current.upstreams[0].conns {
			if s.Address != comes || pool.retired {
				t.Errorf("connections are kept for %s, retired %v; want %s", s.Address, pool.retired, comes)
			}
		}
	})
}
