package tlsconn

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
)

// State describes the connection; see tls.Conn.ConnectionState.
func (c *Conn) State() tls.ConnectionState { return c.tls.ConnectionState() }

// A Session is what was agreed on in the handshake.
type Session struct {
	Version    string // "TLS 1.3"
	Cipher     string // "TLS_AES_128_GCM_SHA256"
	ServerName string // that the client asked for; "": none
	Protocol   string // agreed on by ALPN; "": none
}

// Session returns what was agreed on. It is worked out when it is first asked for,
// after the handshake.
func (c *Conn) Session() *Session {
	if c.session == nil {
		s := c.tls.ConnectionState()
		c.session = &Session{tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), s.ServerName, s.NegotiatedProtocol}
	}
	return c.session
}

// A ClientCertificate is what is known of a client by the certificate that it has
// proved to have. No value has control bytes in it: they may become headers.
type ClientCertificate struct {
	Subject, Issuer string // distinguished names (RFC 4514)
	Serial          string // in lower case hexadecimal digits
	Fingerprint     string // SHA-256 of the certificate, likewise
	SAN             string // the first of the names it is for: DNS, else email, URI, IP address; may be empty
}

// ClientCertificate returns what is known of the client of a server's connection,
// nil if it has shown no certificate. It is worked out when it is first asked for.
func (c *Conn) ClientCertificate() *ClientCertificate {
	if !c.identified {
		c.identified = true
		if shown := c.tls.ConnectionState().PeerCertificates; len(shown) > 0 {
			c.identity = identify(shown[0])
		}
	}
	return c.identity
}

func identify(x *x509.Certificate) *ClientCertificate {
	print := sha256.Sum256(x.Raw)
	return &ClientCertificate{
		Subject:     distinguishedName(x.RawSubject),
		Issuer:      distinguishedName(x.RawIssuer),
		Serial:      x.SerialNumber.Text(16),
		Fingerprint: hex.EncodeToString(print[:]),
		SAN:         firstName(x),
	}
}

func firstName(x *x509.Certificate) string {
	switch {
	case len(x.DNSNames) > 0:
		return printable(x.DNSNames[0])
	case len(x.EmailAddresses) > 0:
		return printable(x.EmailAddresses[0])
	case len(x.URIs) > 0:
		return printable(x.URIs[0].String())
	case len(x.IPAddresses) > 0:
		return x.IPAddresses[0].String()
	}
	return ""
}
