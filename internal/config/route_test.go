package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// comparable lets cmp compare configurations, but for what is compiled to
// closures: that is there or is not.
var comparable = cmp.Options{
	cmp.AllowUnexported(Address{}),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b *Expr) bool { return (a == nil) == (b == nil) }),
	cmp.Comparer(func(a, b *Condition) bool { return (a == nil) == (b == nil) }),
	cmp.Comparer(func(a, b *regexp.Regexp) bool {
		return (a == nil) == (b == nil) && (a == nil || a.String() == b.String())
	}),
}

// TestRoutes loads testdata/good/routes.hcl, which has all that a route may have.
func TestRoutes(t *testing.T) {
	b, c, err := Load("testdata/good/routes.hcl")
	if err != nil {
		t.Fatal(err)
	}
	up := c.UpstreamOf
	if len(up) != 2 || up["api"] != c.Upstreams[0] || up["canary"] != c.Upstreams[1] {
		t.Fatalf("got upstreams %v", up)
	}
	l := c.Listeners[0]
	office := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")}
	if !slices.Equal(l.TrustedProxies, office) || !slices.Equal(l.ProxyProtocol, office[1:2]) {
		t.Errorf("got networks %v and %v", l.TrustedProxies, l.ProxyProtocol)
	}
	html := Respond{Status: 404, Body: []byte("<p>no"), ContentType: "text/html"}
	want := []*Route{
		{
			Name:  "api",
			Hosts: []string{"api.example.com", "*.api.example.com", "192.0.2.1", "2001:db8::1"},
			Paths: []PathPattern{
				{Kind: PathPrefix, Text: "/v1/"},
				{Kind: PathExact, Text: "/v1"},
				{Kind: PathGlob, Text: "/*/edit"},
				{Kind: PathGlob, Text: "**.jpg"},
				{Kind: PathGlob, Text: "/v1*"},
				{Kind: PathGlob, Text: "/a?"},
				{Kind: PathRegex, Text: "^/u/[0-9]+$", Regexp: regexp.MustCompile("^/u/[0-9]+$")},
				{Kind: PathExact, Text: "/ü b/%2F"},
			},
			Methods:    []string{"GET", "PURGE"},
			RateLimits: []*RateLimit{c.RateLimits[0]},
			Timeouts:   RouteTimeouts{Request: 30 * time.Second, FirstByte: 10 * time.Second},
			Retry:      &Retry{Attempts: 3, Connect: true, Timeout: true, Statuses: []int{502, 503}, BudgetPercent: 50},

			StripPrefix: "/v1",
			RequestHeaders: HeaderOps{
				Set:    []HeaderOp{{Name: "X-Request-Id"}, {Name: "x-app"}},
				Add:    []HeaderOp{{Name: "x-tag"}, {Name: "x-tag"}},
				Remove: []string{"x-internal"},
			},
			ResponseHeaders: HeaderOps{Set: []HeaderOp{{Name: "x-upstream"}}, Remove: []string{"server"}},
		},
		{Name: "fixed", Hosts: []string{"fixed"}, Upstream: up["canary"], Retry: &Retry{Attempts: 1, Connect: true, Reset: true, BudgetPercent: 20}},
		{Name: "old", Hosts: []string{"old"}, Redirect: &Redirect{Status: 308}},
		{Name: "older", Hosts: []string{"older"}, Redirect: &Redirect{Status: 302}},
		{Name: "deny", Hosts: []string{"deny"}, Respond: &html},
		{Name: "toggle"},
		{Name: "all", Paths: []PathPattern{{Kind: PathPrefix, Text: "/"}}, Respond: &Respond{Status: 200, Body: []byte{}, ContentType: "text/plain; charset=utf-8"}},
	}
	some := &Expr{}
	want[0].When, want[0].UpstreamName = &Condition{}, some
	want[2].Redirect.Location, want[3].Redirect.Location = some, some
	for _, ops := range []HeaderOps{want[0].RequestHeaders, want[0].ResponseHeaders} {
		for _, list := range [][]HeaderOp{ops.Set, ops.Add} {
			for i := range list {
				list[i].Value = some
			}
		}
	}
	want[5].Respond = want[6].Respond
	if diff := cmp.Diff(want, l.Routes, comparable); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	sameInWorker(t, b, c)
	evaluateRoutes(t, l.Routes)

	wantLogs := []*AccessLog{{Format: "json", Output: "/var/log/a.json"}, {Format: "combined", Output: "/var/log/a.log", When: &Condition{}}}
	if diff := cmp.Diff(wantLogs, c.AccessLogs, comparable); diff != "" {
		t.Errorf("access logs: want -, got +:\n%s", diff)
	}
	name := regexp.MustCompile(`^log\.[0-9a-f]{16}$`)
	first, second := c.AccessLogs[0].FileName(), c.AccessLogs[1].FileName()
	if !name.MatchString(first) || !name.MatchString(second) || first == second {
		t.Errorf("got file names %q and %q", first, second)
	}
	if c.Supervisor.User != "proxyd" || c.Supervisor.Via != "edge-1" {
		t.Errorf("got user %q and via %q", c.Supervisor.User, c.Supervisor.Via)
	}
}

// evaluateRoutes holds what the routes of routes.hcl say of two requests.
func evaluateRoutes(t *testing.T, routes []*Route) {
	t.Helper()
	s := subject{}
	for name, value := range map[string]string{"x-canary": "1", "appid": "ACME", "x-debug": "1"} {
		k, v := set(Header, name, value)
		s[k] = v
	}
	k, v := set(Path, "", "/p")
	s[k] = v
	var buf []byte
	api := routes[0]
	for _, c := range []struct {
		e    *Expr
		s    subject
		want string
	}{
		{api.UpstreamName, s, "canary"},
		{api.UpstreamName, subject{}, "api"},
		{api.RequestHeaders.Set[1].Value, s, "acme"},
		{api.RequestHeaders.Set[1].Value, subject{}, ""},
		{api.RequestHeaders.Add[1].Value, s, "b"},
		{routes[2].Redirect.Location, s, "https://example.com/new/p"},
		{routes[3].Redirect.Location, s, "/newer"},
	} {
		if got := string(c.e.Eval(c.s, &buf)); got != c.want {
			t.Errorf("got %q; want %q", got, c.want)
		}
	}
	if api.When.Holds(s, &buf) || !api.When.Holds(subject{}, &buf) {
		t.Error("got the wrong outcome of the condition of route api")
	}
}

func TestParseRouteHost(t *testing.T) {
	for text, want := range map[string]string{
		"Example.COM": "example.com", "example.com.": "example.com", "*.Example.com": "*.example.com", "*": "*", "localhost": "localhost",
		"[2001:DB8::0:1]": "2001:db8::1", "::1": "::1", "192.0.2.1": "192.0.2.1", "a_b.example": "a_b.example", "xn--mnchen-3ya.de": "xn--mnchen-3ya.de",
		"": "", "*.": "", "**.a": "", "a:80": "", "[::1]:80": "", "a b": "", ".a": "", "a..b": "", "*a.b": "", "fe80::1%lo": "", "http://a": "",
	} {
		if got, err := parseRouteHost(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestTooManyAccessLogs(t *testing.T) {
	text := "listener \"web\" {\n address = \":80\"\n route \"a\" {\n respond = {}\n}\n}\n"
	for i := range maxAccessLogs {
		text += fmt.Sprintf("access_log \"json\" {\n output = \"%d\"\n}\n", i)
	}
	if _, _, err := load(t, text); err != nil {
		t.Errorf("%d logs: got %v", maxAccessLogs, err)
	}
	if _, _, err := load(t, text+"access_log \"json\" {\n output = \"x\"\n}\n"); err == nil {
		t.Errorf("%d logs: got no error", maxAccessLogs+1)
	}
}
