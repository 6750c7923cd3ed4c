package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/config"
)

func tcp(value string) config.Address { return config.Address{Network: "tcp", Value: value} }

func unixAddress(path string) config.Address {
	return config.Address{Network: "unix", Value: path}
}

// mustBind binds a and closes it at the end of the test.
func mustBind(t *testing.T, a config.Address) *socket {
	t.Helper()
	s, err := bind(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// freePort finds a port that nobody has at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func reachable(network, address string) error {
	nc, err := net.Dial(network, address)
	if err == nil {
		nc.Close()
	}
	return err
}

func TestBind(t *testing.T) {
	port := freePort(t)
	path := filepath.Join(t.TempDir(), "s.sock")
	tests := []struct {
		address   config.Address
		reach     []string
		unreached []string
	}{
		{tcp(fmt.Sprintf("127.0.0.1:%d", port)), []string{"127.0.0.1"}, []string{"::1"}},
		{tcp(fmt.Sprintf("[::1]:%d", port)), []string{"::1"}, []string{"127.0.0.1"}},
		{tcp(fmt.Sprintf("0.0.0.0:%d", port)), []string{"127.0.0.1"}, []string{"::1"}},
		{tcp(fmt.Sprintf("[::]:%d", port)), []string{"::1", "127.0.0.1"}, nil},
		{unixAddress(path), []string{path}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.address.Value, func(t *testing.T) {
			s, err := bind(tt.address)
			if err != nil {
				t.Fatal(err)
			}
			dial := func(host string) error {
				if tt.address.Network == "unix" {
					return reachable("unix", host)
				}
				return reachable("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
			}
			for _, host := range tt.reach {
				if err := dial(host); err != nil {
					t.Errorf("dial %s: %v", host, err)
				}
			}
			for _, host := range tt.unreached {
				if dial(host) == nil {
					t.Errorf("dial %s: got a connection; want none", host)
				}
			}
			want := tt.address.Value
			if tt.address.Network == "unix" {
				want = "unix:" + want
			}
			if s.bound != want {
				t.Errorf("bound: got %s; want %s", s.bound, want)
			}
			flags, err := unix.FcntlInt(uintptr(s.fd), unix.F_GETFL, 0)
			if err != nil || flags&unix.O_NONBLOCK == 0 {
				t.Errorf("flags: got %#x, %v; want O_NONBLOCK", flags, err)
			}
			s.close()
			for _, host := range tt.reach {
				if dial(host) == nil {
					t.Errorf("dial %s after close: got a connection; want none", host)
				}
			}
		})
	}
}

func TestBindErrorsSayWhatToDo(t *testing.T) {
	busy := mustBind(t, tcp(fmt.Sprintf("127.0.0.1:%d", freePort(t))))
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	served := mustBind(t, unixAddress(filepath.Join(t.TempDir(), "served.sock")))
	long := filepath.Join(t.TempDir(), strings.Repeat("a", 120))
	tests := []struct {
		address config.Address
		want    []string
	}{
		{tcp(busy.bound), []string{"bind " + busy.bound + ": address already in use", "ss -ltnp"}},
		{tcp("192.0.2.1:80"), []string{"bind 192.0.2.1:80: cannot assign requested address", "ip address"}},
		{unixAddress(file), []string{"bind unix:" + file, "no socket"}},
		{unixAddress(served.address.Value), []string{"address already in use", "answers"}},
		{unixAddress(long), []string{"at most 107"}},
		{unixAddress("/no/such/dir/s.sock"), []string{"bind unix:/no/such/dir/s.sock: no such file"}},
	}
	for _, tt := range tests {
		s, err := bind(tt.address)
		if err == nil {
			s.close()
			t.Errorf("bind %s: got no error; want one", tt.address.Value)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("bind %s: got %q; want it to contain %q", tt.address.Value, err, want)
			}
		}
	}
	if err := reachable("unix", served.address.Value); err != nil {
		t.Errorf("the socket that answered: %v", err)
	}
}

func TestBindHintForLowPorts(t *testing.T) {
	if got := bindHint(tcp("0.0.0.0:80"), unix.EACCES); !strings.Contains(got, "CAP_NET_BIND_SERVICE") {
		t.Errorf("hint: got %q; want it to name the capability", got)
	}
	if got := bindHint(tcp("0.0.0.0:8080"), unix.EACCES); got != "" {
		t.Errorf("hint for a high port: got %q; want none", got)
	}
}

func TestStaleUnixSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	left, err := bind(unixAddress(path))
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(left.fd) // as kill -9 would
	s := mustBind(t, unixAddress(path))
	if err := reachable("unix", path); err != nil {
		t.Errorf("dial: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode: got %v, %v; want 0666", info.Mode(), err)
	}
	s.close()
	s.fd = -1
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("file after close: got %v; want none", err)
	}
}

func TestUnixSocketOfSomeoneElseStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	s, err := bind(unixAddress(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	mustBind(t, unixAddress(path))
	s.close()
	if err := reachable("unix", path); err != nil {
		t.Errorf("the other socket: %v", err)
	}
}

func listeners(addresses ...config.Address) *config.Config {
	return &config.Config{Listeners: []*config.Listener{{Name: "web", Addresses: addresses}}}
}

func TestMissingOpensAllOrNone(t *testing.T) {
	ss := sockets{open: make(map[string]*socket)}
	defer ss.close()
	a, b := tcp(fmt.Sprintf("127.0.0.1:%d", freePort(t))), tcp(fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	busy := mustBind(t, tcp(fmt.Sprintf("127.0.0.1:%d", freePort(t))))
	if _, err := ss.missing(listeners(a, tcp(busy.bound))); err == nil || !strings.Contains(err.Error(), `listener "web"`) {
		t.Errorf("with a port in use: got %v; want an error that names the listener", err)
	}
	if reachable("tcp", a.Value) == nil {
		t.Errorf("%s after the refusal: got a connection; want none", a.Value)
	}
	added, err := ss.missing(listeners(a, b))
	if err != nil || len(added) != 2 {
		t.Fatalf("missing: got %d, %v; want 2", len(added), err)
	}
	ss.add(added)
	if added, err := ss.missing(listeners(b)); err != nil || len(added) != 0 {
		t.Errorf("missing again: got %d, %v; want 0", len(added), err)
	}
	ss.prune(listeners(b))
	if reachable("tcp", a.Value) == nil {
		t.Errorf("%s after prune: got a connection; want none", a.Value)
	}
	if err := reachable("tcp", b.Value); err != nil {
		t.Errorf("%s after prune: %v", b.Value, err)
	}
	all := tcp(strings.Replace(b.Value, "127.0.0.1", "0.0.0.0", 1))
	if _, err := ss.missing(listeners(b, all)); err == nil || !strings.Contains(err.Error(), "by this proxy itself") {
		t.Errorf("a port of our own: got %v; want an error that says so", err)
	}
}

// A worker may hold a descriptor longer than it should; the port is free anyway.
func TestShutFreesThePortForAll(t *testing.T) {
	s, err := bind(tcp(fmt.Sprintf("127.0.0.1:%d", freePort(t))))
	if err != nil {
		t.Fatal(err)
	}
	held, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	s.shut()
	mustBind(t, s.address)
}

func passedFile(t *testing.T, name string) (f *os.File, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	fd, err := unix.FcntlInt(g.Fd(), unix.F_DUPFD_CLOEXEC, 3) // blocking by now, as systemd's are
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name), l.Addr().String()
}

func TestPassedSockets(t *testing.T) {
	ss := sockets{open: make(map[string]*socket)}
	defer ss.close()
	one, addressOne := passedFile(t, "one")
	two, addressTwo := passedFile(t, "two")
	three, _ := passedFile(t, "two")
	if err := ss.take([]*os.File{one, two, three}); err != nil {
		t.Fatal(err)
	}
	byName := config.Address{Network: "systemd", Value: "one"}
	added, err := ss.missing(listeners(byName, tcp(addressTwo)))
	if err != nil {
		t.Fatal(err)
	}
	ss.add(added)
	for _, s := range added {
		flags, err := unix.FcntlInt(uintptr(s.fd), unix.F_GETFL, 0)
		if !s.passed || err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("%s: got passed %t, flags %#x, %v; want a passed, non-blocking one", s.name, s.passed, flags, err)
		}
	}
	if got := ss.open[byName.Name()].bound; got != addressOne {
		t.Errorf("%v: got bound to %s; want %s", byName, got, addressOne)
	}
	ss.prune(listeners(tcp(addressTwo)))
	if err := reachable("tcp", addressOne); err != nil {
		t.Errorf("passed socket that is not in use: got %v; want it open", err)
	}
	for name, want := range map[string]string{"nix": "passed: one, two, two", "two": "FileDescriptorName"} {
		_, err := ss.missing(listeners(config.Address{Network: "systemd", Value: name}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("systemd:%s: got %v; want an error with %q", name, err, want)
		}
	}
}

func TestTakeRefusesWhatDoesNotListen(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	var ss sockets
	defer ss.close()
	if err := ss.take([]*os.File{os.NewFile(uintptr(fds[0]), "odd")}); err == nil || !strings.Contains(err.Error(), `"odd"`) {
		t.Errorf("take: got %v; want an error that names it", err)
	}
}
