package worker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

const closing = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"

// says returns an origin that reads a request head, says text and closes.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			_, _ = io.WriteString(c, text)
		}
	}
}

func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// What a server does wrong becomes a status of ours, or a response that is
// visibly broken; the log says why.
func TestServerFaults(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
	tests := []struct {
		name   string
		origin func(net.Conn)
		want   string // the start of what the client gets
		log    string
	}{
		{"closes at once", func(net.Conn) {}, "HTTP/1.1 502 Bad Gateway\r\n", "response"}, // an end or a reset
		{"closes after the request", says(""), "HTTP/1.1 502 Bad Gateway\r\n", "without a response"},
		{"closes in the head", says("HTTP/1.1 200 OK\r\nContent-"), "HTTP/1.1 502 Bad Gateway\r\n", "without a response"},
		{"garbage", says("hello world\r\n\r\n"), "HTTP/1.1 502 Bad Gateway\r\n", "status line"},
		{"two lengths", says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "HTTP/1.1 502 Bad Gateway\r\n", "more than one content-length"},
		{"both framings", says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "HTTP/1.1 502 Bad Gateway\r\n", "together"},
		{"switches protocols", says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "HTTP/1.1 502 Bad Gateway\r\n", "unasked"},
		{"bad first chunk", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "HTTP/1.1 502 Bad Gateway\r\n", "chunk size"},
		{"head too large", says("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxResponseHead) + "\r\n\r\n"), "HTTP/1.1 502 Bad Gateway\r\n", "too large"},
		{"endless interim responses", says(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100)), strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxInterim) + "HTTP/1.1 502", "interim"},
		{"never answers", silent, "HTTP/1.1 504 Gateway Timeout\r\n", "first_byte"},
		{"short body", says(head + "12345"), "HTTP/1.1 200 OK\r\n", "before the end of the body"},
		{"stalls in the body", func(c net.Conn) { _, _ = io.WriteString(c, head+"12345"); silent(c) }, "HTTP/1.1 200 OK\r\n", "body_idle"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, test.origin)))
			got := p.ask(t, closing)
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("client got %q; want it to start with %q", got, test.want)
			}
			if strings.HasSuffix(got, "12345") != strings.HasSuffix(test.name, "body") {
				t.Errorf("client got %q; want the part of the body that came, and no more", got)
			}
			if !strings.Contains(p.log.String(), test.log) {
				t.Errorf("log %q; want %q in it", p.log, test.log)
			}
		})
	}
}

func TestNoServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // nobody listens there now
	p := startProxy(t, `upstream = "up"`, upstreamOf(ln.Addr().String()))
	if got, want := p.ask(t, closing), "HTTP/1.1 502 "; !strings.HasPrefix(got, want) {
		t.Errorf("client got %q; want it to start with %q", got, want)
	}
	if want := "connection refused"; !strings.Contains(p.log.String(), want) {
		t.Errorf("log %q; want %q in it", p.log, want)
	}
}

// A server that closes kept-alive connections without a word causes no error:
// requests that find such a connection are sent on another.
func TestConnectionsThatDieInThePool(t *testing.T) {
	var served atomic.Int64
	origin := startOrigin(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			served.Add(1)
			_, _ = io.WriteString(c, okResponse)
		}
	})
	p := startProxy(t, `upstream = "up"`, upstreamOf(origin))
	c := p.dial(t)
	const requests = 300
	roundTrips(t, c, []byte(getRequest), requests)
	if got := served.Load(); got != requests {
		t.Errorf("the server answered %d requests; want %d", got, requests)
	}
}

func TestRequestRefused(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, answers(okResponse))))
	for _, test := range []struct{ name, request, want string }{
		{"no host", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
		{"head too large", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 40<<10), "HTTP/1.1 431 "},
		{"target too long", "GET /" + strings.Repeat("x", 9<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 414 "},
		{"half a head", "GET / HTTP/1.1\r\nHos", "HTTP/1.1 408 "},
		{"body cut off by silence", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123", "HTTP/1.1 "}, // the origin answers early
		{"bad chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "},
		{"connect", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "HTTP/1.1 405 "},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := p.ask(t, test.request); !strings.HasPrefix(got, test.want) {
				t.Errorf("client got %q; want it to start with %q", got, test.want)
			}
		})
	}
}

// A refused HEAD request is answered without a body all the same.
func TestRefusedHead(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, answers(okResponse))))
	for _, request := range []string{
		"HEAD / HTTP/1.1\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "\r\nHEAD / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
	} {
		if got := p.ask(t, request); !strings.HasPrefix(got, "HTTP/1.1 4") || !strings.HasSuffix(got, "\r\n\r\n") {
			t.Errorf("%q: got %q; want a 4xx without a body", request, got)
		}
	}
}

func TestPipelinedInOrder(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(req.Body)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s %s", len(req.URL.Path)+1+len(body), req.URL.Path, body)
		}
	})))
	var requests, want strings.Builder
	for i := range 50 {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&requests, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
			fmt.Fprintf(&want, "/%d ", i)
		case 1:
			fmt.Fprintf(&requests, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", i)
			fmt.Fprintf(&want, "/%d abc", i)
		case 2:
			fmt.Fprintf(&requests, "POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", i)
			fmt.Fprintf(&want, "/%d abc", i)
		}
	}
	c := p.dial(t)
	if _, err := io.WriteString(c, requests.String()+closing); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	var got strings.Builder
	for range 50 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&got, resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	if got.String() != want.String() {
		t.Errorf("bodies %q; want %q", got.String(), want.String())
	}
}

func TestRateLimit(t *testing.T) {
	p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"app\"]", upstreamOf(startOrigin(t, answers(okResponse)))+
		"rate_limit \"app\" {\n key = request.header[\"appid\"]\n rate = \"2/h\"\n}\n")
	c := p.dial(t)
	r := bufio.NewReader(c)
	ask := func(field string) *http.Response {
		t.Helper()
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", field)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for i, want := range []int{200, 200, 429, 429} {
		resp := ask("appid: one\r\n")
		if resp.StatusCode != want {
			t.Errorf("request %d: status %d; want %d", i, resp.StatusCode, want)
		}
		if want == 429 {
			for _, name := range []string{"X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset", "Retry-After"} {
				if resp.Header.Get(name) == "" {
					t.Errorf("request %d: no %s", i, name)
				}
			}
		}
	}
	for _, field := range []string{"", "appid: two\r\n"} {
		if resp := ask(field); resp.StatusCode != 200 {
			t.Errorf("request with %q: status %d; want 200", field, resp.StatusCode)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, silent)))
	p.configure(t, nil, "upstream = \"up\"\n}\nlimits = {\n body = \"4KiB\"", upstreamOf(startOrigin(t, silent)))
	for _, test := range []struct{ name, request string }{
		{"length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n"},
		{"chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + strings.Repeat("x", 5000) + "\r\n0\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, want := p.ask(t, test.request), "HTTP/1.1 413 "; !strings.HasPrefix(got, want) {
				t.Errorf("client got %q; want it to start with %q", got, want)
			}
		})
	}
}

// A head that stops half way leaves nothing behind for the next request on the
// same connection.
func TestHalfAHeadThenAWholeOne(t *testing.T) {
	var served atomic.Int64
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, func(c net.Conn) {
		if served.Add(1) == 1 {
			says("HTTP/1.1 200 OK\r\nX-Padding: " + strings.Repeat("x", 200))(c)
			return
		}
		answers(okResponse)(c)
	})))
	c := p.dial(t)
	// At once, so that the same exchange serves all of them.
	if _, err := io.WriteString(c, strings.Repeat(getRequest, 3)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for _, want := range []int{502, 200, 200} {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != want {
			t.Errorf("status %d, %v; want %d", resp.StatusCode, err, want)
		}
	}
}

// A client that could take the end of the connection for the end of the body is
// reset when the body is not complete.
func TestTruncatedForHTTP10(t *testing.T) {
	for _, head := range []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n12345",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
	} {
		p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, says(head))))
		c := p.dial(t)
		if _, err := io.WriteString(c, "GET / HTTP/1.0\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("client got %q, %v; want a reset", got, err)
		}
	}
}
