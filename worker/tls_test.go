package worker

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/loop"
)

// An authority has issued itself and one certificate, which all of the test use.
type authority struct {
	pool      *x509.CertPool
	pair      tls.Certificate // for x.test
	cert, key string          // files with it
	ca        string          // file with the authority's
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	folder := t.TempDir()
	a := &authority{
		pool: x509.NewCertPool(), cert: filepath.Join(folder, "x.crt"), key: filepath.Join(folder, "x.key"), ca: filepath.Join(folder, "ca.crt"),
	}
	issue := func(x, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, signer = x, key
		}
		x.SerialNumber, x.NotBefore, x.NotAfter = big.NewInt(7), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, x, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		return key, der
	}
	save := func(name, kind string, der []byte) {
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true}
	rootKey, rootDER := issue(root, nil, nil)
	root, err := x509.ParseCertificate(rootDER)
	if err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(root)
	key, der := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "x.test"}, DNSNames: []string{"x.test"}}, root, rootKey)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	save(a.ca, "CERTIFICATE", rootDER)
	save(a.cert, "CERTIFICATE", der)
	save(a.key, "PRIVATE KEY", keyDER)
	if a.pair, err = tls.LoadX509KeyPair(a.cert, a.key); err != nil {
		t.Fatal(err)
	}
	return a
}

// client is how a client speaks TLS that offers these protocols.
func (a *authority) client(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: a.pool, ServerName: "x.test", NextProtos: protocols}
}

// listens is a route to "up", and what makes its listener one of TLS: for
// startProxy.
func (a *authority) listens(route, more string) string {
	return fmt.Sprintf("upstream = \"up\"\n%s\n}\n%s\ntls {\nCA\ncertificate \"x\" {\n cert = %q\n key = %q\n}", route, more, a.cert, a.key)
}

// dialTLS opens a connection to p on which TLS is agreed on.
func (p *proxy) dialTLS(t testing.TB, config *tls.Config) *tls.Conn {
	t.Helper()
	c := tls.Client(p.dial(t), config)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

// tellsTLS makes a route tell its server about TLS.
const tellsTLS = `request_headers {
 set = {
  "x-tls"  = "${tls.version} ${tls.sni} ${request.scheme}"
  "x-cert" = "${client.cert["subject"]} ${client.cert["serial"]} ${client.cert["san"]}"
 }
}`

// await waits until yes, which is called on the loop.
func (p *proxy) await(t testing.TB, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		ok := false
		p.onLoop(func() { ok = yes() })
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// header returns an origin's answer that has the fields of the request with these
// names in its body.
func header(names ...string) func(*http.Request, string) string {
	return func(req *http.Request, _ string) string {
		var b strings.Builder
		for _, name := range names {
			fmt.Fprintf(&b, "%s: %s\n", name, req.Header.Get(name))
		}
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", b.Len(), b.String())
	}
}

func withCA(route, ca string) string { return strings.Replace(route, "\nCA\n", "\n"+ca+"\n", 1) }

func TestTLSListener(t *testing.T) {
	a := newAuthority(t)
	origin := upstreamOf(startOrigin(t, reads(header("X-Forwarded-Proto", "X-Tls", "X-Cert"))))
	const request = "GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"
	for _, c := range []struct {
		name, ca, preface string
		config            *tls.Config
		want              string
	}{
		{"plain", "", "", a.client("http/1.1"), "X-Forwarded-Proto: https\nX-Tls: TLS 1.3 x.test https\nX-Cert: \n"},
		{"TLS 1.2", "", "", &tls.Config{RootCAs: a.pool, ServerName: "x.test", MaxVersion: tls.VersionTLS12}, "X-Forwarded-Proto: https\nX-Tls: TLS 1.2 x.test https\nX-Cert: \n"},
		{
			"client's certificate", fmt.Sprintf("client_ca = %q", a.ca), "",
			&tls.Config{RootCAs: a.pool, ServerName: "x.test", Certificates: []tls.Certificate{a.pair}},
			"X-Forwarded-Proto: https\nX-Tls: TLS 1.3 x.test https\nX-Cert: CN=x.test 7 x.test\n",
		},
		{"PROXY before TLS", "", "PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n", a.client(), "X-Forwarded-Proto: https\nX-Tls: TLS 1.3 x.test https\nX-Cert: \n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			more := ""
			if c.preface != "" {
				more = "proxy_protocol = { from = [\"127.0.0.0/8\"] }"
			}
			p := startProxy(t, withCA(a.listens(tellsTLS, more), c.ca), origin)
			raw := p.dial(t)
			if _, err := io.WriteString(raw, c.preface); err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(raw, c.config)
			r := bufio.NewReader(conn)
			for i := range 3 {
				if _, err := io.WriteString(conn, request); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(resp.Body); string(body) != c.want || err != nil {
					t.Fatalf("request %d: got %q, %v; want %q", i, body, err, c.want)
				}
			}
			if got := p.shared.Counters[shm.Handshakes].Load(); got != 1 {
				t.Errorf("handshakes: got %d; want 1", got)
			}
			if err := p.selfTest(p.current); err != nil {
				t.Errorf("self-test: got %v; want none", err)
			}
		})
	}
}

// A client without the certificate that is asked for hears so; one that speaks no
// TLS is not served; one that does not go on is not waited for.
func TestTLSRefused(t *testing.T) {
	a := newAuthority(t)
	route := withCA(a.listens("", ""), fmt.Sprintf("client_ca = %q", a.ca))
	p := startProxy(t, route, upstreamOf("127.0.0.1:1"))
	p.onLoop(func() {
		for _, v := range p.current.services {
			v.config.Timeouts.Handshake = time.Second
		}
	})
	c := tls.Client(p.dial(t), a.client())
	err := c.Handshake()
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: got %v; want the alert", err)
	}
	for _, raw := range []string{getRequest, "\x16\x03\x01\x00\xff"} {
		c := p.dial(t)
		if _, err := io.WriteString(c, raw); err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if got, err := io.ReadAll(c); strings.HasPrefix(string(got), "HTTP") || os.IsTimeout(err) {
			t.Errorf("%.20q: got %q, %v; want the end, and no HTTP", raw, got, err)
		}
	}
	if got := p.shared.Counters[shm.HandshakeErrors].Load(); got != 3 {
		t.Errorf("failed handshakes: got %d; want 3", got)
	}
}

// A session goes on with whichever worker the client meets.
func TestTLSResumesAcrossWorkers(t *testing.T) {
	a := newAuthority(t)
	seg, err := shm.Create()
	if err != nil {
		t.Fatal(err)
	}
	rest := upstreamOf(startOrigin(t, answers(okResponse)))
	var workers []*proxy
	for slot := range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, startProxyIn(t, seg, slot, ln, withCA(a.listens("", ""), ""), rest))
	}
	config := a.client()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i, want := range []bool{false, true, true} {
		c := workers[i%2].dialTLS(t, config)
		gets(t, c, getRequest)
		if got := c.ConnectionState().DidResume; got != want {
			t.Errorf("connection %d: resumed %v; want %v", i, got, want)
		}
	}
}

// Idle connections are parked, closed with close_notify when they have been idle
// for too long or a draining worker ends them, and never given to another worker.
func TestTLSConnectionsEnd(t *testing.T) {
	a := newAuthority(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	route, rest := withCA(a.listens("", ""), ""), upstreamOf(startOrigin(t, answers(okResponse)))
	p := startProxyOn(t, ln, route, rest)
	fresh, idle := p.dialTLS(t, a.client()), p.dialTLS(t, a.client())
	gets(t, idle, getRequest)
	p.await(t, "both are parked, and have taken what was sent", func() bool {
		parked := 0
		for _, l := range p.listeners {
			for _, idle := range []*loop.Idle{l.fresh, l.idle} {
				idle.Each(func(c loop.Parked) bool {
					if !c.(*client).Unsent() {
						parked++
					}
					return true
				})
			}
		}
		return parked == 2
	})
	heir, toHeir := startHeir(t, p, ln, route, rest)
	drained := make(chan struct{})
	p.onLoop(func() {
		p.moving = true
		p.drain(func() { close(drained) })
	})
	p.onLoop(func() {
		if got := p.uproot(); len(got) > 0 {
			t.Errorf("%d connections are to move; want none", len(got))
		}
		p.closeIdle()
	})
	toHeir.Close()
	for _, c := range []*tls.Conn{fresh, idle} {
		if n, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %d bytes, %v; want an end by close_notify", n, err)
		}
	}
	<-drained
	if got := heir.shared.Counters[shm.ActiveConnections].Load(); got != 0 {
		t.Errorf("the other worker has %d connections; want 0", got)
	}
}

// Towards servers, a certificate of ours is shown to those who ask.
func TestTLSClientCertificateUpstream(t *testing.T) {
	a := newAuthority(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{a.pair}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName, " ", r.TLS.DidResume)
	})}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close() })
	p := startProxy(t, `upstream = "up"`, fmt.Sprintf(
		"upstream \"up\" {\n servers = [%q]\n limits = { idle = 0 }\n tls {\n sni = \"x.test\"\n ca = %q\n cert = %q\n key = %q\n }\n}", ln.Addr(), a.ca, a.cert, a.key))
	for i, want := range []string{"x.test false", "x.test true"} {
		if got := p.ask(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(got, want) {
			t.Errorf("request %d: got %q; want it to end with %q", i, got, want)
		}
	}
}
