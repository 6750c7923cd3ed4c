package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/proxyd/proxyd/lb/reason"
)

// TCP connects to address, "ip:port" or "unix:/path", and closes the connection
// without a byte sent. The error does not repeat the address: `connect:
// connection refused`.
func TCP(ctx context.Context, address string) error {
	c, err := connect(ctx, address)
	if err != nil {
		return err
	}
	// The connect is the probe; how the close ends says nothing about the server.
	_ = c.Close()
	return nil
}

func connect(ctx context.Context, address string) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	d := net.Dialer{KeepAlive: -1}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, connectError(err)
	}
	return c, nil
}

// connectError takes net's `dial tcp 127.0.0.1:80: ` off err, and says of a
// deadline what the kernel says when it gives up by itself.
func connectError(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return fmt.Errorf("connect: %w", err)
	}
	if op.Timeout() {
		return fmt.Errorf("connect: %w", syscall.ETIMEDOUT)
	}
	var errno syscall.Errno
	if errors.As(op.Err, &errno) {
		return fmt.Errorf("connect: %w", errno)
	}
	return fmt.Errorf("connect: %w", op.Err)
}

// handshake makes TLS of c and agrees to protocol on it. It never resumes: a
// certificate that has gone bad must not hide behind a session ticket.
func handshake(ctx context.Context, c net.Conn, config *tls.Config, name, protocol string) (net.Conn, error) {
	config = config.Clone()
	config.NextProtos = []string{protocol}
	config.ClientSessionCache = nil
	if config.ServerName == "" {
		config.ServerName = name
	}
	secure := tls.Client(c, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("TLS handshake: %w", ended(ctx))
		}
		return nil, fmt.Errorf("%w: %s", tlsReason(err), clip(err.Error()))
	}
	if got := secure.ConnectionState().NegotiatedProtocol; protocol == "h2" && got != "h2" {
		return nil, fmt.Errorf("%w: the server chose %q in ALPN", reason.NoHTTP2, clip(got))
	}
	return secure, nil
}

func tlsReason(err error) reason.Code {
	var invalid x509.CertificateInvalidError
	var untrusted x509.UnknownAuthorityError
	var name x509.HostnameError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return reason.CertificateExpired
	case errors.As(err, &untrusted):
		return reason.CertificateUntrusted
	case errors.As(err, &name):
		return reason.CertificateName
	case errors.As(err, &certificate):
		return reason.CertificateInvalid
	}
	return reason.TLSFailed
}

// clip bounds what a server has had a say in before it goes to the log, where
// it is quoted once more.
func clip(text string) string {
	const most = 160
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}
