package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// newLimited starts a proxy with those limits on its one route, all workers
// together.
func newLimited(t *testing.T, server string, limits string, names ...string) *proxy {
	t.Helper()
	p := newProxy(t)
	p.workers = 4
	p.write(site{servers: []string{server}, route: fmt.Sprintf("rate_limit = [%s]", quoted(names)), rest: limits})
	p.start()
	return p
}

// statuses makes n requests on new connections and counts their answers.
func (p *proxy) statuses(n int, fields ...string) map[int]int {
	p.t.Helper()
	got := make(map[int]int)
	for range n {
		got[p.get("/", fields...).status]++
	}
	return got
}

// TestSeveralLimits has the strictest limit answer, and none counts what another
// has refused.
func TestSeveralLimits(t *testing.T) {
	p := newLimited(t, serveText(t), `
rate_limit "per_app" {
  key  = request.header["appid"]
  rate = "3/h"
}
rate_limit "all" {
  key  = listener.name
  rate = "10/h"
}`, "per_app", "all")
	for _, app := range []string{"a", "b", "c"} {
		if got := p.statuses(20, "appid: "+app); got[200] != 3 || got[429] != 17 {
			t.Errorf("app %s: got %v; want 3 admitted and 17 refused", app, got)
		}
	}
	a := p.get("/", "appid: d") // the tenth
	a.want(t, http.StatusOK)
	a = p.get("/", "appid: d")
	a.want(t, http.StatusTooManyRequests)
	if got := a.header.Get("X-Rate-Limit-Limit"); got != "10" {
		t.Errorf("refused by a limit of %s; want that of 10 for all", got)
	}
	if got := p.counter("proxyd_requests_limited_total"); got != 52 {
		t.Errorf("%d refusals counted; want 52", got)
	}
}

// TestADryRun refuses nothing, and tells what it would; a reload puts it in force
// with all that it has counted.
func TestADryRun(t *testing.T) {
	server := serveText(t)
	limit := func(dry bool) string {
		return fmt.Sprintf("rate_limit \"per_app\" {\n key = request.header[\"appid\"]\n rate = \"5/h\"\n dry_run = %v\n}", dry)
	}
	p := newLimited(t, server, limit(true), "per_app")
	if got := p.statuses(30, "appid: a"); got[200] != 30 {
		t.Errorf("in a dry run: got %v; want 30 times 200", got)
	}
	if got := p.counter("proxyd_requests_dry_run_limited_total"); got != 25 {
		t.Errorf("%d would have been refused; want 25", got)
	}
	if lines := p.logged(`dry_run.*limit=per_app key=a`); lines == 0 || lines > 4*5 {
		t.Errorf("%d lines in the log; want some, of each worker one a second", lines)
	}
	p.write(site{servers: []string{server}, route: `rate_limit = ["per_app"]`, rest: limit(false)})
	p.operate("reload")
	if got := p.statuses(5, "appid: a"); got[429] != 5 {
		t.Errorf("in force: got %v; want 5 times 429", got)
	}
}

// TestGCRA admits a burst, and then one request at a time, as they become due.
func TestGCRA(t *testing.T) {
	p := newLimited(t, serveText(t), `
rate_limit "even" {
  key       = request.header["appid"]
  rate      = "10/s"
  algorithm = "gcra"
  burst     = 20
}`, "even")
	began := time.Now()
	admitted := 0
	for time.Since(began) < time.Second {
		admitted += p.statuses(1, "appid: a")[200]
	}
	took := time.Since(began)
	most := 20 + int(took/(100*time.Millisecond)) + 1
	if admitted > most || admitted < most-3 {
		t.Errorf("%d admitted in %v; want the burst of 20 and ten a second: %d", admitted, took, most)
	}
}

// TestOverrides gives single keys another rate.
func TestOverrides(t *testing.T) {
	p := newLimited(t, serveText(t), `
rate_limit "per_app" {
  key       = request.header["appid"]
  rate      = "2/h"
  overrides = { "acme" = "7/h" }
}`, "per_app")
	for app, want := range map[string]int{"acme": 7, "other": 2} {
		if got := p.statuses(10, "appid: "+app); got[200] != want {
			t.Errorf("%s: got %v; want %d admitted", app, got, want)
		}
	}
}

// TestConcurrency bounds the requests of a key that are in flight at once, over
// all workers, and a worker that dies gives its places back.
func TestConcurrency(t *testing.T) {
	o := newPausingOrigin(t, "slow")
	p := newLimited(t, o.address, `
concurrency_limit "at_once" {
  key = request.header["appid"]
  max = 5
}`, "at_once")
	var clients []*client
	hold := func(n int) {
		t.Helper()
		for range n {
			c := connect(t, p.address)
			if err := c.send(request(http.MethodGet, "/pause", "", "appid: a")); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
		}
	}
	hold(5)
	await(t, "five at the server", func() bool { return o.paused.Load() == 5 })
	for range 20 {
		a := p.get("/", "appid: a")
		if a.want(t, http.StatusTooManyRequests); a.header.Get("Retry-After") != "1" {
			t.Errorf("refused with %v; want Retry-After: 1", a.header)
		}
	}
	if got := p.statuses(20, "appid: b"); got[200] != 20 {
		t.Errorf("another key: got %v; want 20 times 200", got)
	}
	dead := p.pids()
	for _, pid := range dead {
		kill(t, pid)
	}
	await(t, "a successor of each worker", func() bool {
		now := p.serving(1)
		return len(now) == p.workers && !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(dead, pid) })
	})
	hold(5)
	await(t, "five at the server again", func() bool { return o.paused.Load() == 10 })
	close(o.release)
	for _, c := range clients[5:] {
		a, err := c.receive(http.MethodGet)
		if err != nil {
			t.Fatal(err)
		}
		a.want(t, http.StatusOK)
	}
	if got := p.statuses(20, "appid: a"); got[200] != 20 {
		t.Errorf("after the end of all: got %v; want 20 times 200", got)
	}
}

// tryGet is get for a proxy that may be dying.
func (p *proxy) tryGet(target string, fields ...string) (*answer, error) {
	c, err := dial(p.address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ask(http.MethodGet, target, "", fields...)
}

// TestConcurrencyUnderLoad never lets more in than the limit, whoever asks.
func TestConcurrencyUnderLoad(t *testing.T) {
	var here, most atomic.Int64
	o := newOrigin(t, "slow", "", nil, func(w http.ResponseWriter, r *http.Request) {
		n := here.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			continue
		}
		pause := time.NewTimer(2 * time.Millisecond)
		defer pause.Stop()
		<-pause.C
		here.Add(-1) // before the answer: who has it may come again
		fmt.Fprint(w, "slow here")
	})
	p := newLimited(t, o.address, "concurrency_limit \"at_once\" {\n key = client.ip\n max = 7\n}", "at_once")
	var all sync.WaitGroup
	var admitted, refused, failed atomic.Int64
	for range 40 {
		all.Go(func() {
			for range 50 {
				switch a, err := p.tryGet("/"); {
				case err != nil:
					failed.Add(1)
				case a.status == http.StatusOK:
					admitted.Add(1)
				case a.status == http.StatusTooManyRequests:
					refused.Add(1)
				default:
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if most.Load() != 7 || failed.Load() > 0 || refused.Load() == 0 {
		t.Errorf("up to %d at once, %d admitted, %d refused, %d failed; want up to 7, and some refused", most.Load(), admitted.Load(), refused.Load(), failed.Load())
	}
	if got := p.statuses(20)[200]; got != 20 {
		t.Errorf("after the load: %d of 20 admitted; want all", got)
	}
}

// TestLimitHeaders tells clients where they stand, in each style.
func TestLimitHeaders(t *testing.T) {
	for style, want := range map[string][]string{
		"x-rate-limit": {"X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset", "Retry-After"},
		"ietf":         {"Ratelimit", "Ratelimit-Policy", "Retry-After"},
		"both":         {"Ratelimit", "Ratelimit-Policy", "X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset", "Retry-After"},
		"none":         nil,
	} {
		p := newLimited(t, serveText(t), fmt.Sprintf("rate_limit \"per_app\" {\n key = request.header[\"appid\"]\n rate = \"3/h\"\n headers = %q\n}", style), "per_app")
		for i := range 5 {
			a := p.get("/", "appid: a")
			var got []string
			for _, name := range []string{"Ratelimit", "Ratelimit-Policy", "X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset", "Retry-After"} {
				if a.header.Get(name) != "" {
					got = append(got, name)
				}
			}
			expect := want
			if i < 3 {
				expect = slices.DeleteFunc(slices.Clone(want), func(name string) bool { return !strings.HasPrefix(name, "Ratelimit") })
			}
			if !slices.Equal(got, expect) {
				t.Errorf("%s, answer %d, %d: got %v; want %v", style, i, a.status, got, expect)
			}
			if text := a.header.Get("Ratelimit"); i < 3 && text != "" && !strings.Contains(text, fmt.Sprintf("r=%d", 2-i)) {
				t.Errorf("%s, answer %d: got RateLimit %q; want r=%d in it", style, i, text, 2-i)
			}
		}
	}
}
