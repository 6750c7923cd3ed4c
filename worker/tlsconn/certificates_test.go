package tlsconn

import (
	"crypto/tls"
	"strings"
	"testing"
)

func TestCertificateByName(t *testing.T) {
	a := newAuthority(t, "test CA")
	key := newKey(t, "ecdsa")
	list := []tls.Certificate{
		a.server(t, key, "first.test"),
		a.server(t, key, "a.example.test", "EXAMPLE.test"),
		a.server(t, key, "*.example.test", "second.test"),
		a.server(t, key, "a.example.test", "second.test", "last.test"),
	}
	s, err := NewCertificates(list)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		"first.test": 0, "unknown.test": 0, "": 0, ".": 0, ".example.test": 0, "*.example.test": 2,
		"a.example.test": 1, "A.Example.Test": 1, "example.test": 1,
		"b.example.test": 2, "B.EXAMPLE.TEST": 2, "second.test": 2,
		"a.b.example.test":         0, // a star is one label (RFC 6125 section 6.4.3)
		"last.test":                3,
		strings.Repeat("x", 1<<16): 0,
	} {
		if got := s.Find(name); got.Leaf != list[want].Leaf {
			t.Errorf("%q: got that of %q; want that of %q", name, got.Leaf.DNSNames, list[want].Leaf.DNSNames)
		}
	}
	if n := testing.AllocsPerRun(100, func() { s.Find("b.example.test") }); n != 0 {
		t.Errorf("Find: got %v allocations; want 0", n)
	}
}

func TestNoCertificates(t *testing.T) {
	if _, err := NewCertificates(nil); err == nil {
		t.Error("none: got no error")
	}
	raw := originCert
	raw.Leaf = nil
	if _, err := NewCertificates([]tls.Certificate{raw}); err == nil || !strings.Contains(err.Error(), "leaf") {
		t.Errorf("leaf not parsed: got %v", err)
	}
	_, err := ServerConfig(Settings{Certificates: []tls.Certificate{originCert}, ClientCA: []byte("nonsense")})
	if err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("no authority: got %v", err)
	}
}
