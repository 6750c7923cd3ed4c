package worker

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
)

const (
	okResponse = "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
	getRequest = "GET /path?query=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\nappid: one\r\n\r\n"
	dateLine   = "Date: Sun, 22 Nov 2026 18:42:52 GMT\r\n"
	limitByApp = "rate_limit \"per_app\" {\n key = request.header[\"appid\"]\n rate = \"100000000/s\"\n}\n"
)

// roundTrips sends n requests on c, one after the other.
func roundTrips(tb testing.TB, c net.Conn, request []byte, n int) {
	buf := make([]byte, 4096)
	for range n {
		if _, err := c.Write(request); err != nil {
			tb.Fatal(err)
		}
		if k, err := io.ReadAtLeast(c, buf, len(okResponse)+len(dateLine)); err != nil {
			tb.Fatalf("response of %d bytes: %v: %q", k, err, buf[:k])
		}
	}
}

// A forwarded request allocates nothing in the steady state: neither in the
// loop, nor in the parser, the limiter, the balancer or the relay.
func TestForwardAllocatesNothing(t *testing.T) {
	origin := startOrigin(t, answers(okResponse))
	p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"per_app\"]", upstreamOf(origin, startOrigin(t, answers(okResponse)))+limitByApp)
	p.allocatesNothing(t, getRequest)
}

// Nor does whatever a route can be told to do.
func TestRoutedAllocatesNothing(t *testing.T) {
	p, _ := startLogged(t, `
hosts        = ["*.example.org"]
upstream     = "up"
}
route "chosen" {
hosts        = ["*.com"]
paths        = ["/p?th/*", "/path", "~^/never"]
methods      = ["GET"]
when         = !cidr_match(client.ip, ["203.0.113.0/24"]) && regex_match(request.host, "^ex") && hash(client.ip, 100) < 100
strip_prefix = "/path"
rate_limit   = ["per_app"]
timeouts     = { request = "30s" }
retry        = { attempts = 2, on = ["connect", "503"] }
upstream     = request.header["x-canary"] == "1" ? "none" : "up"
request_headers {
  set    = { "x-request-id" = request.id, "x-app" = lower(request.header["appid"]), "x-net" = ip_prefix(client.ip, 8) }
  remove = ["user-agent"]
}
response_headers {
  set = { "server" = "${upstream.name} ${response.status}" }
}
}
trusted_proxies = ["127.0.0.0/8"]
limits = {
headers = 100`, upstreamOf(startOrigin(t, answers(okResponse)))+limitByApp+`
upstream "none" { servers = ["127.0.0.1:1"] }
access_log "json" { output = "FOLDER/json.log" }
access_log "combined" {
  output = "FOLDER/combined.log"
  when   = response.status < 400
}
access_log "text" {
  output = "FOLDER/text.log"
  format = "${client.ip} ${time.iso8601} ${response.duration} ${upstream.address} ${response.header["content-type"]}"
}
`)
	p.allocatesNothing(t, "GET /path/x HTTP/1.1\r\nHost: Example.com:80\r\nUser-Agent: test\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.1\r\nappid: ONE\r\n\r\n")
}

// Nor do the policies, nor limits of all kinds.
func TestBalancedAllocatesNothing(t *testing.T) {
	servers := []string{startOrigin(t, answers(okResponse)), startOrigin(t, answers(okResponse)), startOrigin(t, answers(okResponse))}
	const limits = limitByApp + `
rate_limit "per_ip" {
  key       = client.ip
  rate      = "10000000/s"
  algorithm = "window"
  headers   = "ietf"
}
rate_limit "even" {
  key       = request.host
  rate      = "10000000/s"
  algorithm = "gcra"
}
rate_limit "rehearsed" {
  key     = "${client.ip} ${request.host}"
  rate    = "1/h"
  dry_run = true
}
concurrency_limit "at_once" {
  key = client.ip
  max = 10
}
`
	for _, policy := range []string{"random", "least_request", "p2c", "ewma", "maglev", "ketama"} {
		t.Run(policy, func(t *testing.T) {
			balance := fmt.Sprintf("policy = %q\n limits = { connections = 1000 }\n eject = { errors = 5 }\n slow_start = \"1s\"", policy)
			if policy == "maglev" || policy == "ketama" {
				balance += "\n hash_key = \"${request.path} ${client.ip}\""
			}
			p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"per_app\", \"per_ip\", \"even\", \"rehearsed\", \"at_once\"]", balanced(balance, servers...)+limits)
			p.allocatesNothing(t, getRequest)
		})
	}
}

func (p *proxy) allocatesNothing(t *testing.T, raw string) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c := p.dial(t)
	request := []byte(raw)
	roundTrips(t, c, request, 200) // fill the pools

	const requests = 5000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	roundTrips(t, c, request, requests)
	runtime.ReadMemStats(&after)
	// What is left is the test's own and the runtime's: a handful, whatever
	// the number of requests.
	if got := after.Mallocs - before.Mallocs; got > requests/100 {
		t.Errorf("%d allocations for %d requests; want none per request", got, requests)
	}
}
