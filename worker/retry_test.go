package worker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
)

// reads returns an origin that reads a whole request and answers it with what
// answer returns; "" is a reset.
func reads(answer func(req *http.Request, body string) string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			out := answer(req, string(body))
			if out == "" {
				_ = c.(*net.TCPConn).SetLinger(0)
				return
			}
			if _, err := io.WriteString(c, out); err != nil {
				return
			}
		}
	}
}

func echo(req *http.Request, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s %s", len(req.Method)+1+len(body), req.Method, body)
}

func constant(s string) func(*http.Request, string) string {
	return func(*http.Request, string) string { return s }
}

const unavailable = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"

// A request goes to another server if that cannot repeat its effect, and not
// otherwise.
func TestRetry(t *testing.T) {
	long := strings.Repeat("x", maxInHand+1)
	for _, test := range []struct {
		name, retry, method, body, bad string
		want                           int
	}{
		{"reset, by default", "", "GET", "", "", 200},
		{"reset of a PUT with a body", "", "PUT", "abc", "", 200},
		{"reset of a PUT with the longest body", "", "PUT", long[1:], "", 200},
		{"reset of a PUT with a body too long to keep", "", "PUT", long, "", 502},
		{"reset of a POST", "", "POST", "abc", "", 502},
		{"reset, not asked for", `retry = { on = ["connect"] }`, "GET", "", "", 502},
		{"reset, one attempt", `retry = { attempts = 1 }`, "GET", "", "", 502},
		{"reset, no budget", `retry = { budget = "0%" }`, "GET", "", "", 502},
		{"status, not asked for", "", "GET", "", unavailable, 503},
		{"status", `retry = { on = ["503"] }`, "GET", "", unavailable, 200},
		{"status for a PUT with a body", `retry = { on = ["503"] }`, "PUT", "abc", unavailable, 200},
		{"status for a POST", `retry = { on = ["503"] }`, "POST", "abc", unavailable, 503},
		{"another status", `retry = { on = ["502"] }`, "GET", "", unavailable, 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			var hits atomic.Int64
			bad := startOrigin(t, reads(func(*http.Request, string) string {
				hits.Add(1)
				return test.bad
			}))
			p := startProxy(t, "upstream = \"up\"\n"+test.retry, upstreamOf(bad, startOrigin(t, reads(echo))))
			raw := fmt.Sprintf("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", test.method, len(test.body), test.body)
			for range 4 { // half of them go to the bad one first
				before := hits.Load()
				resp, body := p.exchangeOf(t, raw)
				if hits.Load() == before {
					continue
				}
				if resp.StatusCode != test.want {
					t.Fatalf("got %d %.100q; want %d", resp.StatusCode, body, test.want)
				}
				if test.want == 200 && body != test.method+" "+test.body {
					t.Fatalf("the other server got %d bytes %.100q; want all of the request", len(body), body)
				}
			}
			if hits.Load() == 0 {
				t.Fatal("no request came to the bad server")
			}
			if got := p.shared.Counters[shm.Retries].Load() > 0; got != (test.want == 200) {
				t.Errorf("counted as a retry: %v; want %v", got, !got)
			}
		})
	}
}

// What the last server says goes to the client when there is no other.
func TestRetryEnds(t *testing.T) {
	busy := func() string { return startOrigin(t, reads(constant(unavailable))) }
	p := startProxy(t, "upstream = \"up\"\nretry = { attempts = 3, on = [\"503\"] }", upstreamOf(busy(), busy()))
	resp, body := p.exchangeOf(t, getRequest)
	if resp.StatusCode != 503 || body != "busy" {
		t.Errorf("got %d %q; want the server's own 503", resp.StatusCode, body)
	}
	if got, want := p.shared.Counters[shm.Retries].Load(), uint64(1); got != want {
		t.Errorf("%d retries; want %d", got, want)
	}
}

// All servers failing at once must not multiply the load on them.
func TestRetryBudget(t *testing.T) {
	var hits atomic.Int64
	busy := func() string {
		return startOrigin(t, reads(func(*http.Request, string) string { hits.Add(1); return unavailable }))
	}
	p := startProxy(t, "upstream = \"up\"\nretry = { on = [\"503\"], budget = \"10%\" }", upstreamOf(busy(), busy()))
	c := p.dial(t)
	r := bufio.NewReader(c)
	const requests = 2000
	for range requests {
		if _, err := io.WriteString(c, getRequest); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	if got, most := hits.Load(), int64(requests*110/100+100); got > most || got < requests+100 {
		t.Errorf("%d requests of clients became %d at the servers; want at most %d", requests, got, most)
	}
}
