package worker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
)

// mirrors returns an origin that answers each request with the request as it came.
func mirrors(name string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			dump, err := httputil.DumpRequest(req, true)
			if err != nil {
				return
			}
			if req.Method == "HEAD" {
				dump = nil
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nServer: %s\r\nX-Secret: 1\r\nContent-Length: %d\r\n\r\n%s", name, len(dump), dump)
		}
	}
}

// exchangeOf sends raw on a new connection and returns the response with its body.
func (p *proxy) exchangeOf(t *testing.T, raw string) (*http.Response, string) {
	t.Helper()
	c := p.dial(t)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// startRouted runs a worker whose listener has these routes.
func startRouted(t *testing.T, routes, rest string) *proxy {
	t.Helper()
	first, others, _ := strings.Cut(routes, "\n---\n")
	for i, r := range strings.Split(others, "\n---\n") {
		if r != "" {
			first += fmt.Sprintf("\n}\nroute \"r%d\" {\n%s", i+1, r)
		}
	}
	return startProxy(t, first, rest)
}

func TestRoutes(t *testing.T) {
	a, b := startOrigin(t, mirrors("a")), startOrigin(t, mirrors("b"))
	p := startRouted(t, `
hosts    = ["old.example.com"]
redirect = "https://${request.host}/new${request.path}"
---
paths   = ["/admin/*"]
respond = { status = 403, body = "no" }
---
hosts        = ["*.api.example.com"]
paths        = ["/v1/*"]
methods      = ["GET", "POST"]
strip_prefix = "/v1"
upstream     = request.header["x-canary"] == "1" ? "b" : "a"
---
when     = request.query["debug"] == "1"
upstream = "b"
---
hosts    = ["example.com"]
upstream = request.header["x-upstream"]
`, fmt.Sprintf("upstream \"a\" {\n servers = [%q]\n}\nupstream \"b\" {\n servers = [%q]\n}\n", a, b))
	for _, test := range []struct {
		name, line, fields string
		status             int
		server, contains   string
	}{
		{"redirect", "GET /x?y=1", "Host: old.example.com", 302, "", ""},
		{"respond", "GET /admin/x", "Host: example.com", 403, "", "no"},
		{"respond to another spelling", "GET //%61dmin/./x", "Host: example.com", 403, "", "no"},
		{"a path that climbs", "GET /y/%2e./x", "Host: nowhere", 400, "", "400 Bad Request"},
		{"stripped", "GET /v1/things?q=/v1/", "Host: eu.API.example.com:80", 200, "a", "GET /things?q=/v1/ HTTP/1.1\r\n"},
		{"stripped to nothing", "GET /v1/", "Host: eu.api.example.com", 200, "a", "GET / HTTP/1.1\r\n"},
		{"canary", "GET /v1/things", "Host: eu.api.example.com\r\nX-Canary: 1", 200, "b", "GET /things HTTP/1.1\r\n"},
		{"method of no route", "PUT /v1/things", "Host: eu.api.example.com", 404, "", "404 Not Found"},
		{"condition", "GET /?debug=1", "Host: nowhere", 200, "b", "GET /?debug=1 HTTP/1.1\r\n"},
		{"host of no route", "GET /", "Host: nowhere", 404, "", "404 Not Found"},
		{"upstream named", "GET /", "Host: example.com\r\nX-Upstream: b", 200, "b", "GET / "},
		{"upstream unknown", "GET /", "Host: example.com\r\nX-Upstream: c", 503, "", ""},
		{"upstream null", "GET /", "Host: example.com", 503, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := p.exchangeOf(t, test.line+" HTTP/1.1\r\n"+test.fields+"\r\n\r\n")
			if resp.StatusCode != test.status || resp.Header.Get("Server") != test.server || !strings.Contains(body, test.contains) {
				t.Errorf("got %d from %q: %q; want %d from %q with %q", resp.StatusCode, resp.Header.Get("Server"), body,
					test.status, test.server, test.contains)
			}
			if test.status == 302 {
				if got, want := resp.Header.Get("Location"), "https://old.example.com/new/x"; got != want {
					t.Errorf("location %q; want %q", got, want)
				}
			}
		})
	}
}

// A header that the client wrote cannot end the line that it is put into.
func TestHeaderOperations(t *testing.T) {
	p := startRouted(t, `
request_headers {
  set    = { "x-app" = lower(request.header["appid"]), "X-Forwarded-For" = "192.0.2.1", "x-path" = request.query["p"] }
  add    = { "x-tag" = "a", "x-none" = request.header["nothing"] }
  remove = ["x-internal", "User-Agent"]
}
response_headers {
  set    = { "x-status" = response.status, "x-server" = upstream.name }
  remove = ["x-secret", "server"]
}
upstream = "up"
`, upstreamOf(startOrigin(t, mirrors("a"))))
	resp, seen := p.exchangeOf(t, "GET /?p=%0d%0aEvil:+1 HTTP/1.1\r\nHost: a\r\nAppid: ONE\r\nX-App: forged\r\nX-Tag: b\r\nX-Internal: 1\r\nUser-Agent: me\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
	for _, want := range []string{"X-App: one\r\n", "X-Tag: b\r\n", "X-Tag: a\r\n", "X-Forwarded-For: 192.0.2.1\r\n"} {
		if !strings.Contains(seen, want) {
			t.Errorf("the server saw %q; want %q in it", seen, want)
		}
	}
	for _, never := range []string{"forged", "X-Internal", "User-Agent", "X-None", "6.6.6.6", "\nEvil"} {
		if strings.Contains(seen, never) {
			t.Errorf("the server saw %q; want no %q in it", seen, never)
		}
	}
	for name, want := range map[string]string{"X-Status": "200", "X-Server": "up", "X-Secret": "", "Server": ""} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("response field %s: %q; want %q", name, got, want)
		}
	}
}

func TestRequestTimeout(t *testing.T) {
	drip := func(c net.Conn) {
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			return
		}
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
		for err == nil {
			_, err = io.WriteString(c, strings.Repeat("x", 64))
			if _, e := c.Read(make([]byte, 1)); e != nil { // blocks: the client's end shows here
				return
			}
		}
	}
	p := startRouted(t, `
paths    = ["/slow"]
timeouts = { request = "200ms" }
upstream = "up"
---
timeouts = { first_byte = "100ms" }
upstream = "silent"
`, upstreamOf(startOrigin(t, drip))+fmt.Sprintf("upstream \"silent\" {\n servers = [%q]\n}\n", startOrigin(t, silent)))
	if got, want := p.ask(t, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"), "Content-Length: 1000000"; !strings.Contains(got, want) || len(got) > 2000 {
		t.Errorf("got %d bytes %.300q; want a response that is cut short", len(got), got)
	}
	if want := "request time-out"; !strings.Contains(p.log.String(), want) {
		t.Errorf("log %q; want %q in it", p.log, want)
	}
	if got, want := p.ask(t, closing), "HTTP/1.1 504 "; !strings.HasPrefix(got, want) {
		t.Errorf("got %q; want it to start with %q", got, want)
	}
}
