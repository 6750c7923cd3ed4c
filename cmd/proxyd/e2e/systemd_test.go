package e2e

import (
	"context"
	"fmt"
	"maps"
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

	"golang.org/x/sys/unix"
)

// A manager plays systemd: it holds a socket, starts a proxy with it, and hears
// what the proxy has to say.
type manager struct {
	t        *testing.T
	proxy    *proxy
	listener *net.TCPListener
	notify   string

	mu    sync.Mutex
	heard []string            // datagrams
	store map[string]*os.File // descriptors left with it
}

func newManager(t *testing.T) *manager {
	t.Helper()
	p := newProxy(t)
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	m := &manager{t: t, proxy: p, listener: l.(*net.TCPListener), notify: p.path("notify"), store: make(map[string]*os.File)}
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
	buf, oob := make([]byte, 64<<10), make([]byte, 1024)
	for {
		n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		m.mu.Lock()
		m.keep(string(buf[:n]), oob[:oobn])
		m.heard = append(m.heard, string(buf[:n]))
		m.mu.Unlock()
	}
}

// keep stores the descriptor that comes with a datagram, if it is to be stored.
func (m *manager) keep(text string, oob []byte) {
	name := value(text, "FDNAME")
	if strings.HasPrefix(text, "FDSTOREREMOVE=1\n") && m.store[name] != nil {
		m.store[name].Close()
		delete(m.store, name)
	}
	list, _ := unix.ParseSocketControlMessage(oob)
	for i := range list {
		fds, _ := unix.ParseUnixRights(&list[i])
		for _, fd := range fds {
			if strings.HasPrefix(text, "FDSTORE=1\n") && m.store[name] == nil {
				m.store[name] = os.NewFile(uintptr(fd), name)
			} else {
				unix.Close(fd)
			}
		}
	}
}

// restart runs the proxy with all that is stored, as after its death.
func (m *manager) restart() {
	m.t.Helper()
	m.mu.Lock()
	var names []string
	var files []*os.File
	for name, f := range m.store {
		names, files = append(names, name), append(files, f)
	}
	m.mu.Unlock()
	p := m.proxy
	before := p.logged(`msg=serving`)
	c := p.command(context.Background(), "sh", "-c", `export LISTEN_PID=$$; exec "$0" "$@"`, binary, "-c", p.path("proxy.hcl"))
	c.Env = append(c.Env, "FDSTORE=512", "NOTIFY_SOCKET="+m.notify)
	if len(files) > 0 {
		c.Env = append(c.Env, "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	c.ExtraFiles = files
	p.launch(c)
	p.awaitLogs(`msg=serving`, before+1)
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
	p.install(binary)
	c := p.command(context.Background(), "sh", "-c", `export LISTEN_PID=$$; exec "$0" "$@"`, p.path("proxyd"), "-c", p.path("proxy.hcl"))
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

// TestAnUpgradeUnderSystemd has the service go on in another process, which the
// manager is told of by the one that it knows.
func TestAnUpgradeUnderSystemd(t *testing.T) {
	long(t)
	m := newManager(t)
	p := m.proxy
	p.write(site{address: []string{"systemd:web"}, servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	m.start("web", "WATCHDOG_USEC=400000")
	m.hear("READY=1", 0)
	first := p.cmd.Process.Pid
	p.installNext()
	l := newLoad(t, p.address)
	l.renew(50)
	p.upgrade()
	s := p.status()
	if s.Pid == first {
		t.Fatalf("process: got %d as before; want another", s.Pid)
	}
	told := m.hear("MAINPID="+strconv.Itoa(s.Pid), 0)
	if m.hear("BARRIER=1", told) < told {
		t.Error("BARRIER=1: want it after MAINPID")
	}
	if code := p.wait(patience); code != 0 {
		t.Errorf("exit code of the old process: got %d; want 0", code)
	}
	next := told
	for range 3 { // of the new one
		next = m.hear("WATCHDOG=1", next+1)
	}
	l.awaitMore(t, 50)
	l.end(t)
	if err := syscall.Kill(s.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.hear("STOPPING=1", told)
	await(t, "end", func() bool { return len(processesOf(p.dir)) == 0 })
	m.open()
}

// TestTheDescriptorStore kills all of the proxy: what the manager keeps has
// connections wait, and limits go on.
func TestTheDescriptorStore(t *testing.T) {
	const limit = 100
	awaitHour(t)
	m := newManager(t)
	m.listener.Close() // this one's are the proxy's own
	p := m.proxy
	origin := newOrigin(t, "origin", "", nil, nil).address
	perSecond(p, fmt.Sprintf("%d/h", limit), origin)
	m.restart()
	kept := func() int { m.mu.Lock(); defer m.mu.Unlock(); return len(m.store) }
	await(t, "a listener and the segment in the store", func() bool { return kept() == 2 })
	if got := use(t, p, "app", limit/2); got != limit/2 {
		t.Fatalf("before: got %d admitted; want %d", got, limit/2)
	}
	pids := p.pids()
	p.killSupervisor()
	for _, pid := range pids {
		kill(t, pid)
	}
	waiting := connect(t, p.address)
	if err := waiting.send(request(http.MethodGet, "/", "")); err != nil {
		t.Fatal(err)
	}
	m.restart()
	a, err := waiting.receive(http.MethodGet)
	if err != nil {
		t.Fatalf("the connection that waited: %v", err)
	}
	a.want(t, http.StatusOK)
	if got := use(t, p, "app", limit); got != limit/2 {
		t.Errorf("after: got %d admitted; want the %d that were left", got, limit/2)
	}

	// A clean restart is the same for those who connect meanwhile.
	p.signal(syscall.SIGTERM)
	p.wait(patience)
	waiting = connect(t, p.address)
	if err := waiting.send(request(http.MethodGet, "/", "")); err != nil {
		t.Fatal(err)
	}
	m.restart()
	if a, err = waiting.receive(http.MethodGet); err != nil {
		t.Fatalf("the connection that waited for a restart: %v", err)
	}
	a.want(t, http.StatusOK)

	// What the proxy does not need any more is taken out.
	p.write(site{address: []string{"unix:" + p.path("web.sock")}, servers: []string{origin}})
	if out, code := p.run("reload", "-c", p.path("proxy.hcl")); code != 0 {
		t.Fatalf("reload: got exit code %d, %s; want 0", code, out)
	}
	await(t, "another listener in the store", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.store) == 2 && slices.ContainsFunc(slices.Collect(maps.Keys(m.store)), func(s string) bool { return strings.HasPrefix(s, "l.unix.") })
	})
	if c, err := dial(p.address); err == nil {
		c.Close()
		t.Error("the listener that was removed: got a connection; want none")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.store {
		f.Close()
	}
}
