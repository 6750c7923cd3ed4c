package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/proxyd/proxyd/lb/reason"
)

// What is read of one answer, at most. More of a body is not asked for, and is
// no fault; more of a head is.
const (
	maxHead = 64 << 10
	maxBody = 64 << 10
)

// HTTP asks a server for a page, over HTTP/1.1. Its fields must not change while
// it is in use; Probe may be called from many goroutines.
type HTTP struct {
	Path string      // with its query, if any; "": /
	Host string      // the Host header; "": the server's address
	TLS  *tls.Config // nil: none. Of ServerName "", Host is the name
	// Expect says which statuses mean that the server is well; nil: 200 to 399. It
	// sees the final status, never one below 200 but 101.
	Expect func(status int) bool
}

// Probe sends one GET to the server at address. The server is well if its status
// is one to be expected, and the body that it sends with it does not break off
// or stall within its first 64 KiB.
func (p *HTTP) Probe(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	path := p.Path
	if path == "" {
		path = "/"
	}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	o, err := open(ctx, address, p.Host, p.TLS, "http/1.1")
	if err != nil {
		return err
	}
	defer o.close()
	resp, err := o.ask(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}})
	if err != nil {
		return err
	}
	if err := p.judge(resp.StatusCode); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)); err != nil {
		return answerError(ctx, err)
	}
	return nil
}

func (p *HTTP) judge(status int) error {
	switch {
	case p.Expect == nil && (status < 200 || status > 399):
		return reason.HTTP(status)
	case p.Expect != nil && !p.Expect(status):
		return reason.Unexpected(status)
	}
	return nil
}

// An opened is a connection for one request. It is closed when its context is
// done, whoever may be stuck in it.
type opened struct {
	*http.ClientConn
	ctx       context.Context
	scheme    string
	authority string
}

// open connects to address to speak protocol, "http/1.1" or "h2": over TLS if
// config is not nil. Host "" stands for the address.
func open(ctx context.Context, address, host string, config *tls.Config, protocol string) (*opened, error) {
	o := &opened{ctx: ctx, scheme: "http", authority: host}
	switch {
	case host != "":
	case strings.HasPrefix(address, "unix:"):
		o.authority = "localhost"
	default:
		o.authority = address
	}
	c, err := connect(ctx, address)
	if err != nil {
		return nil, err
	}
	plain := c
	context.AfterFunc(ctx, func() { _ = plain.Close() })
	if config != nil {
		o.scheme = "https"
		if c, err = handshake(ctx, plain, config, hostname(o.authority), protocol); err != nil {
			_ = plain.Close() // nothing was asked
			return nil, err
		}
	}
	have := func(context.Context, string, string) (net.Conn, error) { return c, nil }
	transport := http.Transport{
		DialContext:            have,
		DialTLSContext:         have,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHead,
		Protocols:              new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(protocol == "http/1.1")
	transport.Protocols.SetHTTP2(protocol == "h2")
	transport.Protocols.SetUnencryptedHTTP2(protocol == "h2")
	// The transport's own idea of the address leads nowhere: the connection is there.
	if o.ClientConn, err = transport.NewClientConn(ctx, o.scheme, "server:0"); err != nil {
		_ = plain.Close()
		return nil, answerError(ctx, err)
	}
	return o, nil
}

func hostname(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return strings.Trim(authority, "[]")
}

// ask sends r and returns the head of the answer. The body ends with o.
func (o *opened) ask(r *http.Request) (*http.Response, error) {
	r.URL.Scheme, r.URL.Host = o.scheme, o.authority
	r.Header.Set("User-Agent", "proxyd health check")
	resp, err := o.RoundTrip(r.WithContext(o.ctx))
	if err != nil {
		return nil, answerError(o.ctx, err)
	}
	return resp, nil
}

func (o *opened) close() { _ = o.Close() } // the answer is in, or an error is

// answerError says in short what kept an answer from coming.
func answerError(ctx context.Context, err error) error {
	var errno syscall.Errno
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		return ended(ctx)
	case errors.As(err, &op) && op.Op == "remote error":
		// A TLS alert: of TLS 1.3, what a server says to our certificate comes
		// after the handshake.
		return fmt.Errorf("%w: %s", reason.TLSFailed, clip(err.Error()))
	case errors.As(err, &errno):
		return fmt.Errorf("response: %w", errno)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return reason.Closed
	}
	return fmt.Errorf("%w: %s", reason.BadResponse, clip(err.Error()))
}

// ended says why ctx is done.
func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return reason.TimedOut
	}
	return ctx.Err()
}
