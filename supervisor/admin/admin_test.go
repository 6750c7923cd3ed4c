package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets this binary be a client of another user.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "status" {
		os.Exit(statusMain(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

func statusMain(socket string) int {
	c, err := Dial(socket)
	if err == nil {
		_, err = c.Status(context.Background())
	}
	if err != nil {
		io.WriteString(os.Stderr, err.Error())
		return 1
	}
	return 0
}

// serve serves h on a socket in a folder that everyone can reach.
func serve(t *testing.T, h Handlers) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	s := Serve(l, h, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return socket
}

func dialed(t *testing.T, socket string) *Client {
	t.Helper()
	c, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientGetsWhatHandlersGive(t *testing.T) {
	status := Status{
		Pid: 7, State: "serving", Started: time.Unix(1, 0).UTC(), Listeners: []Listener{{Name: "l.tcp4.0.0.0.0.80"}},
		Workers: []Worker{{Slot: 1, Counters: map[string]uint64{"requests": 1 << 60}}},
	}
	result := Result{Code: 1, Config: 3, Text: "error: Unsupported argument\n --> proxy.hcl:2:3\n     | ^^^"}
	c := dialed(t, serve(t, Handlers{
		Status: func(context.Context) (Status, error) { return status, nil },
		Reload: func(context.Context) (Result, error) { return result, nil },
	}))
	gotStatus, err := c.Status(context.Background())
	if err != nil || !reflect.DeepEqual(gotStatus, status) {
		t.Errorf("status: got %+v, %v; want %+v", gotStatus, err, status)
	}
	gotResult, err := c.Reload(context.Background())
	if err != nil || gotResult != result {
		t.Errorf("result: got %+v, %v; want %+v", gotResult, err, result)
	}
}

func TestHandlerThatFails(t *testing.T) {
	c := dialed(t, serve(t, Handlers{
		Reload: func(context.Context) (Result, error) { return Result{}, errors.New("proxyd is stopping") },
	}))
	if _, err := c.Reload(context.Background()); err == nil || !strings.Contains(err.Error(), "proxyd is stopping") {
		t.Errorf("reload: got %v; want the handler's error", err)
	}
}

func TestReloadIsAsPatientAsItsContext(t *testing.T) {
	gone := make(chan struct{})
	c := dialed(t, serve(t, Handlers{
		Reload: func(ctx context.Context) (Result, error) {
			<-ctx.Done()
			close(gone)
			return Result{}, ctx.Err()
		},
	}))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Reload(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reload: got %v; want deadline exceeded", err)
	}
	<-gone // the handler hears of it
}

func TestNobodyThere(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "admin.sock")
	if _, err := Dial(missing); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no file: got %v; want ErrNotRunning", err)
	}
	l, err := net.Listen("unix", missing)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := Dial(missing); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), missing) {
		t.Errorf("stale file: got %v; want ErrNotRunning, with the path", err)
	}
}

func TestMethodsAndPathsAreThoseOfTheAPI(t *testing.T) {
	c := dialed(t, serve(t, Handlers{}))
	tests := []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/v1/reload", http.StatusMethodNotAllowed},
		{http.MethodGet, "/v1/stop", http.StatusMethodNotAllowed},
		{http.MethodPost, "/v1/status", http.StatusMethodNotAllowed},
		{http.MethodGet, "/", http.StatusNotFound},
	}
	for _, tt := range tests {
		req, err := http.NewRequest(tt.method, "http://proxyd"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s %s: got %d; want %d", tt.method, tt.path, resp.StatusCode, tt.want)
		}
	}
}

// The mode of the socket here would let everyone in.
func TestOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	socket := serve(t, Handlers{Status: func(context.Context) (Status, error) { return Status{}, nil }})
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(filepath.Dir(socket), "client") // where they may run it
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[uint32]string{0: "", 65534: "only root and the user proxyd runs as"} {
		cmd := exec.Command(exe, "status", socket)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if (err == nil) != (want == "") || !strings.Contains(string(out), want) {
			t.Errorf("user %d: got %v, %q; want %q", uid, err, out, want)
		}
	}
}
