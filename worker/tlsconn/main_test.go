package tlsconn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of a test: no more than a guard against hanging.
const patience = 60 * time.Second

const originName = "origin.test"

var (
	originCert tls.Certificate
	originPEM  []byte // the certificate and its key
	roots      = x509.NewCertPool()
	versions   = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}
)

// children are what this test binary can be besides.
var children = map[string]func() int{}

func TestMain(m *testing.M) {
	if role, ok := children[os.Getenv("TLSCONN_TEST_CHILD")]; ok {
		os.Exit(role())
	}
	if err := makeCertificate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if s, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // the runtime's own descriptors stay
		s.Close()
	}
	before := descriptors()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if after := descriptors(); after > before {
			fmt.Fprintf(os.Stderr, "descriptors after the tests: got %d; want %d\n", after, before)
			code = 1
		}
	}
	os.Exit(code)
}

func descriptors() int {
	open, _ := filepath.Glob("/proc/self/fd/*")
	return len(open)
}

// makeCertificate makes one that signs itself, for originName.
func makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: originName},
		DNSNames:     []string{originName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	originPEM = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	roots.AppendCertsFromPEM(originPEM)
	originCert, err = tls.X509KeyPair(originPEM, originPEM)
	return err
}

// trusting is a client's configuration for one version.
func trusting(version uint16) *tls.Config {
	return &tls.Config{ServerName: originName, RootCAs: roots, MinVersion: version, MaxVersion: version}
}

// start runs a loop on a goroutine of its own until the test ends.
func start(t testing.TB) *loop.Loop {
	t.Helper()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Run() }()
	t.Cleanup(func() {
		l.Stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		l.Close()
	})
	return l
}

// A job is a Runner made of a function.
type job func(*loop.Task)

func (j job) Run(t *loop.Task) { j(t) }

func (j job) Crashed(v any, stack []byte) { panic(fmt.Sprintf("%v\n%s", v, stack)) }

// run runs f in a coroutine and waits for it. f must not call t.Fatal.
func run(t testing.TB, l *loop.Loop, f func(*loop.Task)) {
	t.Helper()
	done := make(chan struct{})
	l.Post(func() {
		l.Spawn(job(func(task *loop.Task) {
			defer close(done)
			f(task)
		}))
	})
	select {
	case <-done:
	case <-time.After(2 * patience):
		t.Fatal("stuck")
	}
}

// rawServer calls handle, on a goroutine of its own, for each connection it gets,
// and closes that afterwards.
func rawServer(t testing.TB, network string, handle func(net.Conn)) loop.Addr {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	s, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			all.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() { s.Close(); all.Wait() })
	text := s.Addr().String()
	if network == "unix" {
		text = "unix:" + text
	}
	a, err := loop.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// server is rawServer for TLS; config may be nil.
func server(t testing.TB, config *tls.Config, handle func(*tls.Conn)) loop.Addr {
	t.Helper()
	if config == nil {
		config = &tls.Config{}
	}
	config.Certificates = []tls.Certificate{originCert}
	return rawServer(t, "tcp", func(c net.Conn) {
		s := tls.Server(c, config)
		handle(s)
		_ = s.Close()
	})
}

// dial connects in t's coroutine. The result is open, or err says why not.
func dial(t *loop.Task, a loop.Addr, config *tls.Config) (*Conn, error) {
	raw := new(loop.Conn)
	if err := t.Connect(raw, a, t.After(patience)); err != nil {
		return nil, err
	}
	c := Client(raw, config)
	if err := c.Handshake(t, t.After(patience)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// read is TryRead that waits.
func read(t *loop.Task, c *Conn, b []byte) (int, error) {
	for {
		n, err := c.TryRead(b)
		if err != loop.ErrAgain {
			return n, err
		}
		if err := t.WaitAny(t.After(patience), c.Raw(), nil); err != nil {
			return 0, err
		}
	}
}

// readAll reads until an error, with a buffer of size, and returns what came
// before it.
func readAll(t *loop.Task, c *Conn, size int) (all []byte, err error) {
	b := make([]byte, size)
	for {
		n, err := read(t, c, b)
		all = append(all, b[:n]...)
		if err != nil {
			return all, err
		}
	}
}

// readFull fills b.
func readFull(t *loop.Task, c *Conn, b []byte) error {
	for len(b) > 0 {
		n, err := read(t, c, b)
		if b = b[n:]; err != nil {
			return err
		}
	}
	return nil
}

// write writes all of b, and waits until it is sent.
func write(t *loop.Task, c *Conn, b []byte) error {
	for len(b) > 0 || c.Unsent() {
		n, err := c.TryWrite(b)
		b = b[n:]
		if err == nil {
			err = c.Flush()
		}
		if err == loop.ErrAgain {
			err = t.WaitAny(t.After(patience), c.Raw(), nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// socketPair returns a connection on l and the descriptor of its other end, which
// the test closes.
func socketPair(t testing.TB, l *loop.Loop) (*loop.Conn, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Error(err)
		return new(loop.Conn), -1
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	c := new(loop.Conn)
	if err := l.Register(c, fds[0]); err != nil {
		t.Error(err)
	}
	return c, fds[1]
}
