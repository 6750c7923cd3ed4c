package tlsconn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
)

// elsewhere runs f on another goroutine than the loop's, while the handshake of c
// waits. A panic of f is one of the task.
func (c *Conn) elsewhere(f func() error) (err error) {
	if c.gate != nil {
		if err := c.gate.beginJob(c); err != nil {
			c.stopped = err // crypto/tls may keep only the text of it
			return err
		}
		defer c.gate.endJob()
	}
	c.task.Go(func() { err = f() })
	return err
}

// slow reports whether signing with key is not for the loop. ECDSA with P-256
// takes 40 µs and Ed25519 20, less than handing it over would cost the handshake;
// P-384 takes 0.2 ms, RSA 1 to 7, and a key from elsewhere nobody knows.
func slow(key crypto.PrivateKey) bool {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return k.Curve != elliptic.P256()
	case ed25519.PrivateKey:
		return false
	}
	return true
}

// A distantSigner signs elsewhere, for the handshake of c.
type distantSigner struct {
	crypto.Signer
	c *Conn
}

// signingElsewhere returns cert for this one handshake, with a key that is used
// off the loop.
func (c *Conn) signingElsewhere(cert *tls.Certificate) *tls.Certificate {
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return cert // crypto/tls says what is wrong with it
	}
	distant := *cert
	distant.PrivateKey = distantSigner{key, c}
	return &distant
}

func (s distantSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	err = s.c.elsewhere(func() (err error) {
		signature, err = s.Signer.Sign(rand, digest, opts)
		return err
	})
	return signature, err
}

// maxChain is how many certificates a client may show.
const maxChain = 10

// verifyingElsewhere returns config for this one handshake: what the client shows
// is verified off the loop. Who shows it chooses how many signatures that takes
// and of which kind, up to 0.2 s.
func (c *Conn) verifyingElsewhere(config *tls.Config) *tls.Config {
	distant := config.Clone()
	if distant.ClientAuth = tls.RequestClientCert; config.ClientAuth == tls.RequireAndVerifyClientCert {
		distant.ClientAuth = tls.RequireAnyClientCert
	}
	distant.VerifyPeerCertificate = func(shown [][]byte, _ [][]*x509.Certificate) error {
		switch {
		case len(shown) == 0: // and need not show any
			return nil
		case len(shown) > maxChain:
			return fmt.Errorf("client shows %d certificates; at most %d are taken", len(shown), maxChain)
		}
		return c.elsewhere(func() error { return verifyClient(shown, config.ClientCAs) })
	}
	return distant
}

// verifyClient does what crypto/tls would.
func verifyClient(shown [][]byte, authorities *x509.CertPool) error {
	opts := x509.VerifyOptions{
		Roots: authorities, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	var leaf *x509.Certificate
	for i, der := range shown {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		if i == 0 {
			leaf = cert
		} else {
			opts.Intermediates.AddCert(cert)
		}
	}
	_, err := leaf.Verify(opts)
	return err
}
