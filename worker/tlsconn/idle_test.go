//go:build !race

package tlsconn

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"github.com/proxyd/proxyd/worker/loop"
)

// maxIdle is what an idle connection may take of the heap, in bytes.
const maxIdle = 8 << 10

// children are what this test binary can be besides.
func init() {
	children["dialer"] = dialer
}

// dialer makes TLSCONN_TEST_CONNS connections to TLSCONN_TEST_ADDR, has as many
// bytes as TLSCONN_TEST_BYTES echoed on each, says so, and keeps them until its
// standard input ends.
func dialer() int {
	n, _ := strconv.Atoi(os.Getenv("TLSCONN_TEST_CONNS"))
	size, _ := strconv.Atoi(os.Getenv("TLSCONN_TEST_BYTES"))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(os.Getenv("TLSCONN_TEST_CA")))
	version, _ := strconv.Atoi(os.Getenv("TLSCONN_TEST_VERSION"))
	config := &tls.Config{ServerName: originName, RootCAs: pool, MaxVersion: uint16(version)}
	text := []byte(os.Getenv("TLSCONN_TEST_PEM"))
	if cert, err := tls.X509KeyPair(text, text); err == nil {
		config.Certificates = []tls.Certificate{cert} // shown if it is asked for
	}
	for range n {
		c, err := tls.Dial("tcp", os.Getenv("TLSCONN_TEST_ADDR"), config)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		go func() { _, _ = c.Write(make([]byte, size)) }()
		if _, err := io.ReadFull(c, make([]byte, size)); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// A parkedConn echoes what comes and is parked in between.
type parkedConn struct {
	loop.Conn
	c      *Conn
	config *tls.Config
	b      []byte // all have the same
}

func (p *parkedConn) Wake(*loop.Conn, bool) { p.Loop().Spawn(p) }

func (p *parkedConn) Crashed(_ any, stack []byte) { panic(string(stack)) }

func (p *parkedConn) Run(t *loop.Task) {
	err := error(nil)
	if p.c == nil {
		p.c = Server(&p.Conn, p.config)
		err = p.c.Handshake(t, t.After(patience))
	}
	for err == nil {
		var n int
		if n, err = p.c.TryRead(p.b); err == nil {
			err = write(t, p.c, p.b[:n])
		}
	}
	if err != loop.ErrAgain {
		p.c.Close()
		return
	}
	p.c.Shrink()
	p.Park(p, nil)
}

func TestIdleConnectionIsSmall(t *testing.T) {
	a := newAuthority(t, "client CA")
	t.Setenv("TLSCONN_TEST_PEM", string(pemOf(t, a.client(t, "alice"))))
	for name, c := range map[string]struct {
		size int // of the exchange before
		ca   []byte
	}{"a request": {300, nil}, "an upload": {100_000, nil}, "a client certificate": {300, a.pem}} {
		for version, number := range versions {
			t.Run(version+" after "+name, func(t *testing.T) {
				if testing.Short() && c.size > 300 {
					t.Skip("takes seconds")
				}
				l := start(t)
				s := plain()
				s.Tickets, s.Gate, s.ClientCA = ticketsIn(t, newSegment(t)), NewGate(l), c.ca
				got := idleBytes(t, l, configOf(t, s), number, c.size)
				t.Logf("%d bytes per idle connection", got)
				if got > maxIdle {
					t.Errorf("bytes per idle connection: got %d; want at most %d", got, maxIdle)
				}
			})
		}
	}
}

// idleBytes is what a connection to l takes that size bytes came through.
func idleBytes(t *testing.T, l *loop.Loop, config *tls.Config, version uint16, size int) int {
	const conns = 1000
	var all []*parkedConn
	b := make([]byte, 16<<10)
	address := listen(t, l, func(fd int) {
		p := &parkedConn{config: config, b: b}
		if l.Register(&p.Conn, fd) == nil {
			all = append(all, p)
			l.Spawn(p)
		}
	})
	run(t, l, func(*loop.Task) { all = make([]*parkedConn, 0, 2*conns) })
	before := heap()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TLSCONN_TEST_CHILD=dialer", "TLSCONN_TEST_ADDR="+address, "TLSCONN_TEST_CA="+string(originPEM),
		fmt.Sprint("TLSCONN_TEST_CONNS=", conns), fmt.Sprint("TLSCONN_TEST_BYTES=", size), fmt.Sprint("TLSCONN_TEST_VERSION=", version))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the clients: got %q, %v; want ready", line, err)
	}
	after := heap()
	run(t, l, func(*loop.Task) {
		if len(all) != conns {
			t.Errorf("connections: got %d; want %d", len(all), conns)
		}
	})
	return (after - before) / conns
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// This version of crypto/tls has the buffers that we know.
func TestInnerBuffers(t *testing.T) {
	if got := len(innerBuffers); got != 2 {
		t.Errorf("buffers of tls.Conn: got %d; want 2: see findBuffers", got)
	}
}
