package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

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

	server   *http.Server // nil: dead
	listener net.Listener
	finished chan struct{} // closed when server accepts no more

	mu    sync.Mutex
	conns map[net.Conn]http.ConnState
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
	o.server, o.listener, o.finished = server, l, finished
	o.mu.Lock()
	o.conns = make(map[net.Conn]http.ConnState)
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
	if o.server == nil {
		return 0
	}
	o.listener.Close()
	<-o.finished // no connection comes any more
	o.mu.Lock()
	conns := slices.Collect(maps.Keys(o.conns))
	o.mu.Unlock()
	for _, c := range conns {
		raw := underTLS(c)
		if o.busy(c) || unread(raw) > 0 {
			unanswered++
		}
		if tcp, ok := raw.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0) // fails if it is closed already
		}
		raw.Close()
	}
	o.server.Close()
	o.server = nil
	return unanswered
}

// busy reports whether c carries a request that has been read.
func (o *origin) busy(c net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conns[c] == http.StateActive
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
