package worker

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/http2"
)

// speaking makes the upstream speak a protocol: for upstreamOf.
func speaking(protocol, upstream string) string {
	return strings.Replace(upstream, "{\n", fmt.Sprintf("{\n protocol = %q\n", protocol), 1)
}

// tlsTo is the TLS of an upstream.
func (a *authority) tlsTo() string {
	return fmt.Sprintf("tls {\n sni = \"x.test\"\n ca = %q\n}\n", a.ca)
}

// startTLS runs an origin for tricky over TLS that agrees to these protocols.
func (a *authority) startTLS(t testing.TB, agrees ...string) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{a.pair}, NextProtos: agrees})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(tricky)}
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

func TestHTTP2Upstream(t *testing.T) {
	a := newAuthority(t)
	for _, c := range []struct{ name, rest string }{
		{"h2c", speaking("h2c", upstreamOf(startTricky(t)))},
		{"h2", speaking("h2", strings.Replace(upstreamOf(a.startTLS(t, "h2", "http/1.1")), "{\n", "{\n"+a.tlsTo(), 1))},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startProxy(t, listensH2C(`upstream = "up"`), c.rest)
			client := newHTTP2Client(t, nil)
			base := "http://" + p.addr
			checkShapes(t, client, base, fmt.Sprintf("GET %s 2.0 proxyd http", p.addr), "9")
			checkMany(t, client, base)
			if got := p.shared.Counters[shm.UpstreamConnects].Load(); got != 1 {
				t.Errorf("connections to the server: got %d; want 1 for 50 requests at once", got)
			}
			// From HTTP/1.1, too.
			got := p.ask(t, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\nX-Sent: 1\r\n\r\n")
			if !strings.Contains(got, "hello") || !strings.Contains(strings.ToLower(got), "x-sum: 5\r\n") {
				t.Errorf("HTTP/1.1: got %q; want the echo and its trailer", got)
			}
			// Nothing is written for a connection that carries nothing.
			p.await(t, "the connection is parked", func() bool {
				for _, pool := range p.current.upstreams[0].conns {
					return pool.quietLinks.Len() == 1
				}
				return false
			})
			fetch(t, client, "GET", base+"/", nil)
			if t.Failed() || strings.Contains(p.log.String(), "bug") {
				t.Error(p.log)
			}
		})
	}
}

// checkMany sends 50 requests at once.
func checkMany(t *testing.T, c *http.Client, base string) {
	t.Helper()
	size := 300 << 10
	if raceEnabled {
		size /= 10 // else the time-outs of a second are too short
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			resp, err := c.Post(base+"/echo", "", bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if n, err := io.Copy(io.Discard, resp.Body); n != int64(size) || err != nil {
				t.Errorf("one of many: got %d bytes, %v", n, err)
			}
		})
	}
	all.Wait()
}

// A server that agrees to HTTP/1.1 only is spoken to in that.
func TestHTTP2UpstreamFallsBack(t *testing.T) {
	a := newAuthority(t)
	for _, agrees := range [][]string{{"http/1.1"}, nil} {
		p := startProxy(t, `upstream = "up"`, speaking("h2", strings.Replace(upstreamOf(a.startTLS(t, agrees...)), "{\n", "{\n"+a.tlsTo(), 1)))
		for range 3 {
			gets(t, p.dial(t), "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		}
		if got := p.shared.Counters[shm.UpstreamReuses].Load(); got < 2 {
			t.Errorf("%q: requests on a used connection: got %d; want 2", agrees, got)
		}
	}
}

// serveHTTP2 is the server's side of nc: a request is there when open is called.
func serveHTTP2(nc net.Conn, open func(*http2.Conn, *http2.Stream)) {
	var c *http2.Conn
	c = http2.NewServer(nil, func(s *http2.Stream) { open(c, s) })
	b, have := make([]byte, 32<<10), 0
	for {
		if _, err := nc.Write(c.Output()); err != nil || c.Closed() {
			return
		}
		c.Sent(len(c.Output()))
		n, err := nc.Read(b[have:])
		if err != nil {
			return
		}
		have += n
		n, _ = c.Receive(b[:have])
		have = copy(b, b[n:have])
	}
}

// leaving returns an origin of HTTP/2 whose first connections refuse one request
// each. The others are answered.
func leaving(t testing.TB, connections int32, refuse func(net.Conn, *http2.Stream)) string {
	var left atomic.Int32
	left.Store(connections)
	return startOrigin(t, func(nc net.Conn) {
		refusing := left.Add(-1) >= 0
		serveHTTP2(nc, func(_ *http2.Conn, s *http2.Stream) {
			if refusing {
				refusing = false
				refuse(nc, s)
				return
			}
			_, _ = s.TryWrite([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"))
			s.Close()
		})
	})
}

// What a server has not looked at is sent again, whatever it asks for.
func TestRefusedRequestsAreSentAgain(t *testing.T) {
	const goAway = "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" // nothing was looked at
	reset := func(_ net.Conn, s *http2.Stream) { s.Reset(http2.RefusedStream); s.Close() }
	for name, refuse := range map[string]func(net.Conn, *http2.Stream){
		"REFUSED_STREAM": reset,
		"GOAWAY":         func(nc net.Conn, _ *http2.Stream) { _, _ = io.WriteString(nc, goAway) },
	} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, `upstream = "up"`, speaking("h2c", upstreamOf(leaving(t, 2, refuse))))
			for range 4 {
				gets(t, p.dial(t), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
				gets(t, p.dial(t), "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		server := startOrigin(t, func(nc net.Conn) {
			serveHTTP2(nc, func(_ *http2.Conn, s *http2.Stream) { reset(nc, s) })
		})
		p := startProxy(t, `upstream = "up"`, speaking("h2c", upstreamOf(server)))
		if got := p.ask(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 502 ") {
			t.Errorf("got %q; want 502", got)
		}
	})
}

// A WebSocket goes through HTTP/2 on both sides.
func TestTunnelOverHTTP2(t *testing.T) {
	a := newAuthority(t)
	origin := upstreamOf(startOrigin(t, switches(t, "welcome ", func(r *bufio.Reader, c net.Conn) {
		all, err := io.ReadAll(r) // to the client's end
		fmt.Fprintf(c, "%s %v", all, err)
	}))) + "supervisor {\n via = \"inner\"\n}\n"
	inner := startProxy(t, listensH2C(`upstream = "up"`), origin)
	secure := startProxy(t, withCA(a.listens("", ""), ""), origin)
	for name, rest := range map[string]string{
		"h2c": speaking("h2c", upstreamOf(inner.addr)),
		"h2":  speaking("h2", strings.Replace(upstreamOf(secure.addr), "{\n", "{\n"+a.tlsTo(), 1)),
	} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, `upstream = "up"`, rest)
			for range 3 {
				r, c := p.open(t, "early ")
				if _, err := io.WriteString(c, "late"); err != nil {
					t.Fatal(err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if want := "welcome early late <nil>"; string(got) != want || err != nil {
					t.Errorf("client read %q, %v; want %q", got, err, want)
				}
			}
			if got := p.shared.Counters[shm.UpstreamConnects].Load(); got != 1 {
				t.Errorf("connections: got %d; want 1", got)
			}
		})
	}
}

// Where the server takes none over HTTP/2, it takes the WebSocket over HTTP/1.1.
func TestTunnelBesideHTTP2(t *testing.T) {
	a := newAuthority(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{a.pair}, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, r.Proto)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(rw, switching, "by ", r.Proto)
		_ = rw.Flush()
	})}
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close() })
	p := startProxy(t, `upstream = "up"`, speaking("h2", strings.Replace(upstreamOf(ln.Addr().String()), "{\n", "{\n"+a.tlsTo(), 1)))
	if got := p.ask(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(got, "HTTP/2.0") {
		t.Errorf("a request: got %q; want it by HTTP/2", got)
	}
	r, _ := p.open(t, "")
	if got, _ := io.ReadAll(r); string(got) != "by HTTP/1.1" {
		t.Errorf("a WebSocket: got %q; want it by HTTP/1.1", got)
	}
}
