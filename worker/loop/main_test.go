package loop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of a test: no more than a guard against hanging.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if role, ok := children[os.Getenv("LOOP_TEST_CHILD")]; ok {
		os.Exit(role())
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
		if after := descriptors(); len(after) > len(before) {
			fmt.Fprintf(os.Stderr, "descriptors after the tests: got %q; want %q\n", after, before)
			code = 1
		}
	}
	os.Exit(code)
}

// descriptors says what this process has open.
func descriptors() []string {
	var open []string
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil {
			open = append(open, to)
		}
	}
	slices.Sort(open)
	return open
}

// start runs a loop on a goroutine of its own until the test ends. The code that
// runs on it must not call t.Fatal, which would end that goroutine.
func start(t testing.TB) *Loop {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Run() }()
	t.Cleanup(func() {
		l.Stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
			l.Close()
		case <-time.After(patience):
			t.Error("the loop does not stop")
		}
	})
	return l
}

// on runs f on l and waits for it.
func on(t testing.TB, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	l.Post(func() { f(); close(done) })
	await(t, done)
}

// await waits until done is closed.
func await(t testing.TB, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("stuck")
	}
}

// eventually waits until f, called on l, is true.
func eventually(t testing.TB, l *Loop, what string, f func() bool) {
	t.Helper()
	done, stopped := make(chan struct{}), false
	l.Post(func() {
		l.Spawn(&job{run: func(task *Task) {
			defer close(done)
			for !stopped && !f() {
				task.Sleep(time.Millisecond)
			}
		}})
	})
	select {
	case <-done:
	case <-time.After(patience):
		l.Post(func() { stopped = true })
		t.Fatalf("never came true: %s", what)
	}
}

// A job is a Runner made of functions.
type job struct {
	run     func(*Task)
	crashed func(any, []byte) // nil: the test did not expect it
}

func (j *job) Run(t *Task) { j.run(t) }

func (j *job) Crashed(v any, stack []byte) {
	if j.crashed == nil {
		panic(fmt.Sprintf("unexpected panic: %v\n%s", v, stack))
	}
	j.crashed(v, stack)
}

// spawn runs f in a coroutine of l and returns what is closed at its end.
func spawn(l *Loop, f func(*Task)) <-chan struct{} {
	done := make(chan struct{})
	l.Post(func() {
		l.Spawn(&job{run: func(t *Task) {
			defer close(done)
			f(t)
		}})
	})
	return done
}

// An owner tells a function that its connection is woken.
type owner func(c *Conn, expired bool)

func (o owner) Wake(c *Conn, expired bool) { o(c, expired) }

// pair returns a connection on l and the other end of it.
func pair(t testing.TB, l *Loop) (*Conn, net.Conn) {
	t.Helper()
	fd, peer := sockets(t)
	c := new(Conn)
	on(t, l, func() {
		if err := l.Register(c, fd); err != nil {
			t.Error(err)
		}
	})
	return c, peer
}

// sockets returns the two ends of a unix stream: a non-blocking descriptor that
// the caller owns, and a net.Conn that the test closes.
func sockets(t testing.TB) (int, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[1]), "peer")
	defer f.Close()
	peer, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	_ = peer.SetDeadline(time.Now().Add(patience))
	return fds[0], peer
}

// tcpPair is pair over TCP.
func tcpPair(t testing.TB, l *Loop) (*Conn, *net.TCPConn) {
	t.Helper()
	s := listen(t, "tcp", "127.0.0.1:0")
	dialed := dial(t, s.Addr())
	accepted, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	c := new(Conn)
	fd := dup(t, accepted.(syscall.Conn))
	on(t, l, func() {
		if err := l.Register(c, fd); err != nil {
			t.Error(err)
		}
	})
	return c, dialed.(*net.TCPConn)
}

// listen skips the test if the machine does not have the network.
func listen(t testing.TB, network, address string) net.Listener {
	t.Helper()
	s, err := net.Listen(network, address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Skipf("no %s on this machine: %v", network, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func dial(t testing.TB, a net.Addr) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(a.Network(), a.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// dup returns another descriptor of s, which leaves it non-blocking.
func dup(t testing.TB, s syscall.Conn) int {
	t.Helper()
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if cerr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return fd
}

// address is what ParseAddr takes for a.
func address(t testing.TB, a net.Addr) Addr {
	t.Helper()
	text := a.String()
	if a.Network() == "unix" {
		text = "unix:" + text
	}
	parsed, err := ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
