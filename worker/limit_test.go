package worker

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
)

// askWith sends a request with these field lines and returns the response.
func (p *proxy) askWith(t *testing.T, lines string) *http.Response {
	t.Helper()
	resp, _ := p.exchangeOf(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+lines+"\r\n")
	return resp
}

const perIP = "rate_limit \"ip\" {\n key = client.ip\n rate = \"5/h\"\n}\n"

// Of several limits the strictest answers, and none counts what another refuses.
func TestSeveralLimits(t *testing.T) {
	p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"app\", \"ip\"]", upstreamOf(startOrigin(t, answers(okResponse)))+
		"rate_limit \"app\" {\n key = request.header[\"appid\"]\n rate = \"2/h\"\n}\n"+perIP)
	for i, c := range []struct {
		app    string
		status int
		limit  string
	}{
		{"one", 200, ""},
		{"one", 200, ""},
		{"one", 429, "2"}, // which per_ip does not count
		{"one", 429, "2"},
		{"two", 200, ""},
		{"two", 200, ""},
		{"three", 200, ""},
		{"three", 429, "5"}, // which app does not count
		{"four", 429, "5"},
	} {
		resp := p.askWith(t, "appid: "+c.app+"\r\n")
		if got := resp.Header.Get("X-Rate-Limit-Limit"); resp.StatusCode != c.status || got != c.limit {
			t.Errorf("request %d, of %s: got %d, limit %q; want %d, %q", i, c.app, resp.StatusCode, got, c.status, c.limit)
		}
	}
	if got := p.shared.Counters[shm.Limited].Load(); got != 4 {
		t.Errorf("%d refusals counted; want 4", got)
	}
}

// A dry run counts and tells, and refuses nothing.
func TestDryRun(t *testing.T) {
	p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"app\", \"busy\"]", upstreamOf(startOrigin(t, answers(okResponse)))+
		"rate_limit \"app\" {\n key = request.header[\"appid\"]\n rate = \"2/h\"\n dry_run = true\n headers = \"both\"\n}\n"+
		"concurrency_limit \"busy\" {\n key = client.ip\n max = 1\n dry_run = true\n}\n")
	for range 10 {
		resp := p.askWith(t, "appid: one\r\n")
		if resp.StatusCode != 200 || resp.Header.Get("RateLimit") != "" {
			t.Fatalf("got %d %v; want 200, without a word of the limit", resp.StatusCode, resp.Header)
		}
	}
	if got := p.shared.Counters[shm.DryRunLimited].Load(); got != 8 {
		t.Errorf("%d counted; want 8", got)
	}
	if got := p.shared.Counters[shm.Limited].Load(); got != 0 {
		t.Errorf("%d refusals counted; want 0", got)
	}
	if got := strings.Count(p.log.String(), "dry_run"); got < 1 || got > 2 {
		t.Errorf("%d lines in the log; want one a second: %s", got, p.log)
	}
}

// Limits with headers = "ietf" tell all clients where they stand, whoever answers.
func TestLimitHeaders(t *testing.T) {
	for _, c := range []struct{ style, admitted, refused string }{
		{"x-rate-limit", "", "X-Rate-Limit-Limit X-Rate-Limit-Remaining X-Rate-Limit-Reset Retry-After"},
		{"ietf", "Ratelimit Ratelimit-Policy", "Ratelimit Ratelimit-Policy Retry-After"},
		{"both", "Ratelimit Ratelimit-Policy", "Ratelimit Ratelimit-Policy X-Rate-Limit-Limit X-Rate-Limit-Remaining X-Rate-Limit-Reset Retry-After"},
		{"none", "", ""},
	} {
		t.Run(c.style, func(t *testing.T) {
			for _, action := range []string{`upstream = "up"`, `redirect = "/there"`, "respond = { status = 200, body = \"x\" }"} {
				p := startProxy(t, action+"\nrate_limit = [\"app\"]\nresponse_headers {\n set = { \"x-mine\" = \"1\" }\n}", upstreamOf(startOrigin(t, answers(okResponse)))+
					fmt.Sprintf("rate_limit \"app\" {\n key = client.ip\n rate = \"1/h\"\n headers = %q\n}\n", c.style))
				for i, want := range []string{c.admitted, c.refused} {
					resp := p.askWith(t, "")
					var got []string
					for _, name := range []string{"Ratelimit", "Ratelimit-Policy", "X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset", "Retry-After"} {
						if len(resp.Header[name]) == 1 {
							got = append(got, name)
						}
					}
					if got := strings.Join(got, " "); got != want {
						t.Errorf("%s, response %d, %d: got %q; want %q", action, i, resp.StatusCode, got, want)
					}
					if i == 0 && resp.Header.Get("X-Mine") != "1" {
						t.Errorf("%s: the route's own field is missing: %v", action, resp.Header)
					}
				}
			}
		})
	}
}

// A concurrency limit counts requests from their head to the end of the response,
// for all routes that name it, and rates do not count what it refuses.
func TestConcurrencyLimit(t *testing.T) {
	g := startGate(t)
	p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"busy\", \"ip\"]", upstreamOf(g.address)+perIP+
		"concurrency_limit \"busy\" {\n key = request.header[\"appid\"]\n max = 2\n}\n")
	var running []*caller
	for range 2 {
		running = append(running, p.begin(t, "/slow", "appid: one"))
		<-g.asked
	}
	for range 10 {
		resp := p.askWith(t, "appid: one\r\n")
		if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "1" {
			t.Fatalf("got %d %v; want 429 with Retry-After: 1", resp.StatusCode, resp.Header)
		}
	}
	if resp := p.askWith(t, "appid: two\r\n"); resp.StatusCode != 200 {
		t.Errorf("another key got %d; want 200", resp.StatusCode)
	}
	g.let <- struct{}{}
	g.let <- struct{}{}
	for _, c := range running {
		c.wants(t, 200)
	}
	for range 2 { // the rate has counted three requests so far
		if resp := p.askWith(t, "appid: one\r\n"); resp.StatusCode != 200 {
			t.Errorf("after the end of the others: got %d; want 200", resp.StatusCode)
		}
	}
	if resp := p.askWith(t, "appid: one\r\n"); resp.StatusCode != 429 || resp.Header.Get("X-Rate-Limit-Limit") != "5" {
		t.Errorf("the sixth that was counted: got %d %v; want 429 of the rate limit", resp.StatusCode, resp.Header)
	}
	if got := p.shared.Counters[shm.ConcurrencyLimited].Load(); got != 10 {
		t.Errorf("%d refusals counted; want 10", got)
	}
	if c := p.current.concurrency[0]; c.InUse([]byte("one")) != 0 {
		t.Errorf("%d places are still taken; want 0", c.InUse([]byte("one")))
	}
}

// A panic in an exchange takes nothing with it that others wait for.
func TestPanicGivesBack(t *testing.T) {
	p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"busy\"]", balanced("limits = { connections = 1 }", startOrigin(t, answers(okResponse)))+
		"concurrency_limit \"busy\" {\n key = client.ip\n max = 1\n}\n")
	u := p.current.upstreams[0]
	sound := u.conns
	p.onLoop(func() { u.conns = nil })
	for range 3 {
		if resp := p.askWith(t, ""); resp.StatusCode != 500 {
			t.Errorf("got %d; want 500 of the bug made here", resp.StatusCode)
		}
	}
	p.onLoop(func() { u.conns = sound })
	if resp := p.askWith(t, ""); resp.StatusCode != 200 {
		t.Errorf("afterwards got %d; want 200", resp.StatusCode)
	}
	if got := p.shared.Counters[shm.Requests].Load(); got != 4 {
		t.Errorf("%d requests; want 4", got)
	}
}

// A tunnel holds its place to its end.
func TestConcurrencyLimitOfTunnels(t *testing.T) {
	p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"busy\"]", upstreamOf(startOrigin(t, switches(t, "", func(r *bufio.Reader, _ net.Conn) { _, _ = r.ReadByte() })))+
		"concurrency_limit \"busy\" {\n key = client.ip\n max = 1\n}\n")
	_, c := p.open(t, "")
	if resp := p.askWith(t, ""); resp.StatusCode != 429 {
		t.Errorf("beside a tunnel: got %d; want 429", resp.StatusCode)
	}
	c.Close()
	awaitLoop(t, p, "the tunnel to end", func() bool { return p.clients == 0 })
	if got := p.current.concurrency[0].InUse([]byte("127.0.0.1")); got != 0 {
		t.Errorf("%d places are still taken; want 0", got)
	}
}
