package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"syscall"
	"time"
)

// An origin is a small web server that says who it is and what reached it, so
// that balancing, Host and SNI can be seen from the client. It can die and come
// back under the same address.
type origin struct {
	name    string
	address string
	tls     *tls.Config // nil: plain HTTP
	server  *http.Server
	done    chan struct{} // closed when the server has gone
}

// newOrigin starts an origin at address; port 0 takes any, see origin.address.
func newOrigin(name, address string, config *tls.Config) (*origin, error) {
	o := &origin{name: name, address: address, tls: config}
	return o, o.start()
}

func (o *origin) up() bool { return o.server != nil }

// start makes the origin listen, again after a stop.
func (o *origin) start() error {
	listener, err := net.Listen("tcp", o.address)
	if err != nil {
		return fmt.Errorf("start %s: %w", o.name, err)
	}
	o.address = listener.Addr().String()
	if o.tls != nil {
		listener = tls.NewListener(listener, o.tls)
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(o.answer),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // probes that connect and leave are no news
	}
	o.server, o.done = server, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		_ = server.Serve(listener) // always ErrServerClosed: the listener is closed by stop only
	}(o.done)
	return nil
}

// stop dies as a killed process does: listener and connections at once.
func (o *origin) stop() {
	if o.server == nil {
		return
	}
	o.server.Close()
	<-o.done
	o.server = nil
}

func (o *origin) answer(w http.ResponseWriter, r *http.Request) {
	sni := "none"
	if r.TLS != nil {
		sni = r.TLS.ServerName
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s: %s %s %s, Host %s, SNI %s\n", o.name, r.Method, r.RequestURI, r.Proto, r.Host, sni)
}

// nextFree calls use with the loopback address of port first and of those after
// it until one is free.
func nextFree(first int, use func(address string) error) error {
	const attempts = 100
	var err error
	for port := first; port < first+attempts; port++ {
		if err = use(fmt.Sprintf("127.0.0.1:%d", port)); !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return fmt.Errorf("ports %d to %d are all taken; end what uses one of them: %w", first, first+attempts-1, err)
}

// hold takes address without listening on it: connections to it are refused and
// nobody else can have it until close.
func hold(address string) (closeIt func(), err error) {
	bound, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("hold %s: %w", address, err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hold %s: socket: %w", address, err)
	}
	socket := &syscall.SockaddrInet4{Port: bound.Port, Addr: [4]byte(bound.IP.To4())}
	if err := syscall.Bind(fd, socket); err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("hold %s: bind: %w", address, err)
	}
	return func() { syscall.Close(fd) }, nil
}

// tlsFor is what an origin needs to be host. HTTP/1.1 only.
func tlsFor(ca *authority, host string) (*tls.Config, error) {
	certificate, err := ca.issue(host)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}}, nil
}
