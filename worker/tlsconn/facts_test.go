package tlsconn

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

func TestClientCertificateFacts(t *testing.T) {
	a := newAuthority(t, "client CA")
	c := a.client(t, "alice")
	got := *identify(c.Leaf)
	print := sha256.Sum256(c.Certificate[0])
	want := ClientCertificate{
		Subject:     `CN=alice,O=Test\, Inc.,C=DE`,
		Issuer:      "CN=client CA",
		Serial:      c.Leaf.SerialNumber.Text(16),
		Fingerprint: hex.EncodeToString(print[:]),
		SAN:         "alice.test",
	}
	if got != want {
		t.Errorf("got %+v; want %+v", got, want)
	}
	uri, _ := url.Parse("spiffe://test/workload")
	for want, x := range map[string]x509.Certificate{
		"":                       {},
		"192.0.2.1":              {IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}},
		"spiffe://test/workload": {URIs: []*url.URL{uri}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}},
		"a@example.test":         {URIs: []*url.URL{uri}, EmailAddresses: []string{"a@example.test", "b@example.test"}},
		"example.test":           {DNSNames: []string{"example.test", "b.test"}, EmailAddresses: []string{"a@example.test"}},
	} {
		if got := identify(a.issue(t, x, newKey(t, "ecdsa")).Leaf).SAN; got != want {
			t.Errorf("SAN: got %q; want %q", got, want)
		}
	}
}

// name is an X.501 name of parts, each of attributes.
func name(t testing.TB, parts ...[]pkix.AttributeTypeAndValue) []byte {
	t.Helper()
	var all pkix.RDNSequence
	for _, p := range parts {
		all = append(all, p)
	}
	der, err := asn1.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func attribute(kind asn1.ObjectIdentifier, value any) pkix.AttributeTypeAndValue {
	return pkix.AttributeTypeAndValue{Type: kind, Value: value}
}

var (
	cn     = asn1.ObjectIdentifier{2, 5, 4, 3}
	org    = asn1.ObjectIdentifier{2, 5, 4, 10}
	domain = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
)

func TestDistinguishedName(t *testing.T) {
	type part = []pkix.AttributeTypeAndValue
	one := func(kind asn1.ObjectIdentifier, value any) part { return part{attribute(kind, value)} }
	for want, der := range map[string][]byte{
		"":                         name(t),
		"CN=Steve,DC=example,DC=n": name(t, one(domain, "n"), one(domain, "example"), one(cn, "Steve")),
		"O=b+CN=a,CN=c":            name(t, one(cn, "c"), part{attribute(cn, "a"), attribute(org, "b")}),
		`CN=James \"Jim\" Smith\, III\+\;\<\>\\=`: name(t, one(cn, `James "Jim" Smith, III+;<>\=`)),
		`CN=\#x\ `:                     name(t, one(cn, "#x ")),
		`CN=\ `:                        name(t, one(cn, " ")),
		`CN=\  a b#`:                   name(t, one(cn, "  a b#")),
		`CN=Before\0D\0AAfter\00\7F`:   name(t, one(cn, "Before\r\nAfter\x00\x7f")),
		"CN=Lučić �":                   name(t, one(cn, "Lučić �")),
		"1.3.6.1.4.1.1466.0=#04024869": name(t, one(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 1466, 0}, []byte("Hi"))),
		"2.5.4.3=#020105":              name(t, one(cn, 5)),
	} {
		if got := distinguishedName(der); got != want {
			t.Errorf("got %s; want %s", got, want)
		}
	}
	for _, der := range [][]byte{nil, {0x30}, {0x30, 0x80}, append(name(t, one(cn, "x")), 0), bytes.Repeat([]byte{0x30, 0xff}, 9)} {
		if got := distinguishedName(der); got != "" {
			t.Errorf("%x: got %q; want none", der, got)
		}
	}
}

// OpenSSL writes the same.
func TestDistinguishedNameIsOpenSSLs(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: not tested against another implementation")
	}
	leaf := newAuthority(t, "x").issue(t, x509.Certificate{Subject: pkix.Name{
		CommonName: "#a, b+c \"d\"; <e>\\ ", Organization: []string{"Örg", "Two"}, Country: []string{"DE"}, Locality: []string{"Here"},
		Province: []string{"There"},
		ExtraNames: []pkix.AttributeTypeAndValue{
			attribute(domain, "test"), attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, "a@b.test"),
		},
	}}, newKey(t, "ecdsa"))
	cmd := exec.Command(openssl, "x509", "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb,utf8")
	cmd.Stdin = bytes.NewReader(pemOf(t, leaf))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimPrefix(strings.TrimSuffix(string(out), "\n"), "subject=")
	if got := identify(leaf.Leaf).Subject; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

func FuzzDistinguishedName(f *testing.F) {
	f.Add(name(f, []pkix.AttributeTypeAndValue{attribute(cn, " #x\r\n\"")}))
	f.Add([]byte{0x30, 0x0a, 0x31, 0x08, 0x30, 0x06, 0x06, 0x01, 0x2a, 0x0c, 0x01, 0xff})
	f.Fuzz(func(t *testing.T, der []byte) {
		for _, b := range []byte(distinguishedName(der)) {
			if b < ' ' || b == 0x7f {
				t.Errorf("%x: byte %#x is in it", der, b)
			}
		}
	})
}
