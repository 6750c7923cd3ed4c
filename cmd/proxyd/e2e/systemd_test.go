package e2e

import (
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A manager plays systemd: it holds a socket, starts a proxy with it, and hears
// what the proxy has to say.
type manager struct {
	t        *testing.T
	proxy    *proxy
	listener *net.TCPListener
	notify   string

	mu    sync.Mutex
	heard []string // datagrams
}

func newManager(t *testing.T) *manager {
	t.Helper()
	p := newProxy(t)
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	m := &manager{t: t, proxy: p, listener: l.(*net.TCPListener), notify: p.path("notify")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: m.notify})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		m.listen(c)
	}()
	return m
}

func (m *manager) listen(c *net.UnixConn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		m.mu.Lock()
		m.heard = append(m.heard, string(buf[:n]))
		m.mu.Unlock()
	}
}

// start runs the proxy with the socket as descriptor 3, called name. LISTEN_PID
// must be the proxy's own, which only the process that becomes it knows.
func (m *manager) start(name string, env ...string) {
	m.t.Helper()
	socket, err := m.listener.File()
	if err != nil {
		m.t.Fatal(err)
	}
	defer socket.Close()
	p := m.proxy
	c := p.command(context.Background(), "sh", "-c", `export LISTEN_PID=$$; exec "$0" "$@"`, binary, "-c", p.path("proxy.hcl"))
	c.Env = append(c.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES="+name, "NOTIFY_SOCKET="+m.notify)
	c.Env = append(c.Env, env...)
	c.ExtraFiles = []*os.File{socket}
	p.launch(c)
}

// hear waits for the first datagram from number from on that has line, and
// returns its number.
func (m *manager) hear(line string, from int) int {
	m.t.Helper()
	found := -1
	if !within(patience, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		found = slices.IndexFunc(m.heard[from:], func(s string) bool { return slices.Contains(strings.Split(s, "\n"), line) })
		return found >= 0
	}) {
		m.t.Fatalf("from datagram %d on: got %q; want %s", from, m.heard[from:], line)
	}
	return from + found
}

func (m *manager) datagram(i int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heard[i]
}

// value returns what a datagram assigns to name.
func value(datagram, name string) string {
	for line := range strings.SplitSeq(datagram, "\n") {
		if v, ok := strings.CutPrefix(line, name+"="); ok {
			return v
		}
	}
	return ""
}

// open checks that the socket still is one: that it takes a connection.
func (m *manager) open() {
	m.t.Helper()
	c, err := net.DialTimeout("tcp", m.proxy.address, patience)
	if err != nil {
		m.t.Fatalf("the socket after the proxy's end: %v", err)
	}
	defer c.Close()
	_ = m.listener.SetDeadline(time.Now().Add(patience)) // fails as Accept does
	a, err := m.listener.Accept()
	if err != nil {
		m.t.Fatalf("the socket after the proxy's end: %v", err)
	}
	a.Close()
}

func TestASocketFromSystemd(t *testing.T) {
	for _, test := range []struct{ name, address, fdname string }{
		{"by name", "systemd:web", "web"},
		{"by address", "", "something.socket"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newManager(t)
			p := m.proxy
			address := test.address
			if address == "" {
				address = p.address
			}
			s := site{address: []string{address}, servers: []string{newOrigin(t, "origin", "", nil, nil).address}}
			p.write(s)
			m.start(test.fdname)
			ready := m.hear("READY=1", 0)
			p.get("/").want(t, http.StatusOK) // at the first try
			pid := strconv.Itoa(p.cmd.Process.Pid)
			if got := value(m.datagram(ready), "MAINPID"); got != pid {
				t.Errorf("MAINPID: got %s; want %s", got, pid)
			}

			began := monotonic() / 1000
			s.upstream = `host = "next.example"`
			p.write(s)
			p.signal(syscall.SIGHUP)
			reloading := m.hear("RELOADING=1", ready+1)
			usec, err := strconv.ParseInt(value(m.datagram(reloading), "MONOTONIC_USEC"), 10, 64)
			if now := monotonic() / 1000; err != nil || usec < began || usec > now {
				t.Errorf("datagram %q: want MONOTONIC_USEC from %d to %d", m.datagram(reloading), began, now)
			}
			ready = m.hear("READY=1", reloading+1)
			if a := p.get("/"); !strings.Contains(a.body, "host=next.example") {
				t.Errorf("after the reload: got %q; want the new host", a.body)
			}

			p.signal(syscall.SIGTERM)
			m.hear("STOPPING=1", ready+1)
			if code := p.wait(patience); code != 0 {
				t.Errorf("exit code: got %d; want 0", code)
			}
			m.open()
		})
	}
}

func TestTheWatchdogIsFed(t *testing.T) {
	m := newManager(t)
	m.proxy.write(site{address: []string{"systemd:web"}, servers: []string{refused(t)}})
	m.start("web", "WATCHDOG_USEC=400000")
	next := m.hear("READY=1", 0)
	began := time.Now()
	for range 5 {
		next = m.hear("WATCHDOG=1", next+1)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("5 signs of life: got them in %v; want one each 200ms", took)
	}
}

func TestASocketThatSystemdDidNotPass(t *testing.T) {
	m := newManager(t)
	m.proxy.write(site{address: []string{"systemd:other"}, servers: []string{refused(t)}})
	m.start("web")
	if code := m.proxy.wait(patience); code != 3 {
		t.Errorf("exit code: got %d; want 3", code)
	}
	m.proxy.awaitLog(`systemd passed no socket named .?"other.?" \(passed: web\)`)
	m.open()
}
