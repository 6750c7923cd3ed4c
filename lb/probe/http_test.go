package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serveHTTP serves handler on address, of HTTP/1.1 or h2, until the test ends.
func serveHTTP(t *testing.T, network, address string, config *tls.Config, handler http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler, TLSConfig: config, Protocols: new(http.Protocols), ErrorLog: quiet}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	var wg sync.WaitGroup
	wg.Go(func() {
		if config != nil {
			_ = s.ServeTLS(l, "", "")
			return
		}
		_ = s.Serve(l)
	})
	t.Cleanup(func() { _ = s.Close(); wg.Wait() })
	if network == "unix" {
		return "unix:" + address
	}
	return l.Addr().String()
}

func TestHTTPStatus(t *testing.T) {
	server := func(w http.ResponseWriter, r *http.Request) {
		var status int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &status); err != nil {
			status = http.StatusOK
		}
		w.Header().Set("Location", "/500")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "hello")
	}
	address := serveHTTP(t, "tcp", "127.0.0.1:0", nil, server)
	not404 := func(status int) bool { return status != 404 }
	for _, c := range []struct {
		probe HTTP
		want  string
	}{
		{HTTP{}, ""},
		{HTTP{Path: "/200?full=1"}, ""},
		{HTTP{Path: "/399"}, ""},
		{HTTP{Path: "/302"}, ""}, // and /500 is not asked for
		{HTTP{Path: "/400"}, "HTTP status 400"},
		{HTTP{Path: "/503"}, "HTTP status 503"},
		{HTTP{Path: "/503", Expect: not404}, ""},
		{HTTP{Path: "/404", Expect: not404}, "HTTP status 404, not as expected"},
		{HTTP{Path: "/200", Expect: func(int) bool { return false }}, "HTTP status 200, not as expected"},
	} {
		text, why := verdict(t, 5*time.Second, c.probe.Probe, address)
		if text != c.want || why != c.want {
			t.Errorf("%q: got %q, reason %q; want %q", c.probe.Path, text, why, c.want)
		}
	}
	if text, _ := verdict(t, time.Second, (&HTTP{Path: "healthz"}).Probe, address); !strings.Contains(text, "path: ") {
		t.Errorf("path without a slash: got %q; want an error of the path", text)
	}
}

func TestHTTPAsksWhatItWasToldTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "http.sock")
	for _, c := range []struct{ network, listen, host, want string }{
		{"tcp", "127.0.0.1:0", "www.example.com", "www.example.com"},
		{"tcp", "127.0.0.1:0", "", "address"},
		{"unix", path, "", "localhost"},
	} {
		asked := make(chan string, 1)
		address := serveHTTP(t, c.network, c.listen, nil, func(_ http.ResponseWriter, r *http.Request) {
			asked <- fmt.Sprintf("%s %s %s %q %v", r.Method, r.RequestURI, r.Proto, r.Host, r.Close)
		})
		p := HTTP{Path: "/a%20b?c=d", Host: c.host}
		if text, _ := verdict(t, 5*time.Second, p.Probe, address); text != "" {
			t.Fatalf("%s: got %q; want it to pass", address, text)
		}
		want := fmt.Sprintf("GET /a%%20b?c=d HTTP/1.1 %q true", strings.Replace(c.want, "address", address, 1))
		if got := <-asked; got != want {
			t.Errorf("server was asked %s; want %s", got, want)
		}
	}
}

// What servers do that are out of order, or out to do harm.
func TestHTTPOfAServerOutOfOrder(t *testing.T) {
	write := func(text string) func(net.Conn) {
		return func(c net.Conn) { _, _ = io.WriteString(c, text) }
	}
	forever := func(first, next string) func(net.Conn) {
		return func(c net.Conn) {
			_, err := io.WriteString(c, first)
			more := strings.Repeat(next, 1+4096/len(next))
			for err == nil {
				_, err = io.WriteString(c, more)
			}
		}
	}
	hang := func(first string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, first)
			_, _ = io.Copy(io.Discard, c)
		}
	}
	reset := func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }
	for _, c := range []struct {
		name   string
		handle func(net.Conn)
		want   string // the reason
	}{
		{"silent", hang(""), "no answer in time"},
		{"head hangs", hang("HTTP/1.1 200 OK\r\nX: "), "no answer in time"},
		{"body hangs", hang("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), "no answer in time"},
		{"body hangs, but the status says enough", hang("HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\nabc"), "HTTP status 503"},
		{"closes", write(""), "connection closed early"},
		{"closes in the head", write("HTTP/1.1 200 OK\r\nX: "), "connection closed early"},
		{"closes in the body", write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), "connection closed early"},
		{"closes in a chunk", write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"), "connection closed early"},
		{"ends by closing", write("HTTP/1.1 200 OK\r\n\r\nabc"), ""},
		{"of old", write("HTTP/1.0 200 OK\r\n\r\nabc"), ""},
		{"resets", reset, "connection reset by peer"},
		{"of another protocol", write("SSH-2.0-OpenSSH_9.9\r\n"), "bad response"},
		{"long nonsense", forever("", "\x1b]0;x"), "bad response"},
		{"endless head", forever("HTTP/1.1 200 OK\r\n", "X: y\r\n"), "bad response"},
		{"endless line", forever("HTTP/1.1 200 OK\r\nX: ", "y"), "bad response"},
		{"endless body", forever("HTTP/1.1 200 OK\r\n\r\n", "x"), ""},
		{"endless chunks", forever("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"), ""},
		{"continues first", write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 204 OK\r\n\r\n"), ""},
		{"continues for ever", forever("", "HTTP/1.1 103 Hints\r\n\r\n"), "bad response"},
		{"switches", write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "HTTP status 101"},
		{"of TLS", write("\x15\x03\x01\x00\x02\x02\x46"), "bad response"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := serveConns(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
				var head [4]byte
				_, _ = io.ReadFull(conn, head[:]) // what comes unasked is another fault
				c.handle(conn)
				if c.name != "resets" {
					_ = conn.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, conn)
				}
			})
			limit := 20 * time.Second
			if c.want == "no answer in time" {
				limit = 200 * time.Millisecond
			}
			text, why := verdict(t, limit, (&HTTP{}).Probe, l.Addr().String())
			if why != c.want || len(text) > 250 {
				t.Errorf("got %q, reason %q; want reason %q and not much text", text, why, c.want)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	well := time.Now().Add(time.Hour)
	ok := func(_ http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && r.TLS.DidResume {
			t.Error("the session was resumed; want the certificate looked at each time")
		}
	}
	serve := func(config *tls.Config) string { return serveHTTP(t, "tcp", "127.0.0.1:0", config, ok) }
	good := serve(ours.server(t, "one.test", well))
	old := ours.server(t, "one.test", well)
	old.MaxVersion = tls.VersionTLS12
	modern := ours.client()
	modern.MinVersion = tls.VersionTLS13
	named := ours.client()
	named.ServerName = "two.test"
	silent := serveConns(t, "tcp", "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })

	for _, c := range []struct {
		name, address, host string
		config              *tls.Config
		want                string
	}{
		{"by name", good, "one.test", ours.client(), ""},
		{"by address", good, "", ours.client(), ""},
		{"of another name", good, "two.test", ours.client(), "certificate for another name"},
		{"of another SNI", good, "one.test", named, "certificate for another name"},
		{"of another authority", good, "one.test", other.client(), "certificate not trusted"},
		{"expired", serve(ours.server(t, "one.test", time.Now().Add(-time.Hour))), "one.test", ours.client(), "certificate expired or not yet valid"},
		{"not verified", good, "x", &tls.Config{InsecureSkipVerify: true}, ""},
		{"no version in common", serve(old), "one.test", modern, "TLS handshake failed"},
		{"no TLS", serve(nil), "one.test", ours.client(), "TLS handshake failed"},
		{"silent", silent.Addr().String(), "one.test", ours.client(), "no answer in time"},
	} {
		limit := 20 * time.Second
		if c.name == "silent" {
			limit = 200 * time.Millisecond
		}
		p := HTTP{Host: c.host, TLS: c.config}
		for range 2 { // the second one would find a session ticket
			if text, why := verdict(t, limit, p.Probe, c.address); why != c.want {
				t.Errorf("%s: got %q, reason %q; want reason %q", c.name, text, why, c.want)
			}
		}
		if got := c.config.NextProtos; got != nil {
			t.Errorf("%s: the configuration has now protocols %q; want it unchanged", c.name, got)
		}
	}
}

// Who does not speak as we do may hang up before we have said all: then it is the
// kernel that knows why.
func TestWhoHangsUpOnUs(t *testing.T) {
	ours := newAuthority(t)
	picky := ours.server(t, "one.test", time.Now().Add(time.Hour))
	picky.ClientAuth = tls.RequireAnyClientCert
	page := func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }
	hangUps := []string{"connection reset by peer", "broken pipe"}
	for _, c := range []struct {
		name, address, want string
		probe               func(context.Context, string) error
	}{
		{
			"wants a certificate", serveHTTP(t, "tcp", "127.0.0.1:0", picky, http.NotFound), "TLS handshake failed",
			(&HTTP{Host: "one.test", TLS: ours.client()}).Probe,
		},
		{"HTTP/1.1 for gRPC", serveConns(t, "tcp", "127.0.0.1:0", page).Addr().String(), "bad response", (&GRPC{}).Probe},
	} {
		if text, why := verdict(t, 20*time.Second, c.probe, c.address); why != c.want && !slices.Contains(hangUps, why) {
			t.Errorf("%s: got %q, reason %q; want reason %q or one of %q", c.name, text, why, c.want, hangUps)
		}
	}
}

// Each probe makes a connection and closes it, whatever the server would like.
func TestEachProbeIsAConnectionOfItsOwn(t *testing.T) {
	var opened, closed atomic.Int32
	l := serveConns(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		opened.Add(1)
		defer closed.Add(1)
		var head bytes.Buffer
		for !bytes.Contains(head.Bytes(), []byte("\r\n\r\n")) {
			if _, err := io.CopyN(&head, c, 1); err != nil {
				return
			}
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	const n = 5
	for i := range n {
		if text, _ := verdict(t, 5*time.Second, (&HTTP{}).Probe, l.Addr().String()); text != "" {
			t.Fatalf("probe %d: got %q; want it to pass", i, text)
		}
	}
	deadline, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for tick := time.NewTicker(time.Millisecond); closed.Load() < n; <-tick.C {
		if deadline.Err() != nil {
			break
		}
	}
	if opened.Load() != n || closed.Load() != n {
		t.Errorf("%d connections opened, %d closed; want %d and %d", opened.Load(), closed.Load(), n, n)
	}
}
