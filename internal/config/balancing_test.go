package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestBalancing loads testdata/good/balancing.hcl, which has all that there is
// about balancing and limiting.
func TestBalancing(t *testing.T) {
	b, c, err := Load("testdata/good/balancing.hcl")
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Abs("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	want := []*Upstream{
		{
			Name:    "hashed",
			Servers: []Server{{"10.0.0.1:443", 2, false}, {"10.0.0.9:443", 1, true}},
			Policy:  "maglev", Protocol: "h1",
			HashKey:        &Expr{},
			SlowStart:      20 * time.Second,
			PanicThreshold: 30,
			TLS:            &TLS{SNI: "api.internal", Verify: true},
			Health: &Health{
				Kind: "http", Path: "/healthz?full=1", Host: "api.internal", Expect: &Condition{}, InitialUp: true,
				Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 1,
			},
			Eject:  &Eject{Errors: 3, For: 30 * time.Second, MaxPercent: 100},
			Limits: UpstreamLimits{Idle: 16, Connections: 1024, Pending: 64},
		},
		{
			Name:   "found",
			Policy: "ketama", Protocol: "h1",
			HashKey: &Expr{},
			Host:    "found.example",
			Discover: []Discover{
				{Kind: "file", Path: filepath.Join(folder, "found.servers")},
				{Kind: "dns", Name: "_http._tcp.found.internal"},
				{Kind: "dns", Name: "found", Port: 8080, Resolvers: []string{"10.0.0.53:53", "[2001:db8::53]:5353"}},
			},
			Health: &Health{
				Kind: "http", Path: "/", Host: "health.example:8080", Expect: &Condition{},
				Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1,
			},
			Eject:  &Eject{Errors: 5, For: 10 * time.Second, MaxPercent: 50},
			Limits: UpstreamLimits{Idle: 128, Pending: 256},
		},
		{
			Name:    "rpc",
			Servers: []Server{{"10.0.0.1:50051", 1, true}},
			Policy:  "p2c", Protocol: "h1",
			Discover: []Discover{{Kind: "file", Path: "/etc/rpc.servers"}},
			TLS:      &TLS{SNI: "192.0.2.1", Verify: true},
			Health:   &Health{Kind: "grpc", Service: "shop.v1.Orders", Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1},
			Limits:   UpstreamLimits{Idle: 128, Pending: 256},
		},
	}
	if diff := cmp.Diff(want, c.Upstreams, comparable, cmpopts.IgnoreFields(Upstream{}, "Timeouts")); diff != "" {
		t.Errorf("upstreams: want -, got +:\n%s", diff)
	}
	vip := map[string]Rate{"acme": {5000, time.Second}, "initech": {100_000, time.Minute}, "": {1, time.Second}}
	key := &Expr{}
	limits := []*RateLimit{
		{Name: "per_app", Key: key, Max: 10, Window: time.Second, Keys: 1_000_000, Headers: "both", Algorithm: "window", Overrides: vip},
		{Name: "smooth", Key: key, Max: 100, Window: time.Second, Keys: 1000, Headers: "ietf", Algorithm: "gcra", Burst: 20},
		{Name: "watched", Key: key, Max: 1, Window: time.Hour, Keys: 1_000_000, Headers: "x-rate-limit", Algorithm: "gcra", Burst: 1, DryRun: true},
	}
	if diff := cmp.Diff(limits, c.RateLimits, comparable); diff != "" {
		t.Errorf("rate limits: want -, got +:\n%s", diff)
	}
	atOnce := []*ConcurrencyLimit{
		{Name: "at_once", Key: key, Max: 20, Keys: 16_384},
		{Name: "all_of_them", Key: key, Max: 1_000_000, Keys: 1, DryRun: true},
	}
	if diff := cmp.Diff(atOnce, c.ConcurrencyLimits, comparable); diff != "" {
		t.Errorf("concurrency limits: want -, got +:\n%s", diff)
	}
	r := c.Listeners[0].Routes[0]
	if !slices.Equal(r.RateLimits, c.RateLimits) || !slices.Equal(r.ConcurrencyLimits, c.ConcurrencyLimits[:1]) {
		t.Errorf("got %v and %v as the limits of the route", r.RateLimits, r.ConcurrencyLimits)
	}
	sameInWorker(t, b, c)
}

// TestExpect holds which statuses the conditions of balancing.hcl take.
func TestExpect(t *testing.T) {
	_, c, err := Load("testdata/good/balancing.hcl")
	if err != nil {
		t.Fatal(err)
	}
	var buf []byte
	for status, want := range map[string][2]bool{
		"200": {true, true}, "399": {true, true}, "404": {true, true}, "400": {false, true}, "503": {false, true},
	} {
		s := subject{}
		k, v := set(ResponseStatus, "", status)
		s[k] = v
		got := [2]bool{c.UpstreamOf["hashed"].Health.Expect.Holds(s, &buf), c.UpstreamOf["found"].Health.Expect.Holds(s, &buf)}
		if got != want {
			t.Errorf("%s: got %v; want %v", status, got, want)
		}
	}
}

func TestParseDNSName(t *testing.T) {
	label := strings.Repeat("a", 63)
	for text, want := range map[string]string{
		"api.internal": "api.internal", "API.Internal.": "api.internal", "app": "app", "_http._tcp.a": "_http._tcp.a", "10.in-addr.arpa": "10.in-addr.arpa",
		label + ".b": label + ".b",
		"":           "", ".": "", "..": "", "a..b": "", ".a": "", "a b": "", "a/b": "", "ü.de": "", "a:80": "", "10.0.0.1": "", "10.0.0.1:80": "",
		"::1": "", "[::1]": "", "[::1]:80": "", "10.0.0.256": "", "*.a": "", label + "a.b": "", strings.Repeat("a.", 127) + "a": "", "a\x00": "",
	} {
		if got, err := parseDNSName(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
}

// TestTooMuch holds the bounds of lists whose members are all valid.
func TestTooMuch(t *testing.T) {
	list := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	frame := "listener \"a\" {\n address = \":80\"\n route \"a\" {\n respond = {}\n}\n}\n"
	upstream := func(n int) string {
		return frame + "upstream \"a\" {\n" + list(n, "discover \"file\" {\n path = \"%d\"\n}\n") + "}\n"
	}
	limit := func(n int) string {
		return frame + "rate_limit \"a\" {\n key = client.ip\n rate = \"1/s\"\n overrides = {\n" + list(n, "\"%d\" = \"2/s\"\n") + "}\n}\n"
	}
	for _, c := range []struct {
		of   string
		text func(int) string
		max  int
	}{{"discover", upstream, maxDiscover}, {"overrides", limit, maxOverrides}} {
		if _, _, err := load(t, c.text(c.max)); err != nil {
			t.Errorf("%d %s: got %v", c.max, c.of, err)
		}
		if _, _, err := load(t, c.text(c.max+1)); err == nil || !strings.Contains(err.Error(), "Too many") {
			t.Errorf("%d %s: got %v; want too many", c.max+1, c.of, err)
		}
	}
}

// TestSame holds which changes of a file, of its locals, of files and of the
// environment make another upstream of one.
func TestSame(t *testing.T) {
	folder := t.TempDir()
	text := `
locals {
  nets  = ["10.0.0.0/8", local.net]
  net   = "192.0.2.0/24"
  user  = coalesce(request.cookie["a"], local.name, client.ip)
  name  = "session"
  least = 200
  other = "x"
}
listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers  = ["10.0.0.1:80"]
  policy   = "ketama"
  hash_key = cidr_match(client.ip, local.nets) ? "${env("PROXYD_TEST_SALT")}${local.user}" : file("salt")
  health "http" {
    expect = response.status >= local.least
  }
}
`
	load := func(salt, env, text string) *Upstream {
		t.Helper()
		t.Setenv("PROXYD_TEST_SALT", env)
		for name, data := range map[string]string{"salt": salt, "proxy.hcl": text} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, c, err := Load(filepath.Join(folder, "proxy.hcl"))
		if err != nil {
			t.Fatal(err)
		}
		return c.Upstreams[0]
	}
	first := load("a", "b", text)
	for _, c := range []struct {
		salt, env, old, new string
		want                bool
	}{
		{"a", "b", "", "", true},
		{"a", "b", `= "x"`, `= "y"`, true},
		{"a", "b", "upstream \"one\"", "\n\nupstream \"one\"", true},
		{"b", "b", "", "", false},
		{"a", "c", "", "", false},
		{"a", "b", "session", "sid", false},
		{"a", "b", "192.0.2.0/24", "192.0.2.0/25", false},
		{"a", "b", ", client.ip)", ", request.host)", false},
		{"a", "b", "least = 200", "least = 201", false},
		{"a", "b", "expect = response.status >= local.least", "", false},
		{"a", "b", "expect = ", "path = \"/x\"\n expect = ", false},
		{"a", "b", "10.0.0.1:80", "10.0.0.2:80", false},
		{"a", "b", `"ketama"`, `"maglev"`, false},
	} {
		second := load(c.salt, c.env, strings.Replace(text, c.old, c.new, 1))
		if got := first.Same(second); got != c.want || second.Same(first) != got || !second.Same(second) {
			t.Errorf("%+v: got %v; want %v", c, got, c.want)
		}
	}
}
