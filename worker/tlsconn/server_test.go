package tlsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
)

// connect makes a connection with a handshake. The test closes it.
func connect(t testing.TB, address string, config *tls.Config) (*tls.Conn, error) {
	t.Helper()
	raw, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(patience))
	c := tls.Client(raw, config)
	return c, c.Handshake()
}

// mustConnect is connect and an echo through it.
func mustConnect(t testing.TB, address string, config *tls.Config) *tls.Conn {
	t.Helper()
	c, err := connect(t, address, config)
	if err == nil {
		err = ping(c, 4)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ping sends size bytes and reads them back.
func ping(c net.Conn, size int) error {
	out, got := random(size, uint64(size)), make([]byte, size)
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(out)
		written <- err
	}()
	_, err := io.ReadFull(c, got)
	if err = errors.Join(err, <-written); err == nil && !bytes.Equal(got, out) {
		err = errors.New("other bytes came back")
	}
	return err
}

// plain is the settings of a server that shows originCert.
func plain() Settings { return Settings{Certificates: []tls.Certificate{originCert}} }

func TestServerEcho(t *testing.T) {
	l := start(t)
	address := serve(t, l, configOf(t, plain()), answer)
	for name, version := range versions {
		c := mustConnect(t, address, trusting(version))
		for _, size := range []int{1, 16 << 10, 16<<10 + 1, 1 << 20} {
			if err := ping(c, size); err != nil {
				t.Errorf("%s, %d bytes: %v", name, size, err)
			}
		}
		if got := c.ConnectionState().Version; got != version {
			t.Errorf("%s: got version %x", name, got)
		}
	}
}

// Each kind of key signs, those of the slow kinds elsewhere.
func TestServerKeys(t *testing.T) {
	l := start(t)
	a := newAuthority(t, "test CA")
	for _, kind := range []string{"ecdsa", "ed25519", "p384", "rsa"} {
		key := newKey(t, kind)
		if got, want := slow(key), kind == "p384" || kind == "rsa"; got != want {
			t.Errorf("%s is slow: got %v; want %v", kind, got, want)
		}
		for _, gate := range []*Gate{nil, NewGate(l)} {
			config := configOf(t, Settings{Certificates: []tls.Certificate{a.server(t, key, originName)}, Gate: gate})
			address := serve(t, l, config, answer)
			for _, version := range versions {
				mustConnect(t, address, &tls.Config{ServerName: originName, RootCAs: a.pool(), MinVersion: version, MaxVersion: version})
			}
		}
	}
}

func TestServerChoosesByName(t *testing.T) {
	a := newAuthority(t, "test CA")
	config := configOf(t, Settings{Certificates: []tls.Certificate{
		a.server(t, newKey(t, "ecdsa"), "one.test"), a.server(t, newKey(t, "rsa"), "*.two.test"),
	}})
	address := serve(t, start(t), config, answer)
	for name, want := range map[string]string{"one.test": "one.test", "a.two.test": "*.two.test", "three.test": "one.test", "": "one.test"} {
		c, err := connect(t, address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("%q: got the certificate of %s; want that of %s", name, got, want)
		}
	}
}

// A name with bytes that no name has is refused: it could become a header.
func TestServerRefusesNames(t *testing.T) {
	hello := helloBytes(t)
	errs := make(chan error, 1)
	address := serve(t, start(t), configOf(t, plain()), func(_ *loop.Task, _ *Conn, err error) { errs <- err })
	for _, name := range []string{"orig\r\ntest\t", "origin test", "origin\x00test", "origin\x7ftest", "or\xc3\xadgintest"} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(bytes.Replace(hello, []byte(originName), []byte(name), 1))
		if err := <-errs; err != errNoName {
			t.Errorf("%q: got %v; want %v", name, err, errNoName)
		}
		c.Close()
	}
	for _, name := range []string{"", "a", "xn--a-b.test", strings.Repeat("a", 255)} {
		if !isName(name) {
			t.Errorf("%q: refused", name)
		}
	}
	if isName(strings.Repeat("a", 256)) {
		t.Error("a name of 256 bytes: taken")
	}
}

func TestServerStaples(t *testing.T) {
	s := plain()
	s.Certificates[0].OCSPStaple = []byte("a response")
	c, err := connect(t, serve(t, start(t), configOf(t, s), answer), trusting(tls.VersionTLS13))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.OCSPResponse(); string(got) != "a response" {
		t.Errorf("staple: got %q", got)
	}
}

func TestServerALPN(t *testing.T) {
	s := plain()
	s.ALPN = []string{"h2", "http/1.1"}
	states := make(chan tls.ConnectionState, 1)
	address := serve(t, start(t), configOf(t, s), func(_ *loop.Task, c *Conn, err error) {
		if err == nil {
			states <- c.State()
		}
	})
	for offer, want := range map[string]string{"http/1.1,h2": "h2", "http/1.1": "http/1.1", "": "", "smtp": "refused"} {
		config := trusting(tls.VersionTLS13)
		if offer != "" {
			config.NextProtos = strings.Split(offer, ",")
		}
		c, err := connect(t, address, config)
		got := "refused"
		if err == nil {
			got = c.ConnectionState().NegotiatedProtocol
			if here := (<-states); here.NegotiatedProtocol != got || here.ServerName != originName || here.Version != tls.VersionTLS13 {
				t.Errorf("%s: the server knows %q, %q, %x", offer, here.NegotiatedProtocol, here.ServerName, here.Version)
			}
		}
		if got != want {
			t.Errorf("%q: got %q (%v); want %q", offer, got, err, want)
		}
	}
}

// What the least version, and what no setting, allows.
func TestServerRefuses(t *testing.T) {
	l := start(t)
	strict := plain()
	strict.MinVersion = tls.VersionTLS13
	any := serve(t, l, configOf(t, plain()), answer)
	for name, c := range map[string]struct {
		address string
		config  *tls.Config
	}{
		"TLS 1.0":        {any, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}},
		"TLS 1.1":        {any, &tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}},
		"1.2 of 1.3":     {serve(t, l, configOf(t, strict), answer), &tls.Config{MaxVersion: tls.VersionTLS12}},
		"CBC":            {any, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}},
		"RC4":            {any, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}}},
		"the slow curve": {any, &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP521}}},
	} {
		c.config.ServerName, c.config.RootCAs = originName, roots
		if _, err := connect(t, c.address, c.config); err == nil {
			t.Errorf("%s: got a connection; want none", name)
		}
	}
}

func TestServerAsksForCertificates(t *testing.T) {
	a, other := newAuthority(t, "client CA"), newAuthority(t, "another")
	l := start(t)
	for _, require := range []bool{true, false} {
		s := plain()
		s.ClientCA, s.RequireClient = a.pem, require
		subjects := make(chan string, 1)
		address := serve(t, l, configOf(t, s), func(task *loop.Task, c *Conn, err error) {
			subject := "refused"
			if err == nil {
				subject = ""
				if x := c.ClientCertificate(); x != nil {
					subject = x.Subject
				}
			}
			subjects <- subject
			answer(task, c, err)
		})
		without := map[bool]string{true: "refused", false: ""}[require]
		for name, c := range map[string]struct {
			certs []tls.Certificate
			want  string
		}{
			"without":    {nil, without},
			"trusted":    {[]tls.Certificate{a.client(t, "alice")}, `CN=alice,O=Test\, Inc.,C=DE`},
			"unknown":    {[]tls.Certificate{other.client(t, "mallory")}, "refused"},
			"a server's": {[]tls.Certificate{a.issue(t, leafOf("eve", false), newKey(t, "ecdsa"))}, "refused"},
		} {
			for _, version := range versions {
				config := trusting(version)
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if c.certs == nil {
						return new(tls.Certificate), nil
					}
					return &c.certs[0], nil // also one that the server does not ask for
				}
				conn, err := connect(t, address, config)
				if got := <-subjects; got != c.want {
					t.Errorf("%s, required %v: got %q; want %q", name, require, got, c.want)
				}
				if err == nil {
					err = ping(conn, 10)
				}
				if (err != nil) != (c.want == "refused") {
					t.Errorf("%s, required %v: the client sees %v", name, require, err)
				}
			}
		}
	}
}

// Those who do not speak TLS, or break it off, get an error, in a finite time.
func TestServerHearsNonsense(t *testing.T) {
	hello := helloBytes(t)
	errs := make(chan error, 1)
	address := serve(t, start(t), configOf(t, plain()), func(_ *loop.Task, _ *Conn, err error) { errs <- err })
	for name, b := range map[string][]byte{
		"HTTP":             []byte("GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n"),
		"nothing":          nil,
		"a PROXY header":   []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
		"SSL 2":            {0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10},
		"zeroes":           make([]byte, 10_000),
		"random":           random(10_000, 7),
		"half a hello":     hello[:len(hello)/2],
		"a hello and FIN":  hello,
		"two hellos":       append(slices.Clone(hello), hello...),
		"hello, then data": append(slices.Clone(hello), 23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0),
		"an alert":         {21, 3, 3, 0, 2, 2, 40},
		"endless warnings": []byte(strings.Repeat("\x15\x03\x03\x00\x02\x01\x5a", 1000)),
		"huge message":     append([]byte{22, 3, 3, 0x40, 0, 1, 0xff, 0xff, 0xff}, make([]byte, 16<<10)...),
		"long record":      append([]byte{22, 3, 3, 0xff, 0xff}, make([]byte, 70_000)...),
	} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(b)
		_ = c.(*net.TCPConn).CloseWrite()
		if err := <-errs; err == nil || errors.Is(err, loop.ErrDeadline) {
			t.Errorf("%s: got %v; want an error", name, err)
		}
		c.Close()
	}
}

// helloBytes is what a client says first.
func helloBytes(t testing.TB) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer there.Close()
	failed := make(chan error)
	go func() { failed <- tls.Client(here, trusting(tls.VersionTLS13)).Handshake() }()
	b := make([]byte, 4<<10)
	n, err := there.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	here.Close()
	<-failed
	return b[:n]
}

func TestServerHandshakeDeadline(t *testing.T) {
	l := start(t)
	errs := make(chan error, 1)
	config := configOf(t, plain())
	address := listen(t, l, func(fd int) {
		raw := new(loop.Conn)
		if l.Register(raw, fd) == nil {
			l.Spawn(job(func(task *loop.Task) {
				c := Server(raw, config)
				errs <- c.Handshake(task, task.After(30*time.Millisecond))
				c.Close()
			}))
		}
	})
	hello := helloBytes(t)
	for _, b := range [][]byte{nil, hello[:3], hello[:len(hello)-1], hello} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(b)
		if err := <-errs; err != loop.ErrDeadline {
			t.Errorf("after %d bytes: got %v; want %v", len(b), err, loop.ErrDeadline)
		}
		c.Close()
	}
}

// A client that has sent all it has to say still hears the answer.
func TestServerHalfClose(t *testing.T) {
	address := serve(t, start(t), configOf(t, plain()), func(task *loop.Task, c *Conn, err error) {
		got, end := []byte(nil), err
		if err == nil {
			got, end = readAll(task, c, 100)
		}
		if end != io.EOF {
			t.Errorf("got %v; want %v", end, io.EOF)
		}
		_ = write(task, c, fmt.Append(nil, "heard ", string(got)))
		c.CloseWrite()
	})
	for name, version := range versions {
		c, err := connect(t, address, trusting(version))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "all")
		_ = c.CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "heard all" || err != nil {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// A tap keeps what was read of a connection.
type tap struct {
	net.Conn
	read []byte
}

func (r *tap) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.read = append(r.read, b[:n]...)
	return n, err
}

// Several slices make one record, which is full if they are longer.
func TestWritevMakesOneRecord(t *testing.T) {
	head, body := random(200, 1), random(20_000, 2)
	address := serve(t, start(t), configOf(t, plain()), func(task *loop.Task, c *Conn, err error) {
		if err != nil {
			t.Error(err)
			return
		}
		first, err := c.TryWritev(head, nil, body[:300])
		if first != 500 || err != nil {
			t.Errorf("got %d, %v; want 500", first, err)
		}
		second, err := c.TryWritev(body[300:400], body[400:])
		if second != maxPlain || err != nil {
			t.Errorf("got %d, %v; want %d", second, err, maxPlain)
		}
		if err := write(task, c, body[300+maxPlain:]); err != nil {
			t.Error(err)
		}
	})
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	r := &tap{Conn: raw}
	c := tls.Client(r, trusting(tls.VersionTLS13))
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, append(head, body...)) {
		t.Errorf("got %d bytes, %v; want those that were sent", len(got), err)
	}
	var sizes []int
	for b := r.read; len(b) > recordHeader; {
		n := int(b[3])<<8 | int(b[4])
		if b[0] == 23 {
			sizes = append(sizes, n-17) // but for the tag and the kind
		}
		b = b[recordHeader+n:]
	}
	want := []int{500, maxPlain, 20_000 - 300 - maxPlain, 2} // 2: close_notify
	if len(sizes) < len(want) || !slices.Equal(sizes[len(sizes)-len(want):], want) {
		t.Errorf("records: got %v; want %v at the end", sizes, want)
	}
}
