package worker

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/loop"
	"golang.org/x/sys/unix"
)

// A proxy is a worker that runs in the test's process, without a supervisor.
type proxy struct {
	*worker
	seg     *shm.Segment
	addr    string
	log     *lockedBuffer
	current *snapshot

	upstreams []*upstream // that it has had
}

// startProxy runs a worker with one listener called "web" and what rest says of
// its upstreams and limits.
func startProxy(t testing.TB, route, rest string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startProxyOn(t, ln, route, rest)
}

// startProxyOn is startProxy on a socket that other workers may share.
func startProxyOn(t testing.TB, ln net.Listener, route, rest string) *proxy {
	t.Helper()
	seg, err := shm.Create()
	if err != nil {
		t.Fatal(err)
	}
	return startProxyIn(t, seg, 0, ln, route, rest)
}

// startProxyIn is startProxyOn beside other workers of the same segment.
func startProxyIn(t testing.TB, seg *shm.Segment, slot int, ln net.Listener, route, rest string) *proxy {
	t.Helper()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{seg: seg, log: new(lockedBuffer)}
	p.worker = &worker{
		slot: slot, loop: l, log: slog.New(slog.NewTextHandler(p.log, nil)), shared: seg.Slot(slot),
		sockets: make(map[string]int), listeners: make(map[string]*listener), maxClients: 1000,
		reading: make(map[*exchange]struct{}), http2Clients: make(map[*http2Client]struct{}),
	}
	if err := p.openTLS(seg); err != nil {
		t.Fatal(err)
	}
	p.shared.Occupy(os.Getpid())
	p.addr = ln.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- l.Run() }()
	t.Cleanup(func() {
		p.parted(t)
		l.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, u := range p.upstreams {
			if u.stop != nil { // a fatal error came first
				u.stop()
			}
		}
		l.Close()
		ln.Close()
	})
	p.configure(t, ln, route, rest)
	return p
}

// configure puts a configuration in force, as PREPARE and COMMIT do. ln is the
// listening socket the first time, else nil.
func (p *proxy) configure(t testing.TB, ln net.Listener, route, rest string) {
	t.Helper()
	c := p.parse(t, route, rest)
	s, err := p.compile(p.seg, c, 1, p.current)
	if err != nil {
		t.Fatal(err)
	}
	p.upstreams = append(p.upstreams, s.upstreams...)
	p.onLoop(func() {
		if ln != nil {
			p.sockets[c.Listeners[0].Addresses[0].Name()] = dup(t, ln)
		}
		err = p.install(s, p.current)
	})
	if err != nil {
		t.Fatal(err)
	}
	p.current = s
}

// parted checks that whatever the test did, the balancer was told of the end of
// each request that it found a server for: its clients are gone by now.
func (p *proxy) parted(t testing.TB) {
	left := 0
	for deadline := time.Now().Add(10 * time.Second); ; {
		p.onLoop(func() { left = p.under() })
		if left == 0 || t.Failed() {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d requests are under way when all is over; want 0", left)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *proxy) parse(t testing.TB, route, rest string) *config.Config {
	t.Helper()
	text := fmt.Sprintf("listener \"web\" {\n address = %q\n timeouts = { header = \"1s\", body_idle = \"1s\" }\n route \"all\" {\n%s\n}\n}\n%s",
		p.addr, route, rest)
	path := filepath.Join(t.TempDir(), "proxy.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dup(t testing.TB, ln net.Listener) int {
	rc, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if err := rc.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// dial opens a connection to p for the length of the test.
func (p *proxy) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// startOrigin serves connections by serve, each on a goroutine of its own, and
// returns the address.
func startOrigin(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return ln.Addr().String()
}

// answers returns an origin that reads requests without a body and answers each
// with response, allocating nothing.
func answers(response string) func(net.Conn) {
	return func(c net.Conn) {
		buf, have, out := make([]byte, 4096), 0, []byte(response)
		for {
			n, err := c.Read(buf[have:])
			if err != nil {
				return
			}
			have += n
			for {
				i := bytes.Index(buf[:have], []byte("\r\n\r\n"))
				if i < 0 {
					break
				}
				have = copy(buf, buf[i+4:have])
				if _, err := c.Write(out); err != nil {
					return
				}
			}
		}
	}
}

// upstream is the configuration of an upstream "up" with these servers.
func upstreamOf(servers ...string) string {
	return fmt.Sprintf("upstream \"up\" {\n servers = [\"%s\"]\n timeouts = { first_byte = \"1s\", body_idle = \"1s\" }\n}\n", strings.Join(servers, `", "`))
}

// ask sends raw on a new connection and returns all that comes until the proxy
// closes it.
func (p *proxy) ask(t *testing.T, raw string) string {
	t.Helper()
	c := p.dial(t)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(c) // a reset ends it too
	return string(got)
}

// A lockedBuffer is a log that goroutines share.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
