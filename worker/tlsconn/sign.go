package tlsconn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/tls"
	"io"
)

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

// A distantSigner signs on another goroutine than the loop's, while the handshake
// of c waits. A panic of the key is one of the task.
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
	c := s.c
	if c.gate != nil {
		if err := c.gate.beginSigning(c); err != nil {
			c.stopped = err // crypto/tls keeps only the text of it
			return nil, err
		}
		defer c.gate.endSigning()
	}
	c.task.Go(func() { signature, err = s.Signer.Sign(rand, digest, opts) })
	return signature, err
}
