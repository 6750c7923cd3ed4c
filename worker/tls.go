package worker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/tlsconn"
)

// openTLS opens what all TLS connections of the worker share, and partly those of
// the other workers.
func (w *worker) openTLS(seg *shm.Segment) (err error) {
	if w.tickets, err = tlsconn.OpenTickets(seg); err != nil {
		return fmt.Errorf("keys of session tickets: %w", err)
	}
	if w.sessions, err = tlsconn.OpenSessions(seg); err != nil {
		return fmt.Errorf("TLS sessions: %w", err)
	}
	w.gate = tlsconn.NewGate(w.loop)
	return nil
}

// serverTLS is how a listener speaks TLS.
func (w *worker) serverTLS(c *config.ListenerTLS) (*tls.Config, error) {
	s := tlsconn.Settings{
		MinVersion: c.MinVersion, ALPN: c.ALPN, ClientCA: c.ClientCA, RequireClient: c.RequireClient,
		Tickets: w.tickets, Gate: w.gate,
	}
	for i := range c.Certificates {
		s.Certificates = append(s.Certificates, c.Certificates[i].Pair)
	}
	return tlsconn.ServerConfig(s)
}

// clientTLS is how TLS is spoken to the servers of an upstream, with these
// protocols on top.
func (w *worker) clientTLS(c *config.TLS, protocols ...string) (*tls.Config, error) {
	t := &tls.Config{
		ServerName:                  c.SNI,
		InsecureSkipVerify:          !c.Verify,
		MinVersion:                  tls.VersionTLS12,
		NextProtos:                  protocols,
		DynamicRecordSizingDisabled: true,
	}
	trust := [][]byte{fmt.Append(nil, c.Verify, protocols), c.CA}
	if c.Certificate != nil {
		t.Certificates = []tls.Certificate{*c.Certificate}
		trust = append(trust, c.Certificate.Certificate...)
	}
	t.ClientSessionCache = w.sessions.Cache(trust...)
	var err error
	if c.CA == nil {
		// Read now: on the loop, the first handshake would read the disk.
		if t.RootCAs, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("system certificates: %w", err)
		}
		return t, nil
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("ca: no certificate in it")
	}
	return t, nil
}

// fact is what an expression asks about the client's side of TLS; "" if there is
// nothing to tell.
func (s *stream) fact(v config.Var, name string) string {
	if s.tls == nil {
		return ""
	}
	if v == config.ClientCert {
		return certFact(s.tls.ClientCertificate(), name)
	}
	agreed := s.tls.Session()
	switch v {
	case config.TLSVersion:
		return agreed.Version
	case config.TLSCipher:
		return agreed.Cipher
	case config.TLSServerName:
		return agreed.ServerName
	}
	return agreed.Protocol
}

// certFact is one of config.CertFacts.
func certFact(c *tlsconn.ClientCertificate, name string) string {
	if c == nil {
		return ""
	}
	switch name {
	case "subject":
		return c.Subject
	case "issuer":
		return c.Issuer
	case "serial":
		return c.Serial
	case "fingerprint":
		return c.Fingerprint
	}
	return c.SAN
}
