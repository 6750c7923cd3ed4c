package sysd

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain lets this binary be a service that was started with sockets.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "service" {
		os.Exit(service())
	}
	os.Exit(m.Run())
}

// service prints what Take found and what of the environment it leaves.
func service() int {
	if os.Getenv("LISTEN_PID") == "self" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	m, files, err := Take()
	if err != nil {
		os.Stdout.WriteString("error: " + err.Error() + "\n")
		return 0
	}
	for _, f := range files {
		os.Stdout.WriteString(f.Name() + " ")
	}
	os.Stdout.WriteString(m.Watchdog().String())
	for _, e := range Environ() {
		for _, name := range []string{"LISTEN_", "WATCHDOG_", "NOTIFY_"} {
			if strings.HasPrefix(e, name) {
				os.Stdout.WriteString(" left:" + e)
			}
		}
	}
	return 0
}

func TestTake(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	tests := []struct {
		name string
		env  []string
		want string
	}{
		{"nothing", nil, "0s"},
		{
			"all",
			[]string{
				"LISTEN_PID=self", "LISTEN_FDS=2", "LISTEN_FDNAMES=http:https",
				"WATCHDOG_USEC=3000000", "NOTIFY_SOCKET=/run/notify",
			},
			"http https 3s",
		},
		{"no names", []string{"LISTEN_PID=self", "LISTEN_FDS=1"}, "LISTEN_FD_3 0s"},
		{"for another process", []string{"LISTEN_PID=1", "LISTEN_FDS=2", "WATCHDOG_PID=1", "WATCHDOG_USEC=3000000"}, "0s"},
		{"bad watchdog", []string{"WATCHDOG_USEC=soon"}, "error: systemd watchdog: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "service")
			cmd.Env = tt.env
			cmd.ExtraFiles = []*os.File{null, null}
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if got := string(out); got != tt.want && !(strings.HasPrefix(tt.want, "error") && strings.HasPrefix(got, tt.want)) {
				t.Errorf("Take: got %q; want %q", got, tt.want)
			}
		})
	}
}

func TestNotices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	uc, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer uc.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	var m Manager
	pid := "MAINPID=" + strconv.Itoa(os.Getpid())
	tests := []struct {
		send func() error
		want []string
	}{
		{func() error { return m.Ready("config 1\nMAINPID=1") }, []string{"READY=1", pid, "STATUS=config 1 MAINPID=1"}},
		{m.Reloading, []string{"RELOADING=1", "MONOTONIC_USEC="}},
		{func() error { return m.Stopping("draining") }, []string{"STOPPING=1", "STATUS=draining"}},
		{m.Alive, []string{"WATCHDOG=1"}},
	}
	buf := make([]byte, 4096)
	for _, tt := range tests {
		if err := tt.send(); err != nil {
			t.Fatal(err)
		}
		_ = uc.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := uc.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Split(string(buf[:n]), "\n")
		if i := slices.IndexFunc(got, func(s string) bool { return strings.HasPrefix(s, "MONOTONIC_USEC=") }); i >= 0 {
			if usec, err := strconv.ParseUint(strings.TrimPrefix(got[i], "MONOTONIC_USEC="), 10, 64); err != nil || usec == 0 {
				t.Errorf("time: got %s, %v; want microseconds", got[i], err)
			}
			got[i] = "MONOTONIC_USEC="
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("notice: got %q; want %q", got, tt.want)
		}
	}
}

func TestNobodyToNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	var m Manager
	if err := m.Ready("x"); err != nil {
		t.Errorf("without a manager: got %v; want nothing", err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := m.Ready("x"); err == nil {
		t.Error("with a manager that is gone: got no error; want one")
	}
}

// The barrier holds until all that was sent before has been read.
func TestBarrier(t *testing.T) {
	var m Manager
	if err := m.Barrier(); err != nil {
		t.Errorf("without a manager: got %v; want none", err)
	}
	path := filepath.Join(t.TempDir(), "notify")
	uc, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer uc.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := m.Alive(); err != nil {
		t.Fatal(err)
	}
	passed := make(chan error, 1)
	go func() { passed <- m.Barrier() }()
	buf := make([]byte, 4096)
	_ = uc.SetReadDeadline(time.Now().Add(10 * time.Second))
	for _, want := range []string{"WATCHDOG=1", "BARRIER=1"} {
		select {
		case err := <-passed:
			t.Fatalf("before %s was read: got past the barrier, %v", want, err)
		default:
		}
		n, err := uc.Read(buf) // what comes with it is closed: nobody asked for it
		if err != nil || string(buf[:n]) != want {
			t.Fatalf("notice: got %q, %v; want %q", buf[:n], err, want)
		}
	}
	if err := <-passed; err != nil {
		t.Errorf("barrier: got %v; want none", err)
	}
}
