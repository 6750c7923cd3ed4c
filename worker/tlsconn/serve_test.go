package tlsconn

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/loop"
	"golang.org/x/sys/unix"
)

// newSegment returns a segment that the test closes.
func newSegment(t testing.TB) *shm.Segment {
	t.Helper()
	seg, err := shm.Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { seg.Close() })
	return seg
}

// An authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

var serial = struct {
	sync.Mutex
	last int64
}{last: 0xabc000}

// issue makes a certificate like template for key, signed by a, or by itself if a
// is nil.
func (a *authority) issue(t testing.TB, template x509.Certificate, key crypto.Signer) tls.Certificate {
	t.Helper()
	serial.Lock()
	serial.last++
	template.SerialNumber = big.NewInt(serial.last)
	serial.Unlock()
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.KeyUsage |= x509.KeyUsageDigitalSignature
	parent, signer := &template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	c := (*authority)(nil).issue(t, x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, newKey(t, "ecdsa"))
	return &authority{c.Leaf, c.PrivateKey.(crypto.Signer), pemOf(t, c)}
}

// server issues a certificate for names, the first of which is its common name.
func (a *authority) server(t testing.TB, key crypto.Signer, names ...string) tls.Certificate {
	t.Helper()
	return a.issue(t, x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names}, key)
}

// client issues one that a client can show.
func (a *authority) client(t testing.TB, name string) tls.Certificate {
	t.Helper()
	return a.issue(t, leafOf(name, true), newKey(t, "ecdsa"))
}

// leafOf is the template of a client's certificate, or of a server's.
func leafOf(name string, client bool) x509.Certificate {
	use := x509.ExtKeyUsageServerAuth
	if client {
		use = x509.ExtKeyUsageClientAuth
	}
	return x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{"Test, Inc."}, Country: []string{"DE"}},
		DNSNames:    []string{name + ".test"},
		ExtKeyUsage: []x509.ExtKeyUsage{use},
	}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// pemOf is c and its key.
func pemOf(t testing.TB, c tls.Certificate) []byte {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	_ = pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return b.Bytes()
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newKey(t testing.TB, kind string) (key crypto.Signer) {
	t.Helper()
	var err error
	switch kind {
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		key, err = rsaKey()
	default:
		t.Fatalf("key %q", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// configOf is ServerConfig.
func configOf(t testing.TB, s Settings) *tls.Config {
	t.Helper()
	if s.MinVersion == 0 {
		s.MinVersion = tls.VersionTLS12
	}
	c, err := ServerConfig(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ticketsIn is OpenTickets.
func ticketsIn(t testing.TB, seg *shm.Segment) *Tickets {
	t.Helper()
	k, err := OpenTickets(seg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A session of a served client: handle is called in a coroutine of l after its
// handshake, with the error if that failed. c is closed when handle returns.
type served struct {
	loop.Conn
	config *tls.Config
	handle func(*loop.Task, *Conn, error)
}

func (s *served) Run(t *loop.Task) {
	c := Server(&s.Conn, s.config)
	defer c.Close()
	s.handle(t, c, c.Handshake(t, t.After(patience)))
}

func (s *served) Crashed(v any, stack []byte) {
	s.Close()
	panic(string(stack))
}

// serve serves TLS on l and returns the address.
func serve(t testing.TB, l *loop.Loop, config *tls.Config, handle func(*loop.Task, *Conn, error)) string {
	t.Helper()
	return listen(t, l, func(fd int) {
		c := &served{config: config, handle: handle}
		if l.Register(&c.Conn, fd) == nil {
			l.Spawn(c)
		}
	})
}

// listen calls accept on l for each connection to the address that it returns.
func listen(t testing.TB, l *loop.Loop, accept func(fd int)) string {
	t.Helper()
	s, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	raw, err := s.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if cerr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	var accepting *loop.Listener
	run(t, l, func(*loop.Task) { accepting, err = l.Listen(fd, func(fd int, _ netip.AddrPort) { accept(fd) }) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		run(t, l, func(*loop.Task) { accepting.Close() })
		unix.Close(fd)
	})
	return s.Addr().String()
}

// answer echoes what comes until the end of it.
func answer(t *loop.Task, c *Conn, err error) {
	b := make([]byte, 16<<10)
	for err == nil {
		var n int
		if n, err = read(t, c, b); n > 0 {
			err = write(t, c, b[:n])
		}
	}
}
