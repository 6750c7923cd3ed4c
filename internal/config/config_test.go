package config

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the expected diagnostics anew")

// TestBad holds each malformed file against the diagnostics beside it.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.hcl")
	if err != nil || len(files) < 30 {
		t.Fatalf("got %d files, %v; want at least 30", len(files), err)
	}
	t.Chdir("testdata/bad")
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hcl")
		t.Run(name, func(t *testing.T) {
			b, c, err := Load(name + ".hcl")
			if err == nil || b != nil || c != nil {
				t.Fatalf("got %v, %v, %v; want only an error", b, c, err)
			}
			got := strings.ReplaceAll(err.Error(), folder, "FOLDER") + "\n"
			if *update {
				if err := os.WriteFile(name+".txt", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestShipped(t *testing.T) {
	_, c, err := Load("../../proxy.hcl")
	if err != nil {
		t.Fatal(err)
	}
	key := c.RateLimits[0].Key
	if key == nil {
		t.Fatal("the rate limit has no key")
	}
	c.RateLimits[0].Key = nil
	limit := &RateLimit{Name: "per_app", Max: 1, Window: time.Second, Keys: 1_000_000, Headers: "x-rate-limit", Algorithm: "estimator"}
	one := &Upstream{
		Name:    "one",
		Servers: []Server{{Address: "1.1.1.1:443", Weight: 1}, {Address: "1.0.0.1:443", Weight: 1}},
		Policy:  "round_robin", Protocol: "h1",
		Host:   "one.one.one.one",
		TLS:    &TLS{SNI: "one.one.one.one", Verify: true},
		Health: &Health{Kind: "tcp", Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1},
		Timeouts: UpstreamTimeouts{
			Connect: 3 * time.Second, TLS: 5 * time.Second, FirstByte: time.Minute, BodyIdle: time.Minute, Idle: time.Minute,
		},
		Limits: UpstreamLimits{Idle: 128, Pending: 256},
	}
	dir := DefaultStateDir()
	want := &Config{
		Path: "../../proxy.hcl",
		Supervisor: Supervisor{
			StateDir: dir, PIDFile: dir + "/proxyd.pid", AdminSocket: dir + "/admin.sock",
			ReadyTimeout: 30 * time.Second, DrainTimeout: 30 * time.Second, StreamTimeout: 10 * time.Minute,
			Via: "proxyd",
		},
		Listeners: []*Listener{{
			Name:      "web",
			Addresses: []Address{{"tcp", "0.0.0.0:6188", "0.0.0.0:6188"}},
			Timeouts: ListenerTimeouts{
				Header: 10 * time.Second, BodyIdle: 30 * time.Second, Idle: 75 * time.Second, Write: time.Minute, Handshake: 10 * time.Second,
			},
			Limits: ListenerLimits{HeaderBytes: 32 << 10, Headers: 128, Streams: 100},
			Routes: []*Route{{Name: "all", Upstream: one, RateLimits: []*RateLimit{limit}}},
		}},
		Upstreams:  []*Upstream{one},
		RateLimits: []*RateLimit{limit},
		UpstreamOf: map[string]*Upstream{"one": one},
	}
	if diff := cmp.Diff(want, c, cmp.AllowUnexported(Address{})); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// TestFull loads testdata/good/full.hcl, which sets everything but what routes.hcl
// and balancing.hcl do.
func TestFull(t *testing.T) {
	t.Setenv("PROXYD_TEST_HOST", "api.example.com")
	b, c, err := Load("testdata/good/full.hcl")
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Abs("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	wantSupervisor := Supervisor{
		Workers: 3, PIDFile: "/run/proxyd/pid", StateDir: folder + "/state", AdminSocket: folder + "/state/admin.sock",
		Log: folder + "/proxyd.log", ReadyTimeout: 5 * time.Second, DrainTimeout: 90 * time.Second, StreamTimeout: time.Hour,
		Via: "proxyd",
	}
	if c.Supervisor != wantSupervisor {
		t.Errorf("got %+v; want %+v", c.Supervisor, wantSupervisor)
	}
	l := c.Listeners[0]
	var names []string
	for _, a := range l.Addresses {
		names = append(names, a.String()+" "+a.Name())
	}
	wantNames := []string{
		"systemd:https l.systemd.https", ":8443 l.tcp6.--.8443", "127.0.0.1:8080 l.tcp4.127.0.0.1.8080",
		"unix:/run/proxyd/web.sock l.unix.-run-proxyd-web.sock",
	}
	if diff := cmp.Diff(wantNames, names); diff != "" {
		t.Errorf("addresses: want -, got +:\n%s", diff)
	}
	wantLimits := ListenerLimits{HeaderBytes: 64 << 10, Headers: 100, Body: 10 << 20, Connections: 1000, RequestsPerConnection: 500, Streams: 100}
	if l.Limits != wantLimits {
		t.Errorf("got %+v; want %+v", l.Limits, wantLimits)
	}
	wantTimeouts := ListenerTimeouts{Header: time.Second, BodyIdle: 2 * time.Second, Idle: 3 * time.Second, Write: 4 * time.Second, Handshake: 10 * time.Second}
	if l.Timeouts != wantTimeouts {
		t.Errorf("got %+v; want %+v", l.Timeouts, wantTimeouts)
	}
	ca, err := os.ReadFile("testdata/good/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	wantUpstream := &Upstream{
		Name: "api",
		Servers: []Server{
			{Address: "10.0.0.1:443", Weight: 1},
			{Address: "[2001:db8::1]:443", Weight: 1},
			{Address: "10.0.0.2:443", Weight: 2},
			{Address: "unix:/run/api.sock", Weight: 1},
		},
		Policy: "round_robin",
		Host:   "api.example.com:8443", Protocol: "h1",
		TLS:    &TLS{SNI: "api.example.com", CA: ca, Verify: true},
		Health: &Health{Kind: "tcp", Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 3},
		Timeouts: UpstreamTimeouts{
			Connect: time.Second, TLS: 2 * time.Second, FirstByte: 3 * time.Second, BodyIdle: 4 * time.Second, Idle: 5 * time.Second,
		},
		Limits: UpstreamLimits{Idle: 64, Pending: 256},
	}
	if diff := cmp.Diff(wantUpstream, c.Upstreams[0]); diff != "" {
		t.Errorf("upstream: want -, got +:\n%s", diff)
	}
	r := c.RateLimits[0]
	if r.Max != 600 || r.Window != time.Minute || r.Keys != 5000 || r.Headers != "none" {
		t.Errorf("got %+v; want 600 per minute, 5000 keys, no headers", r)
	}
	if route := l.Routes[0]; route.Upstream != c.Upstreams[0] || len(route.RateLimits) != 2 || route.RateLimits[1] != r {
		t.Errorf("got %+v; want the upstream and both limits", route)
	}
	sameInWorker(t, b, c)
}

// sameInWorker holds that the encoded bundle parses to c where neither files
// nor environment are.
func sameInWorker(t *testing.T, b *Bundle, c *Config) {
	t.Helper()
	t.Setenv("PROXYD_TEST_HOST", "changed")
	t.Setenv("XDG_RUNTIME_DIR", "/changed")
	t.Chdir(t.TempDir())
	decoded, err := DecodeBundle(b.Encode())
	if err != nil {
		t.Fatal(err)
	}
	again, err := decoded.Parse()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, again, comparable); diff != "" {
		t.Errorf("supervisor -, worker +:\n%s", diff)
	}
	if b.Digest() != decoded.Digest() {
		t.Error("the digest of the decoded bundle differs")
	}
}

func TestDigestFollowsWhatIsRead(t *testing.T) {
	text := `
listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
  host    = file("host")
}
`
	folder := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digest := func() [32]byte {
		b, _, err := Load(filepath.Join(folder, "proxy.hcl"))
		if err != nil {
			t.Fatal(err)
		}
		return b.Digest()
	}
	write("proxy.hcl", text)
	write("host", "one\n")
	first := digest()
	if second := digest(); second != first {
		t.Error("the digest changed though nothing else did")
	}
	write("host", "two\n")
	if second := digest(); second == first {
		t.Error("the digest did not follow a change of the file")
	}
}

func TestUnreadable(t *testing.T) {
	folder := t.TempDir()
	fifo := filepath.Join(folder, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(folder, "missing"), folder, fifo, "/dev/zero"} {
		_, _, err := Load(path)
		var list Errors
		if !errors.As(err, &list) || len(list) != 1 || list[0].File != path {
			t.Errorf("%s: got %v; want one mistake", path, err)
		}
	}
}

func TestDecodeBundleRefuses(t *testing.T) {
	for _, data := range []string{"", "{", "{}", `{"version":2}`, strings.Repeat(" ", 2*maxBundle+1)} {
		if _, err := DecodeBundle([]byte(data)); err == nil {
			t.Errorf("%.20q: got no error", data)
		}
	}
	b, err := DecodeBundle([]byte(`{"version":1,"text":"YSA9IGZpbGUoIi9ldGMvcGFzc3dkIik="}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Parse(); err == nil {
		t.Error("got a Config from a bundle without listener")
	}
}

// TestErrorsAsJSON holds the names that editors and CI read.
func TestErrorsAsJSON(t *testing.T) {
	_, _, err := Load("testdata/bad/unknown_argument.hcl")
	var list Errors
	if !errors.As(err, &list) {
		t.Fatalf("got %v; want Errors", err)
	}
	got, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"file":"testdata/bad/unknown_argument.hcl","line":2,"column":3,"length":6,"caret":2,` +
		`"summary":"Unsupported argument",` +
		`"detail":"An argument named \"adress\" is not expected here. Did you mean \"address\"?",` +
		`"source_line":"  adress = \":8080\""}]`
	if string(got) != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

func TestTooManyMistakes(t *testing.T) {
	_, _, err := load(t, strings.Repeat("nonsense {}\n", maxMistakes+10))
	var list Errors
	if !errors.As(err, &list) || len(list) != maxMistakes+1 {
		t.Fatalf("got %d mistakes; want %d", len(list), maxMistakes+1)
	}
	if last := list[maxMistakes]; !strings.Contains(last.Detail, "are not shown") {
		t.Errorf("got %q; want how many are not shown", last.Detail)
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.hcl", "testdata/good/*.hcl", "../../proxy.hcl"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	s := subject{}
	f.Fuzz(func(t *testing.T, text []byte) {
		b := &Bundle{data: bundleData{Path: []byte("fuzz.hcl"), Folder: []byte("/"), Text: text}}
		c, err := b.Parse()
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and %v; want one of them", c, err)
		}
		if err != nil {
			list := err.(Errors)
			if shown := list.Error(); len(list) == 0 || strings.ContainsAny(shown, "\x00\x1b\r") {
				t.Fatalf("got unprintable or empty mistakes: %q", shown)
			}
			return
		}
		for _, l := range c.Listeners {
			if len(l.Addresses) == 0 || len(l.Routes) == 0 || len(c.UpstreamOf) != len(c.Upstreams) {
				t.Fatalf("got an incomplete listener %+v", l)
			}
			for _, r := range l.Routes {
				exercise(t, r, s)
			}
		}
		for _, u := range c.Upstreams {
			exerciseUpstream(t, u, s)
		}
		for _, a := range c.AccessLogs {
			var buf []byte
			if (a.Text == nil) != (a.Format != "text") || a.Text != nil && a.Text.Eval(s, &buf) == nil {
				t.Fatalf("got access log %+v", a)
			}
			if a.When != nil {
				a.When.Holds(s, &buf)
			}
		}
		for _, r := range c.RateLimits {
			if r.Max < 1 || r.Window <= 0 || (r.Algorithm == "gcra") != (r.Burst > 0) {
				t.Fatalf("got rate limit %+v", r)
			}
			var buf []byte
			r.Key.Eval(s, &buf)
		}
	})
}

// exerciseUpstream holds that u has servers or may find some, and evaluates its
// expressions.
func exerciseUpstream(t *testing.T, u *Upstream, s Subject) {
	keyed := u.Policy == "maglev" || u.Policy == "ketama"
	if len(u.Servers)+len(u.Discover) == 0 || keyed != (u.HashKey != nil) || !u.Same(u) {
		t.Fatalf("got upstream %+v", u)
	}
	for _, v := range u.Discover {
		if (v.Path == "") == (v.Name == "") || v.Path != "" && !filepath.IsAbs(v.Path) {
			t.Fatalf("got discover %+v", v)
		}
	}
	var buf []byte
	if keyed {
		u.HashKey.Eval(s, &buf)
	}
	if u.Health != nil && u.Health.Expect != nil {
		u.Health.Expect.Holds(s, &buf)
	}
}

// exercise holds that r does one thing and evaluates all of its expressions.
func exercise(t *testing.T, r *Route, s Subject) {
	actions := 0
	for _, set := range []bool{r.Upstream != nil, r.UpstreamName != nil, r.Redirect != nil, r.Respond != nil} {
		if set {
			actions++
		}
	}
	if actions != 1 {
		t.Fatalf("got a route that does %d things: %+v", actions, r)
	}
	var buf []byte
	if r.UpstreamName != nil {
		r.UpstreamName.Eval(s, &buf)
	}
	if r.Redirect != nil {
		r.Redirect.Location.Eval(s, &buf)
	}
	if r.When != nil {
		r.When.Holds(s, &buf)
	}
	for _, ops := range []HeaderOps{r.RequestHeaders, r.ResponseHeaders} {
		for _, op := range append(ops.Set, ops.Add...) {
			if buf = buf[:0]; checkFieldName(strings.ToLower(op.Name)) != nil {
				t.Fatalf("got an operation on %q", op.Name)
			}
			op.Value.Eval(s, &buf)
		}
	}
}
