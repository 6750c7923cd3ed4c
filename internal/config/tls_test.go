package config

import (
	"crypto/tls"
	"os"
	"slices"
	"testing"
	"time"
)

// TestTLS loads testdata/good/tls.hcl, and again from its bundle, as workers do.
func TestTLS(t *testing.T) {
	b, _, err := Load("testdata/good/tls.hcl")
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := DecodeBundle(b.Encode())
	if err != nil {
		t.Fatal(err)
	}
	c, err := decoded.Parse()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile("testdata/good/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	l := c.Listeners[0]
	got := l.TLS
	if got.MinVersion != tls.VersionTLS13 || !slices.Equal(got.ALPN, []string{"http/1.1"}) || string(got.ClientCA) != string(ca) || got.RequireClient {
		t.Errorf("got %+v; want TLS 1.3, http/1.1, and the certificates of clients if they have any", got)
	}
	if l.Timeouts.Handshake != 3*time.Second || l.Limits.Streams != 50 || l.H2C {
		t.Errorf("got %+v, %+v, h2c %v; want 3s, 50 streams, no h2c", l.Timeouts, l.Limits, l.H2C)
	}
	if len(got.Certificates) != 1 || got.Certificates[0].Name != "site" {
		t.Fatalf("got certificates %+v; want site", got.Certificates)
	}
	pair := got.Certificates[0].Pair
	if pair.Leaf.Subject.CommonName != "site.example" || pair.PrivateKey == nil || string(pair.OCSPStaple) != string(ca) {
		t.Errorf("got %v; want the certificate of site.example, its key and its staple", pair.Leaf.Subject)
	}

	plain := c.Listeners[1]
	if plain.TLS != nil || !plain.H2C || plain.Limits.Streams != 100 || plain.Timeouts.Handshake != 10*time.Second {
		t.Errorf("got %+v; want h2c without TLS, and the defaults", plain)
	}
	one, two := c.Upstreams[0], c.Upstreams[1]
	if one.Protocol != "h2" || one.TLS.Certificate == nil || one.TLS.Certificate.Leaf.Subject.CommonName != "site.example" {
		t.Errorf("got %s and %+v; want h2 with a certificate", one.Protocol, one.TLS)
	}
	if two.Protocol != "h2c" || two.TLS != nil {
		t.Errorf("got %s and %+v; want h2c", two.Protocol, two.TLS)
	}
	again, err := decoded.Parse()
	if err != nil {
		t.Fatal(err)
	}
	if !one.Same(again.Upstreams[0]) {
		t.Error("an upstream with a certificate is not the same when it is parsed again")
	}
}
