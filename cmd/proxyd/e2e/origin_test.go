package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An origin is a web server that can die and come back at its address.
type origin struct {
	t       *testing.T
	name    string
	address string
	handler http.Handler
	tls     *tls.Config // nil: plain

	requests    atomic.Int64 // that reached the handler
	connections atomic.Int64 // that carried bytes

	mu       sync.Mutex
	server   *http.Server // nil: dead
	conns    map[net.Conn]http.ConnState
	finished chan struct{} // closed when server has gone
}

// newOrigin starts an origin; "" is any free address, a nil handler answers with
// what it was asked.
func newOrigin(t *testing.T, name, address string, config *tls.Config, handler http.HandlerFunc) *origin {
	t.Helper()
	if address == "" {
		address = freeAddress(t)
	}
	o := &origin{t: t, name: name, address: address, tls: config, handler: handler}
	if handler == nil {
		o.handler = http.HandlerFunc(o.echo)
	}
	o.start()
	t.Cleanup(func() { o.kill(false) })
	return o
}

// echo says who answers and what came.
func (o *origin) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the proxy gave up
	}
	sni := ""
	if r.TLS != nil {
		sni = r.TLS.ServerName
	}
	fmt.Fprintf(w, "%s %s %s host=%s sni=%s for=%s body=%s", o.name, r.Method, r.RequestURI, r.Host, sni, r.Header.Get("X-Forwarded-For"), body)
}

// start makes the origin listen, again after a kill.
func (o *origin) start() {
	o.t.Helper()
	network, address := network(o.address)
	l, err := net.Listen(network, address)
	if err != nil {
		o.t.Fatal(err)
	}
	if network == "tcp" {
		o.address = l.Addr().String() // the port may have been 0
	}
	if o.tls != nil {
		l = tls.NewListener(l, o.tls)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			o.requests.Add(1)
			o.handler.ServeHTTP(w, r)
		}),
		ErrorLog:  log.New(io.Discard, "", 0), // probes that connect and leave are no news
		ConnState: o.changed,
	}
	finished := make(chan struct{})
	o.mu.Lock()
	o.server, o.finished, o.conns = server, finished, make(map[net.Conn]http.ConnState)
	o.mu.Unlock()
	go func() {
		defer close(finished)
		_ = server.Serve(l) // always ends by kill
	}()
}

func (o *origin) changed(c net.Conn, s http.ConnState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns[c] == http.StateNew && s == http.StateActive {
		o.connections.Add(1)
	}
	if s == http.StateClosed || s == http.StateHijacked {
		delete(o.conns, c)
		return
	}
	o.conns[c] = s
}

// kill ends the origin as the kernel ends a killed process: the listener and all
// connections at once, these by reset if so wanted. It returns how many requests
// had been accepted and not answered.
func (o *origin) kill(reset bool) (unanswered int) {
	o.mu.Lock()
	server := o.server
	o.server = nil
	conns := o.conns
	o.conns = make(map[net.Conn]http.ConnState)
	o.mu.Unlock()
	if server == nil {
		return 0
	}
	for c, state := range conns {
		raw := underTLS(c)
		if state == http.StateActive || unread(raw) > 0 {
			unanswered++
		}
		if tcp, ok := raw.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0) // fails if it is closed already
		}
		raw.Close()
	}
	server.Close()
	<-o.finished
	return unanswered
}

func underTLS(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}

// unread counts the bytes that the kernel has received on c for nobody yet.
func unread(c net.Conn) (n int) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}

// network splits "unix:/path" and "ip:port" for net.Dial and net.Listen.
func network(address string) (network, where string) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", path
	}
	return "tcp", address
}

// serveRaw runs serve on each connection to a new address. The connection is
// closed when serve returns or the test ends.
func serveRaw(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(loopback(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	conns := make(map[net.Conn]bool)
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// refused returns an address that refuses connections for as long as the test
// runs: it is bound, so that nobody else gets it, and does not listen.
func refused(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	sa := &unix.SockaddrInet4{Addr: [4]byte(net.ParseIP(loopback()).To4())}
	if err := unix.Bind(fd, sa); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(net.IP(sa.Addr[:]).String(), fmt.Sprint(bound.(*unix.SockaddrInet4).Port))
}

// An authority issues certificates for one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := certificate("e2e authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.cert, a.key = a.sign(template, template, nil)
	return a
}

func certificate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

// sign makes a key and its certificate; a nil signer is the key itself.
func (a *authority) sign(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// server is what a server needs to be host.
func (a *authority) server(host string) *tls.Config {
	a.t.Helper()
	template := certificate(host)
	template.DNSNames = []string{host}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	cert, key := a.sign(template, a.cert, a.key)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		NextProtos:   []string{"http/1.1"},
		MinVersion:   tls.VersionTLS12,
	}
}

// write puts the authority's certificate in a file.
func (a *authority) write(path string) {
	a.t.Helper()
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	if err := os.WriteFile(path, block, 0o644); err != nil {
		a.t.Fatal(err)
	}
}
