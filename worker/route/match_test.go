package route

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// holding answers for the conditions of rules, and notes which were asked for.
type holding struct {
	rules map[int]bool
	asked []int
}

func (h *holding) Holds(rule int) bool {
	h.asked = append(h.asked, rule)
	return h.rules[rule]
}

func exact(text string) Pattern  { return Pattern{Kind: Exact, Text: text} }
func prefix(text string) Pattern { return Pattern{Kind: Prefix, Text: text} }
func matching(text string) Pattern {
	return Pattern{Kind: Regex, Regexp: regexp.MustCompile(text)}
}

func TestMatch(t *testing.T) {
	table := Compile([]Rule{
		0:  {Hosts: []string{"a.test"}, Paths: []Pattern{exact("/one")}},
		1:  {Hosts: []string{"*.test"}, Paths: []Pattern{exact("/one"), exact("/two")}},
		2:  {Hosts: []string{"*.a.test"}},
		3:  {Hosts: []string{"a.test"}, Methods: []string{"GET", "HEAD"}},
		4:  {Hosts: []string{"[::1]", "192.0.2.1"}},
		5:  {Paths: []Pattern{prefix("/files/")}, Methods: []string{"PUT"}},
		6:  {Paths: []Pattern{matching("^/u/[0-9]+$")}},
		7:  {Paths: []Pattern{{Kind: Glob, Text: "/img/*.png"}}},
		8:  {Paths: []Pattern{prefix("/files/")}, Conditional: true},
		9:  {Hosts: []string{"2001:db8::1"}},
		10: {Paths: []Pattern{exact("/%7Eme/a%20b"), prefix("/%66oo//")}},
		11: {Hosts: []string{"b.test"}, Paths: []Pattern{exact("*")}},
		12: {Hosts: []string{"c.test"}, Paths: []Pattern{prefix("/")}},
	})
	long := strings.Repeat("a.", 125) + "test" // 254 bytes
	for _, c := range []struct {
		host, path, method string
		want               int
	}{
		{"a.test", "/one", "GET", 0},
		{"A.TEST:8080", "/one", "GET", 0},
		{"a.test.", "/one", "POST", 0},
		{"a.test.:", "/one", "POST", 0},
		{"a.test", "/two", "GET", 1},
		{"b.Test", "/one", "GET", 1},
		{"x.y.test", "/two", "GET", 1},
		{"test", "/one", "GET", -1},
		{".test", "/one", "GET", -1},
		{"xtest", "/one", "GET", -1},
		{"x.a.test", "/one", "GET", 1},
		{"x.a.test", "/", "GET", 2},
		{"x.y.A.test:1", "/", "GET", 2},
		{"a.test", "/", "GET", 3},
		{"a.test", "/", "HEAD", 3},
		{"a.test", "/", "get", -1},
		{"a.test", "/", "POST", -1},
		{"[::1]:80", "/", "GET", 4},
		{"[::1]", "/", "GET", 4},
		{"192.0.2.1:80", "/", "GET", 4},
		{"[2001:DB8::1]", "/", "GET", 9},
		{"[::1", "/", "GET", 4},
		{"[", "/", "GET", -1},
		{"z", "/files/a", "PUT", 5},
		{"", "/files/", "PUT", 5},
		{"", "/files/", "GET", 8},
		{"", "/files", "PUT", -1},
		{"", "/u/12", "GET", 6},
		{"", "/u/12a", "GET", -1},
		{"", "/img/a.png", "GET", 7},
		{"", "/img/a/b.png", "GET", -1},
		{"", "/~me/a b", "GET", 10},
		{"", "/foo/x", "GET", 10},
		{"b.test", "*", "OPTIONS", 11},
		{"b.test", "/", "OPTIONS", -1},
		{"c.test", "*", "OPTIONS", 12},
		{"c.test", "/c", "GET", 12},
		{long, "/one", "GET", 1},
		{long + ".:80", "/one", "GET", 1},
		{"a" + long, "/one", "GET", 1},
		{"aa" + long, "/one", "GET", -1},
		{"aa" + long, "/u/1", "GET", 6},
	} {
		var host []byte
		if c.host != "" {
			host = []byte(c.host)
		}
		got := table.Match(host, []byte(c.path), []byte(c.method), &holding{rules: map[int]bool{8: true}})
		if got != c.want {
			t.Errorf("%s %.40s%s: got %d; want %d", c.method, c.host, c.path, got, c.want)
		}
	}
}

func TestMatchWithoutRules(t *testing.T) {
	if got := Compile(nil).Match([]byte("a"), []byte("/"), []byte("GET"), nil); got != -1 {
		t.Errorf("got %d; want -1", got)
	}
}

// The answer, and the conditions asked for on the way, are those of a scan.
func FuzzMatch(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed, seed*seed)
	}
	f.Fuzz(func(t *testing.T, seed1, seed2 uint64) {
		r := rand.New(rand.NewPCG(seed1, seed2))
		rules := someRules(r)
		table := Compile(rules)
		for range 50 {
			host, path, method := someHost(r), Normalize(nil, []byte(somePath(r))), pick(r, "GET", "PUT", "HEAD", "get", "")
			got, want := &holding{rules: map[int]bool{}}, &holding{}
			for i := range rules {
				got.rules[i] = r.IntN(3) == 0
			}
			want.rules = got.rules
			g, w := table.Match(host, path, []byte(method), got), scan(rules, host, path, method, want)
			if g != w || !slices.Equal(got.asked, want.asked) {
				t.Fatalf("%s %q %q: got %d, conditions %d; want %d, %d; of %s", method, host, path, g, got.asked, w, want.asked, show(rules))
			}
		}
	})
}

// scan is what Match promises, put plainly.
func scan(rules []Rule, host, path []byte, method string, c Conditions) int {
	for i, r := range rules {
		if (len(r.Hosts) == 0 || slices.ContainsFunc(r.Hosts, func(h string) bool { return hostMatches(h, string(host)) })) &&
			(len(r.Paths) == 0 || slices.ContainsFunc(r.Paths, func(p Pattern) bool { return pathMatches(p, string(path)) })) &&
			(len(r.Methods) == 0 || slices.Contains(r.Methods, method)) &&
			(!r.Conditional || c.Holds(i)) {
			return i
		}
	}
	return -1
}

var hostForm = regexp.MustCompile(`^(?:\[(.*)\]|([^\[:]*))(?::[0-9]*)?$`)

func hostMatches(rule, host string) bool {
	parts := hostForm.FindStringSubmatch(host)
	name := strings.ToLower(strings.TrimSuffix(parts[1]+parts[2], "."))
	if suffix, ok := strings.CutPrefix(rule, "*"); ok {
		return strings.HasSuffix(name, suffix) && name != suffix
	}
	return name == strings.Trim(rule, "[]")
}

func pathMatches(p Pattern, path string) bool {
	switch p.Kind {
	case Exact:
		return path == p.Text
	case Prefix:
		return strings.HasPrefix(path, p.Text)
	case Glob:
		return globRegexp(p.Text).MatchString(latin1([]byte(path)))
	}
	return p.Regexp.MatchString(path)
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

// someRules returns up to 20 rules that have much in common with each other and
// with what someHost and somePath return.
func someRules(r *rand.Rand) []Rule {
	rules := make([]Rule, r.IntN(21))
	for i := range rules {
		rule := &rules[i]
		for range r.IntN(3) {
			rule.Hosts = append(rule.Hosts, pick(r, "", "*.")+pick(r, "a", "b", "a.b", "b.b", "a.b.b"))
		}
		if r.IntN(10) == 0 {
			rule.Hosts = append(rule.Hosts, pick(r, "::1", "[::1]", "::a"))
		}
		for range r.IntN(4) {
			rule.Paths = append(rule.Paths, somePattern(r))
		}
		for range r.IntN(3) {
			rule.Methods = append(rule.Methods, pick(r, "GET", "PUT", "HEAD"))
		}
		rule.Conditional = r.IntN(2) == 0
	}
	return rules
}

func somePattern(r *rand.Rand) Pattern {
	path := string(Normalize(nil, []byte(somePath(r))))
	switch r.IntN(6) {
	case 0:
		return prefix(path)
	case 1:
		return matching(pick(r, "^", "") + regexp.QuoteMeta(path) + pick(r, "$", "", "[ab]"))
	case 2:
		i := r.IntN(len(path) + 1)
		return Pattern{Kind: Glob, Text: path[:i] + pick(r, "*", "**", "?", "*a*") + path[i:]}
	case 3:
		return prefix(path[:r.IntN(len(path)+1)])
	}
	return exact(path)
}

func someHost(r *rand.Rand) []byte {
	if r.IntN(10) == 0 {
		return nil
	}
	name := ""
	for range 1 + r.IntN(4) {
		name += pick(r, "a", "b", "B", "") + "."
	}
	name = name[:len(name)-r.IntN(2)]
	return []byte(pick(r, name, name, name, "[::1]", "[::A]") + pick(r, "", ":80", ":"))
}

func somePath(r *rand.Rand) string {
	path := "/"
	for range r.IntN(4) {
		path += pick(r, "a", "b", "ab", "/", "a/", "b/")
	}
	return path
}

func show(rules []Rule) string {
	var b strings.Builder
	for i, r := range rules {
		fmt.Fprintf(&b, "\n%d: %q %v %q conditional=%v", i, r.Hosts, r.Paths, r.Methods, r.Conditional)
	}
	return b.String()
}

func TestMatchAllocatesNothing(t *testing.T) {
	table := Compile([]Rule{
		{Hosts: []string{"*.b.test"}, Paths: []Pattern{exact("/x"), {Kind: Glob, Text: "/**/*.png"}, matching("^/y+$")}},
		{Hosts: []string{"a.test"}, Methods: []string{"PUT"}},
		{Conditional: true},
	})
	host, path, method := []byte("WWW.A.B.TEST:8080"), []byte("/a/b/c"), []byte("GET")
	c := &holding{rules: map[int]bool{2: true}, asked: make([]int, 0, 1)}
	if n := testing.AllocsPerRun(100, func() {
		c.asked = c.asked[:0]
		if got := table.Match(host, path, method, c); got != 2 {
			t.Errorf("got %d; want 2", got)
		}
	}); n != 0 {
		t.Errorf("got %v allocations; want none", n)
	}
}

// ownHosts returns n rules, each with a host and a path of its own.
func ownHosts(n int) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		rules[i] = Rule{Hosts: []string{fmt.Sprintf("host-%d.example.com", i)}, Paths: []Pattern{prefix(fmt.Sprintf("/v%d/", i))}}
	}
	return rules
}

// ownPaths returns n rules, each with a path of its own.
func ownPaths(n int) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		kind := Exact + Kind(i%2) // or Prefix
		rules[i] = Rule{Hosts: []string{"www.example.com"}, Paths: []Pattern{{Kind: kind, Text: fmt.Sprintf("/api/%d/users/%d", i%100, i)}}}
	}
	return rules
}

func TestCompileIsFast(t *testing.T) {
	many := Rule{} // hosts times paths would be a million
	for i := range 1000 {
		many.Hosts = append(many.Hosts, fmt.Sprintf("host-%d.test", i))
		many.Paths = append(many.Paths, exact(fmt.Sprintf("/%d", i)))
	}
	for _, c := range []struct {
		name  string
		rules []Rule
	}{
		{"10,000 rules with their own hosts", ownHosts(10_000)},
		{"10,000 rules with their own paths on one host", ownPaths(10_000)},
		{"100 rules with the same 1,000 hosts and 1,000 paths", slices.Repeat([]Rule{many}, 100)},
	} {
		start := time.Now()
		Compile(c.rules)
		took := time.Since(start)
		t.Logf("%s: %v", c.name, took)
		if took > 2*time.Second {
			t.Errorf("%s: got %v; want at most 2s", c.name, took)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, c := range []struct {
		name       string
		rules      []Rule
		host, path string
	}{
		{"all", []Rule{{}}, "www.example.com", "/"},
		{"hosts=1", ownHosts(1), "host-0.example.com", "/v0/users"},
		{"hosts=100", ownHosts(100), "host-70.example.com", "/v70/users"},
		{"hosts=10000", ownHosts(10_000), "host-7000.example.com", "/v7000/users"},
		{"paths=10000", ownPaths(10_000), "www.example.com", "/api/0/users/7000"},
		{"port", ownHosts(10_000), "Host-7000.example.com:8080", "/v7000/users"},
		{"unknown", ownHosts(10_000), "www.example.org", "/"},
		{"wildcard", append(ownHosts(10_000), Rule{Hosts: []string{"*.example.com"}}), "a.b.example.com", "/"},
	} {
		b.Run(c.name, func(b *testing.B) {
			table := Compile(c.rules)
			host, path, method := []byte(c.host), []byte(c.path), []byte("GET")
			b.ReportAllocs()
			for b.Loop() {
				table.Match(host, path, method, nil)
			}
		})
	}
}

// The worst that a request can meet: all matches, but for each condition.
func BenchmarkMatchFailingConditions(b *testing.B) {
	for _, c := range []struct {
		name string
		rule Rule
	}{
		{"path", Rule{Paths: []Pattern{prefix("/a/")}, Conditional: true}},
		{"glob", Rule{Paths: []Pattern{{Kind: Glob, Text: "/a/**"}}, Conditional: true}},
		{"both", Rule{Paths: []Pattern{prefix("/a/"), {Kind: Glob, Text: "/*/b"}}, Conditional: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			other := Rule{Hosts: []string{"a.test"}, Paths: []Pattern{{Kind: Glob, Text: "/**x"}}}
			table := Compile(slices.Repeat([]Rule{c.rule, other}, 1000))
			host, path, method := []byte("a.test"), []byte("/a/b/c"), []byte("GET")
			none := &holding{asked: make([]int, 0, 1000)}
			b.ReportAllocs()
			for b.Loop() {
				none.asked = none.asked[:0]
				table.Match(host, path, method, none)
			}
		})
	}
}
