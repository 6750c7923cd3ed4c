package tlsconn

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
)

// A tardyKey signs when the test lets it.
type tardyKey struct {
	crypto.Signer
	asked chan struct{}
	let   chan error // an error, or nil to sign
}

func newTardyKey(t testing.TB) *tardyKey {
	return &tardyKey{newKey(t, "ecdsa"), make(chan struct{}, 100), make(chan error)}
}

var errPanic = errors.New("panic")

func (k *tardyKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.asked <- struct{}{}
	switch err := <-k.let; err {
	case nil:
		return k.Signer.Sign(rand, digest, opts)
	case errPanic:
		panic("the key is broken")
	default:
		return nil, err
	}
}

// tardyServer serves with such a key. Of each handshake errs gets the error, or
// the panic.
func tardyServer(t testing.TB, l *loop.Loop, k *tardyKey, patience time.Duration) (address string, errs chan error) {
	t.Helper()
	c := newAuthority(t, "test CA").server(t, k, originName)
	config := configOf(t, Settings{Certificates: []tls.Certificate{c}, Gate: NewGate(l)})
	errs = make(chan error, 100)
	return listen(t, l, func(fd int) {
		r := &tardyRun{config: config, patience: patience, errs: errs}
		if l.Register(&r.Conn, fd) == nil {
			l.Spawn(r)
		}
	}), errs
}

type tardyRun struct {
	loop.Conn
	c        *Conn
	config   *tls.Config
	patience time.Duration
	errs     chan error
}

func (r *tardyRun) Run(t *loop.Task) {
	r.c = Server(&r.Conn, r.config)
	err := r.c.Handshake(t, t.After(r.patience))
	r.c.Close()
	r.errs <- err
}

func (r *tardyRun) Crashed(v any, _ []byte) {
	r.c.Close()
	r.errs <- errors.New(v.(string))
}

// greet sends a hello.
func greet(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Write(helloBytes(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKeyFailsOrPanics(t *testing.T) {
	k := newTardyKey(t)
	address, errs := tardyServer(t, start(t), k, patience)
	for want, how := range map[string]error{"the key is broken": errPanic, "no luck": errors.New("no luck")} {
		greet(t, address)
		<-k.asked
		k.let <- how
		if err := <-errs; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %s", err, want)
		}
	}
	// Nothing of that is in the way of the next.
	done := make(chan error)
	go func() {
		c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			c.Close()
		}
		done <- err
	}()
	<-k.asked
	k.let <- nil
	if err := errors.Join(<-done, <-errs); err != nil {
		t.Errorf("the next: %v", err)
	}
}

func TestClientLeavesWhileTheKeyWorks(t *testing.T) {
	k := newTardyKey(t)
	l := start(t)
	address, errs := tardyServer(t, l, k, patience)
	c := greet(t, address)
	<-k.asked
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	run(t, l, func(task *loop.Task) { task.Sleep(time.Millisecond) }) // the loop goes on meanwhile
	k.let <- nil
	if err := <-errs; err == nil || err == loop.ErrDeadline {
		t.Errorf("got %v; want the connection's error", err)
	}
}

// No more signatures are made at a time than there are processors for. Those who
// wait for one leave when their time is over or their client is gone.
func TestJobsWaitInLine(t *testing.T) {
	k := newTardyKey(t)
	l := start(t)
	c := newAuthority(t, "test CA").server(t, k, originName)
	g := NewGate(l)
	config := configOf(t, Settings{Certificates: []tls.Certificate{c}, Gate: g})
	g.working = 100 // all processors are taken
	errs := make(chan error, 10)
	after := make(chan time.Duration, 10)
	address := listen(t, l, func(fd int) {
		r := &tardyRun{config: config, patience: <-after, errs: errs}
		if l.Register(&r.Conn, fd) == nil {
			l.Spawn(r)
		}
	})
	inLine := func(n int) {
		t.Helper()
		run(t, l, func(task *loop.Task) {
			for end := task.After(patience); len(g.jobs) != n; task.Sleep(time.Millisecond) {
				if task.Now() > end {
					t.Errorf("in line: got %d; want %d", len(g.jobs), n)
					return
				}
			}
		})
	}
	after <- patience
	leaving := greet(t, address)
	inLine(1)
	after <- 20 * time.Millisecond
	greet(t, address)
	if err := <-errs; err != loop.ErrDeadline {
		t.Errorf("out of time: got %v; want %v", err, loop.ErrDeadline)
	}
	after <- patience
	greet(t, address)
	inLine(2)
	_ = leaving.(*net.TCPConn).SetLinger(0)
	leaving.Close()
	if err := <-errs; err != errGone {
		t.Errorf("client gone: got %v; want %v", err, errGone)
	}
	inLine(1)
	run(t, l, func(*loop.Task) { g.working = 1; g.endJob() })
	<-k.asked
	k.let <- errors.New("enough")
	if err := <-errs; err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("the last in line: got %v; want its turn", err)
	}
	run(t, l, func(*loop.Task) {
		if g.working != 0 || len(g.jobs) != 0 {
			t.Errorf("at the end: %d work, %d wait; want none", g.working, len(g.jobs))
		}
	})
}

// What a client shows is verified as crypto/tls would.
func TestVerifyClient(t *testing.T) {
	a := newAuthority(t, "client CA")
	between := a.issue(t, x509.Certificate{
		Subject: pkix.Name{CommonName: "between"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, newKey(t, "p384"))
	b := &authority{cert: between.Leaf, key: between.PrivateKey.(crypto.Signer)}
	leaf, direct, other := b.client(t, "alice").Certificate[0], a.client(t, "bob").Certificate[0], originCert.Certificate[0]
	for name, c := range map[string]struct {
		shown [][]byte
		want  bool
	}{
		"direct":          {[][]byte{direct}, true},
		"through another": {[][]byte{leaf, between.Certificate[0]}, true},
		"and more":        {[][]byte{leaf, other, direct, between.Certificate[0]}, true},
		"a hole":          {[][]byte{leaf}, false},
		"unknown":         {[][]byte{other}, false},
		"an authority":    {[][]byte{between.Certificate[0]}, true}, // as crypto/tls
		"nonsense":        {[][]byte{[]byte("nonsense")}, false},
		"nonsense behind": {[][]byte{direct, []byte("nonsense")}, false},
	} {
		if err := verifyClient(c.shown, a.pool()); (err == nil) != c.want {
			t.Errorf("%s: got %v; want good: %v", name, err, c.want)
		}
	}
	config := configOf(t, Settings{Certificates: []tls.Certificate{originCert}, ClientCA: a.pem})
	verify := new(Conn).verifyingElsewhere(config).VerifyPeerCertificate
	if err := verify(slices.Repeat([][]byte{direct}, maxChain+1), nil); err == nil {
		t.Errorf("%d certificates: got no error", maxChain+1)
	}
}

// Without a Conn of ours the configuration verifies all the same.
func TestClientIsVerifiedAnyhow(t *testing.T) {
	a, other := newAuthority(t, "client CA"), newAuthority(t, "another")
	for require, want := range map[bool]tls.ClientAuthType{true: tls.RequireAndVerifyClientCert, false: tls.VerifyClientCertIfGiven} {
		s := plain()
		s.ClientCA, s.RequireClient = a.pem, require
		config := configOf(t, s)
		if config.ClientAuth != want {
			t.Errorf("required %v: got %v; want %v", require, config.ClientAuth, want)
		}
		failed := make(chan error, 1)
		address := rawServer(t, "tcp", func(c net.Conn) { failed <- tls.Server(c, config).Handshake() })
		client := trusting(tls.VersionTLS12)
		client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return new(other.client(t, "mallory")), nil
		}
		_, _ = connect(t, address.String(), client)
		if err := <-failed; err == nil {
			t.Errorf("required %v: a stranger got in", require)
		}
	}
}
