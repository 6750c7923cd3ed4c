package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is quadratic shows at this size already; maxText is the worst.
var hostile = flag.Int("hostile", 64<<10, "bytes of the files of TestHostile")

// load loads text as a configuration from a folder of its own.
func load(t testing.TB, text string) (*Bundle, *Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "proxy.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

// TestHostile holds that large and twisted files end in an error soon.
func TestHostile(t *testing.T) {
	fill := func(unit string) string { return strings.Repeat(unit, *hostile/len(unit)-200/len(unit)-1) }
	limit := func(key string) string {
		return "rate_limit \"a\" {\n  rate = \"1/s\"\n  key = " + key + "\n}\n"
	}
	doubling := "locals {\n  a0 = \"0123456789\"\n"
	for i := 1; i < 60; i++ {
		n := string(rune('0'+i/10)) + string(rune('0'+i%10))
		p := string(rune('0'+(i-1)/10)) + string(rune('0'+(i-1)%10))
		doubling += "  a" + strings.TrimPrefix(n, "0") + " = \"${local.a" + strings.TrimPrefix(p, "0") + "}${local.a" + strings.TrimPrefix(p, "0") + "}\"\n"
	}
	wide := strings.ReplaceAll(doubling, `"0123456789"`, "request.host")
	route := func(lines string) string {
		return "listener \"a\" {\n address = \":80\"\n" + strings.Repeat("route \"r\" {\n"+lines+"\n}\n", max(*hostile/(len(lines)+20)-20, 1)) + "}\n"
	}
	either := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(wide, `"${`, "coalesce("), "}${", ", "), `}"`, ")")
	cases := map[string]string{
		"empty":            "",
		"too large":        strings.Repeat("#", maxText+1),
		"too many words":   strings.Repeat("a\n", maxWords/2+1),
		"brackets":         fill("["),
		"braces":           fill("a {\n"),
		"parens":           "a = " + fill("("),
		"calls":            "a = " + fill("f("),
		"interpolations":   "a = " + fill(`"${`),
		"controls":         "a = \"" + fill(`%{if a}`),
		"bangs":            "a = " + fill("!"),
		"minuses":          "a = " + fill("-"),
		"conditionals":     "a = " + fill("b?c:"),
		"nested questions": "a = " + fill("b?"),
		"splats":           "a = b" + fill("[*]"),
		"index":            "a = b" + fill("[c]"),
		"dots":             "a = b" + fill(".c"),
		"ands":             limit("true " + fill("&&true")[:*hostile-300]),
		"scopes":           "a = " + fill("b::"),
		"heredoc":          "a = <<EOT\n" + fill("x\n"),
		"digits":           "a = " + fill("9"),
		"exponent":         limit("1e2147483647"),
		"labels":           fill("a "),
		"names":            fill("a\n"),
		"blocks":           fill("b{}\n"),
		"limits":           fill("rate_limit \"a\" {}\n"),
		"supervisors":      fill("rate_limit{}\n")[:*hostile/2] + "\n" + fill("supervisor{}\n")[:*hostile/3],
		"quotes":           fill(`"`),
		"noise":            fill("\x00\xff"),
		"equals":           fill("a = 1\n"),
		"commas":           "a = [" + fill("1,"),
		"addresses":        "listener \"a\" {\n  address = [" + fill("\"1.1.1.1:1\",") + "]\n}\n",
		"references":       fill("listener \"a\" {\n route \"r\" {\n upstream = \"uu\"\n}\n}\n"),
		"doubling text":    doubling + "}\n" + limit("local.a59"),
		"doubling request": wide + "}\n" + limit("local.a59"),
		"regexps":          route(` paths = "~(abcdefghij{100}){9}"`),
		"hosts":            route(` hosts = [` + strings.Repeat(`"a",`, *hostile/10) + `]`),
		"fields":           route(` request_headers {` + "\n" + ` set = {` + strings.Repeat(`a="",`, *hostile/10) + "}\n}\n"),
		"networks":         "listener \"a\" {\n trusted_proxies = [" + fill(`"10.0.0.0/8",`) + "]\n}\n",
		"servers":          "upstream \"a\" {\n" + fill("server \"1.1.1.1:1\" {\nbackup=true\n}\n") + "}\n",
		"discover":         "upstream \"a\" {\n" + fill("discover \"dns\" {\nname=\"a\"\nport=1\n}\n") + "}\n",
		"resolvers":        "upstream \"a\" {\ndiscover \"dns\" {\nport = 1\nname = \"a\"\nresolvers = [" + fill(`"1.1.1.1:1",`) + "]\n}\n}\n",
		"overrides":        strings.ReplaceAll(limit("client.ip"), "key", "overrides = {"+fill(`"a"="1/s",`)+"}\n  key"),
		"same routes":      route(` respond = {}`),
		"doubling names":   either + "}\n" + route(` upstream = local.a15`),
		"chain of locals":  "locals {\n" + strings.Repeat("x = local.x\n", 1000) + "}\n",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, _, err := load(t, text)
			if err == nil {
				t.Fatal("got no error")
			}
			if spent := time.Since(start); spent > 30*time.Second {
				t.Errorf("took %v", spent)
			} else {
				t.Logf("%v", spent)
			}
			if n := len(err.Error()); n > 1<<20 {
				t.Errorf("got an error of %d bytes", n)
			}
		})
	}
}
