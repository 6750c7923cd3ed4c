package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// short is the time-out under test; what takes less than patience was cut by it.
const short = 300 * time.Millisecond

// timed returns an answer and checks that it came when the time-out had passed.
func timed(t *testing.T, c *client, method string) *answer {
	t.Helper()
	began := time.Now()
	a, err := c.receive(method)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < short*8/10 || took > short+5*time.Second {
		t.Errorf("got the answer after %v; want it after %v", took, short)
	}
	return a
}

func TestAClientThatStalls(t *testing.T) {
	p := newProxy(t)
	o := newOrigin(t, "origin", "", nil, nil)
	p.write(site{servers: []string{o.address}, listener: `timeouts = { header = "300ms", body_idle = "300ms", idle = "300ms" }`})
	p.start()
	for _, test := range []struct {
		name, sent string
		status     int // 0: closed without an answer
	}{
		{"in its head", "GET / HTTP/1.1\r\nHost: te", http.StatusRequestTimeout},
		{"in its body", request(http.MethodPost, "/", "", "Content-Length: 100") + "some of it", http.StatusRequestTimeout},
		{"in its chunks", request(http.MethodPost, "/", "", "Transfer-Encoding: chunked") + "5\r\nhel", http.StatusRequestTimeout},
		{"before its head", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := connect(t, p.address)
			if err := c.send(test.sent); err != nil {
				t.Fatal(err)
			}
			if test.status != 0 {
				timed(t, c, http.MethodPost).want(t, test.status)
			}
			if !c.closed(t) {
				t.Errorf("want the connection closed")
			}
		})
	}
	t.Run("between requests", func(t *testing.T) {
		c := connect(t, p.address)
		c.get(t, "/").want(t, http.StatusOK)
		if !c.closed(t) {
			t.Errorf("want the connection closed")
		}
	})
}

// A head has one time-out in all: bytes that trickle in do not prolong it.
func TestAHeadThatTricklesIn(t *testing.T) {
	p := newProxy(t)
	p.write(site{servers: []string{refused(t)}, listener: `timeouts = { header = "300ms" }`})
	p.start()
	c := connect(t, p.address)
	if err := c.send("GET / HTTP/1.1\r\nHost: test\r\n"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	defer func() { <-done }()
	go func() {
		defer close(done)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for range ticker.C {
			if _, err := io.WriteString(c.Conn, "X: y\r\n"); err != nil {
				return
			}
		}
	}()
	timed(t, c, http.MethodGet).want(t, http.StatusRequestTimeout)
	c.Close()
}

func TestAServerThatStalls(t *testing.T) {
	silent := serveRaw(t, hang)
	for _, test := range []struct {
		name, server, upstream string
	}{
		{"before its response", silent, `timeouts = { first_byte = "300ms" }`},
		{"in its handshake", silent, "timeouts = { tls = \"300ms\" }\n tls { sni = \"x.example\" }"},
		{"before it accepts", deaf(t), `timeouts = { connect = "300ms" }`},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t)
			p.write(site{servers: []string{test.server}, upstream: test.upstream})
			p.start()
			c := connect(t, p.address)
			if err := c.send(request(http.MethodGet, "/", "")); err != nil {
				t.Fatal(err)
			}
			timed(t, c, http.MethodGet).want(t, http.StatusGatewayTimeout)
		})
	}
}

// A response that stalls, or breaks off, must not look like a whole one.
func TestAResponseThatStaysShort(t *testing.T) {
	for _, test := range []struct {
		name, head string
		then       func(net.Conn)
	}{
		{"by length, stalls", "Content-Length: 100\r\n", hang},
		{"by length, ends", "Content-Length: 100\r\n", func(net.Conn) {}},
		{"in chunks, stalls", "Transfer-Encoding: chunked\r\n", hang},
		{"in chunks, ends", "Transfer-Encoding: chunked\r\n", func(net.Conn) {}},
		{"in chunks, reset", "Transfer-Encoding: chunked\r\n", abort},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t)
			server := serveRaw(t, func(c net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+test.head+"\r\n"+"5\r\nhello\r\n")
				test.then(c)
			})
			p.write(site{servers: []string{server}, upstream: `timeouts = { body_idle = "300ms" }`})
			p.start()
			c := connect(t, p.address)
			if err := c.send(request(http.MethodGet, "/", "")); err != nil {
				t.Fatal(err)
			}
			a, err := c.receive(http.MethodGet)
			if err == nil || a == nil || a.status != http.StatusOK || !strings.Contains(a.body, "hello") {
				t.Errorf("got %+v, %v; want 200, the first bytes, and an error", a, err)
			}
		})
	}
}
