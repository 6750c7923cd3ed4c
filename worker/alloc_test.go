package worker

import (
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
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	origin := startOrigin(t, answers(okResponse))
	p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"per_app\"]", upstreamOf(origin, startOrigin(t, answers(okResponse)))+limitByApp)
	c := p.dial(t)
	request := []byte(getRequest)
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
