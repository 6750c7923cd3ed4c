package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxCertificates bounds the certificates of a listener.
const maxCertificates = 10_000

// listenerTLS builds how a listener speaks TLS.
func (d *decoder) listenerTLS(s *section) *ListenerTLS {
	t := &ListenerTLS{MinVersion: tls.VersionTLS12, RequireClient: s.text("client_auth") == "require"}
	if s.text("min_version") == "1.3" {
		t.MinVersion = tls.VersionTLS13
	}
	d.protocols(s, t)
	if s.has("client_ca") {
		t.ClientCA = d.certificates(s, "client_ca")
	} else {
		t.RequireClient = false
		if s.has("client_auth") {
			d.at(s.whereOf("client_auth"), "No effect", `Certificates of clients are verified against client_ca = "file", which is missing.`)
		}
	}
	names := map[string]string{}
	for i, b := range s.blocks["certificate"] {
		if i == maxCertificates {
			d.at(b.at, "Too many certificates", "A listener may have %d.", maxCertificates)
			break
		}
		if c, ok := d.certificate(b, names); ok {
			t.Certificates = append(t.Certificates, c)
		}
	}
	if len(s.blocks["certificate"]) == 0 {
		d.absent(s.at, "No certificate", `TLS needs at least one: write certificate "main" { cert = "file" and key = "file" }.`)
	}
	return t
}

// protocols reads what is offered by ALPN (RFC 7301), in order of preference.
func (d *decoder) protocols(s *section, t *ListenerTLS) {
	known := []string{"h2", "http/1.1"}
	if !s.has("alpn") {
		t.ALPN = known
		return
	}
	for _, it := range s.items("alpn") {
		switch {
		case !slices.Contains(known, it.text):
			d.at(it.at, "Unknown protocol", "%q is not one of %s.%s", it.text, quoted(known, "or"), didYouMean(it.text, known))
		case slices.Contains(t.ALPN, it.text):
			d.at(it.at, "Duplicate protocol", "%q is in the list already.", it.text)
		default:
			t.ALPN = append(t.ALPN, it.text)
		}
	}
	if len(s.items("alpn")) == 0 {
		d.at(s.whereOf("alpn"), "No protocol", "The list must have %s, or both.", quoted(known, "or"))
	}
}

// certificate reads a certificate with its key. names has, by name that a
// certificate is for, the label of the block that brought it.
func (d *decoder) certificate(s *section, names map[string]string) (Certificate, bool) {
	c := Certificate{Name: s.label}
	pair, ok := d.keyPair(s)
	if !ok {
		return c, false
	}
	if s.has("ocsp") {
		name := s.text("ocsp")
		data, err := d.bundle.file(name)
		if err != nil {
			d.at(s.whereOf("ocsp"), "Invalid OCSP response", "%q: %v.", name, err)
			return c, false
		}
		pair.OCSPStaple = data
	}
	c.Pair = pair
	for _, name := range pair.Leaf.DNSNames {
		name = strings.ToLower(name)
		if first, taken := names[name]; taken {
			d.at(s.at, "Duplicate certificate", "The certificates %q and %q are both for %s, so one of them would never be used.", first, s.label, name)
			return c, false
		}
		names[name] = s.label
	}
	return c, true
}

// keyPair reads the files "cert" and "key" of s, which belong together.
func (d *decoder) keyPair(s *section) (pair tls.Certificate, ok bool) {
	chain := d.certificates(s, "cert")
	name := s.text("key")
	key, err := d.bundle.file(name)
	if err == nil {
		err = checkKey(key)
	}
	if err != nil && s.has("key") {
		d.at(s.whereOf("key"), "Invalid key file", "%q: %v.", name, err)
	}
	if chain == nil || err != nil {
		return pair, false
	}
	if pair, err = tls.X509KeyPair(chain, key); err != nil {
		text := strings.TrimPrefix(err.Error(), "tls: ")
		d.at(s.whereOf("key"), "Key and certificate do not match", "%q is not the key of the first certificate in %q: %s.", name, s.text("cert"), text)
		return pair, false
	}
	return pair, true
}

// certificates reads a file of certificates in PEM; nil if it is not one.
func (d *decoder) certificates(s *section, argument string) []byte {
	if !s.has(argument) {
		return nil
	}
	name := s.text(argument)
	data, err := d.bundle.file(name)
	if err == nil {
		err = checkCertificates(data)
	}
	if err != nil {
		d.at(s.whereOf(argument), "Invalid certificate file", "%q: %v.", name, err)
		return nil
	}
	return data
}

// checkCertificates says what is wrong with a file of certificates in PEM.
func checkCertificates(data []byte) error {
	n := 0
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		n++
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return fmt.Errorf("certificate %d does not parse: %w", n, err)
		}
	}
	if n == 0 {
		return errors.New("there is no certificate in PEM in it")
	}
	return nil
}

// checkKey says what is wrong with a file that should have a private key in PEM.
func checkKey(data []byte) error {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return errors.New("there is no private key in PEM in it")
		}
		switch {
		case b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "":
			return errors.New("the key is encrypted, and nobody is there to type its password: decrypt it with 'openssl pkey', and let only root read it")
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			return nil
		}
	}
}
