package config

import (
	"fmt"
	"testing"
)

// A subject is a request with the fields it holds; all else is missing.
type subject map[string][]byte

func (s subject) Value(v Var, name string) []byte {
	if v == Header || v == Query || v == Cookie || v == ResponseHeader {
		return s[fmt.Sprint(int(v))+name]
	}
	return s[fmt.Sprint(int(v))]
}

func set(v Var, name, value string) (string, []byte) {
	return fmt.Sprint(int(v)) + name, []byte(value)
}

// compileKey compiles an expression as the key of a rate limit.
func compileKey(t testing.TB, expr string) *Expr {
	t.Helper()
	t.Setenv("PROXYD_TEST_SET", "value")
	_, c, err := load(t, fmt.Sprintf(`
locals {
  app  = lower(request.header["appid"])
  word = "Word"
  office = ["10.0.0.0/8", "2001:db8::/32"]
}
listener "web" {
  address = ":8080"
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["10.0.0.1:80"]
}
rate_limit "a" {
  key  = %s
  rate = "1/s"
}
`, expr))
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return c.RateLimits[0].Key
}

func TestEval(t *testing.T) {
	s := subject{}
	for _, f := range []struct {
		v           Var
		name, value string
	}{
		{Header, "appid", "ACME"},
		{Header, "empty", ""},
		{Cookie, "Session", "c00kie"},
		{Query, "a", "1"},
		{Method, "", "GET"},
		{Scheme, "", "https"},
		{Host, "", "example.com"},
		{Path, "", "/v1/x"},
		{URI, "", "/v1/x?a=1"},
		{ClientIP, "", "192.0.2.1"},
		{ClientPort, "", "4711"},
		{Proto, "", "HTTP/1.1"},
		{ListenerName, "", "web"},
		{RouteName, "", "all"},
		{RequestID, "", "4f2a"},
		{Header, "ip4", "10.1.2.3"},
		{Header, "ip6", "2001:db8:1:2:3::4"},
		{Header, "mapped", "::ffff:10.1.2.3"},
	} {
		k, v := set(f.v, f.name, f.value)
		s[k] = v
	}
	const null = "(null)"
	cases := []struct{ expr, want string }{
		{`request.header["appid"]`, "ACME"},
		{`request.header["AppID"]`, "ACME"},
		{`request.header.appid`, "ACME"},
		{`request.header["none"]`, null},
		{`request.header["empty"]`, ""},
		{`request.cookie["Session"]`, "c00kie"},
		{`request.cookie["session"]`, null},
		{`request.query["a"]`, "1"},
		{`request.method`, "GET"},
		{`request.scheme`, "https"},
		{`request.host`, "example.com"},
		{`request.path`, "/v1/x"},
		{`request.uri`, "/v1/x?a=1"},
		{`request.proto`, "HTTP/1.1"},
		{`client.ip`, "192.0.2.1"},
		{`client.port`, "4711"},
		{`listener.name`, "web"},
		{`route.name`, "all"},
		{`"constant"`, "constant"},
		{`""`, ""},
		{`5`, "5"},
		{`-1.5`, "-1.5"},
		{`true`, "true"},
		{`local.app`, "acme"},
		{`local.word`, "Word"},
		{`upper(local.word)`, "WORD"},
		{`upper(lower("äÄzZ@[` + "`" + `{"))`, "äÄZZ@[`{"},
		{`lower(request.header["none"])`, null},
		{`lower(request.header["empty"])`, ""},
		{`coalesce(request.header["none"], request.header["empty"], "x")`, ""},
		{`coalesce(request.header["none"], lower("X"))`, "x"},
		{`coalesce(request.header["none"], null)`, null},
		{`env("PROXYD_TEST_SET")`, "value"},
		{`coalesce(env("PROXYD_TEST_UNSET"), "default")`, "default"},
		{`"${request.host}-${client.ip}"`, "example.com-192.0.2.1"},
		{`"${lower(request.header["appid"])}${upper(request.host)}${local.app}"`, "acmeEXAMPLE.COMacme"},
		{`"a${request.header["none"]}b"`, null},
		{`"${request.header["empty"]}${request.header["empty"]}"`, ""},
		{`"${request.host}"`, "example.com"},
		{`"${client.port}:${true}:${5}"`, "4711:true:5"},
		{`"$${x} %%{y}"`, "${x} %{y}"},
		{`"%{ if request.method == "GET" }r%{ else }w%{ endif }/${client.ip}"`, "r/192.0.2.1"},
		{`request.method == "GET"`, "true"},
		{`request.method != "GET"`, "false"},
		{`request.header["none"] == null`, "true"},
		{`null == request.header["empty"]`, "false"},
		{`request.header["none"] == ""`, "false"},
		{`request.header["empty"] == ""`, "true"},
		{`request.header["none"] == request.header["nine"]`, "true"},
		{`request.header["none"] != "x"`, "true"},
		{`client.port == 4711`, "true"},
		{`lower(request.header["appid"]) == lower("Acme")`, "true"},
		{`lower(request.host) == upper(request.host)`, "false"},
		{`"a" == "a" && 1 != 2`, "true"},
		{`(request.method == "GET") == (request.path == "/")`, "false"},
		{`!starts_with(request.path, "/v1/")`, "false"},
		{`starts_with(request.header["none"], "")`, "false"},
		{`ends_with(request.path, "/x") && client.ip == "192.0.2.1" || false`, "true"},
		{`true || request.method == "x"`, "true"},
		{`request.method == "x" || request.method == "y"`, "false"},
		{`request.method == "GET" ? client.ip : null`, "192.0.2.1"},
		{`request.method == "PUT" ? client.ip : null`, null},
		{`request.method == "PUT" ? false : request.path == "/v1/x"`, "true"},
		{`request.method == "PUT" ? false : request.path`, "/v1/x"},
		{`true ? client.ip : "x"`, "192.0.2.1"},
		{`request.id`, "4f2a"},
		{`client.port == 4711.0`, "true"},
		{`client.port != 4711`, "false"},
		{`client.port == "4711"`, "true"},
		{`client.port < 4711`, "false"},
		{`client.port <= 4711 && client.port >= 4711`, "true"},
		{`client.port > -1 && 5000 > client.port`, "true"},
		{`1 < 2 && 10 > 9 && 1 >= 1.0 && !(2 <= 1)`, "true"},
		{`(request.method == "PUT" ? 1 : client.port) > 4000`, "true"},
		{`client.port == null`, "false"},
		{`cidr_match(client.ip, "192.0.2.0/24")`, "true"},
		{`cidr_match(client.ip, ["10.0.0.0/8", "192.0.2.1"])`, "true"},
		{`cidr_match(client.ip, local.office)`, "false"},
		{`cidr_match(request.header["ip4"], local.office)`, "true"},
		{`cidr_match(request.header["mapped"], local.office)`, "true"},
		{`cidr_match(request.header["ip6"], local.office)`, "true"},
		{`cidr_match(request.header["ip6"], [])`, "false"},
		{`cidr_match(request.header["none"], local.office)`, "false"},
		{`cidr_match(request.host, ["0.0.0.0/0", "::/0"])`, "false"},
		{`cidr_match("10.0.0.1", local.office)`, "true"},
		{`ip_prefix(request.header["ip4"], 24)`, "10.1.2.0/24"},
		{`ip_prefix(request.header["mapped"], 8)`, "10.0.0.0/8"},
		{`ip_prefix(request.header["ip6"], 24)`, "2001:db8:1:2::/64"},
		{`ip_prefix(request.header["ip6"], 24, 32)`, "2001:db8::/32"},
		{`ip_prefix(request.header["none"], 24)`, null},
		{`ip_prefix(request.host, 24)`, null},
		{`ip_prefix("10.1.2.3", 16)`, "10.1.0.0/16"},
		{`ip_prefix(lower(request.header["ip4"]), 0)`, "0.0.0.0/0"},
		{`regex_match(request.path, "^/v[0-9]+/")`, "true"},
		{`regex_match(request.path, "^v")`, "false"},
		{`regex_match(request.header["none"], "^")`, "false"},
		{`regex_match(request.header["empty"], "^$")`, "true"},
		{`regex_match("abc", "b")`, "true"},
		{`hash(request.host)`, "9591d6421994d599"},
		{`hash("example.com")`, "9591d6421994d599"},
		{`hash(request.header["empty"])`, "efd01f60ba992926"},
		{`hash(request.header["none"])`, null},
		{`hash(request.header["none"], 10)`, null},
		{`hash(request.host, 1)`, "0"},
		{`hash(request.host, 1000)`, "584"},
		{`hash(request.host, 100) < 100 && hash(request.host, 100) >= 0`, "true"},
		{`hash(request.header["none"], 10) < 10`, "false"},
		{`sample(1)`, "true"},
		{`sample(0)`, "false"},
		{`!sample(0) && true`, "true"},
		{"<<EOT\nline ${client.ip}\nEOT\n", "line 192.0.2.1\n"},
	}
	var buf []byte
	for _, c := range cases {
		t.Run(c.expr, func(t *testing.T) {
			e := compileKey(t, c.expr)
			for range 2 { // the second time buf has room and old bytes
				buf = buf[:0]
				got := e.Eval(s, &buf)
				if text := string(got); (got == nil) != (c.want == null) || got != nil && text != c.want {
					t.Errorf("got %q (null: %v); want %q", text, got == nil, c.want)
				}
			}
		})
	}
	if k, v := set(Header, "appid", "ACME"); string(s[k]) != string(v) {
		t.Errorf("an evaluation changed the request: %q", s[k])
	}
}

// one is a subject that allocates nothing.
type one struct{ value []byte }

func (o *one) Value(Var, string) []byte { return o.value }

func TestEvalAllocatesNothing(t *testing.T) {
	for _, value := range []string{"Value", "10.1.2.3", "2001:db8::1", "4711", ""} {
		evalAllocatesNothing(t, &one{[]byte(value)})
	}
	evalAllocatesNothing(t, &one{})
}

func evalAllocatesNothing(t *testing.T, s *one) {
	t.Helper()
	for _, expr := range []string{
		`request.header["appid"]`,
		`request.header["a"] == "x" && request.header["b"] != null || !ends_with(client.ip, "1") ? client.ip : null`,
		`"${lower(request.header["a"])}-${upper(coalesce(request.query["b"], "none"))}"`,
		`request.method == "GET"`,
		`client.port < 1024 || client.port == 4711 || client.port != null`,
		`cidr_match(client.ip, ["10.0.0.0/8"]) || regex_match(request.path, "^/v[0-9]+/x") || sample(0.5) ? "a" : "b"`,
		`coalesce(ip_prefix(client.ip, 24), "none")`,
		`ip_prefix("${request.header["a"]}", 24)`,
		`"${hash(client.ip)}${hash(lower(client.ip), 100)}"`,
		`hash(client.ip, 100) < 50`,
	} {
		e := compileKey(t, expr)
		buf := make([]byte, 0, 64)
		if n := testing.AllocsPerRun(100, func() {
			buf = buf[:0]
			e.Eval(s, &buf)
		}); n != 0 {
			t.Errorf("%s on %q: got %v allocations; want 0", expr, s.value, n)
		}
	}
}

func BenchmarkEval(b *testing.B) {
	s := &one{[]byte("Value")}
	for _, expr := range []string{
		`request.header["appid"]`,
		`request.header["a"] == "x" && client.ip != "1" ? client.ip : null`,
		`"${lower(request.header["a"])}-${client.ip}"`,
	} {
		e := compileKey(b, expr)
		b.Run(expr, func(b *testing.B) {
			buf := make([]byte, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				buf = buf[:0]
				e.Eval(s, &buf)
			}
		})
	}
}
