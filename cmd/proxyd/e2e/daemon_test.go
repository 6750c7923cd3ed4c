package e2e

import (
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pidFile returns the process id in a file.
func pidFile(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return pid
}

// daemonize runs proxyd --daemon, which must succeed.
func (p *proxy) daemonize() {
	p.t.Helper()
	if out, code := p.run("--daemon", "-c", p.path("proxy.hcl")); code != 0 || out != "" {
		p.t.Fatalf("proxyd --daemon: got exit code %d, %q; want 0 and silence", code, out)
	}
}

func TestADaemonServesWhenItsParentReturns(t *testing.T) {
	p := newProxy(t)
	p.daemon = true
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	for range 3 {
		began := time.Now()
		p.daemonize()
		took := time.Since(began)
		for range 20 {
			p.get("/").want(t, http.StatusOK) // at the first try
		}
		s := p.status()
		pid := pidFile(t, s.PIDFile)
		if pid != s.Pid || s.PIDFile != p.path("run/proxyd.pid") {
			t.Errorf("%s: got pid %d; want %d in run/proxyd.pid", s.PIDFile, pid, s.Pid)
		}
		if sid, err := unix.Getsid(pid); sid != pid {
			t.Errorf("session of the daemon: got %d, %v; want its own, %d", sid, err, pid)
		}
		if cwd, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd"); cwd != "/" {
			t.Errorf("folder of the daemon: got %s; want /", cwd)
		}
		t.Logf("the parent returned after %v", took.Round(time.Millisecond))
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		await(t, "end of the daemon", func() bool { return len(processesOf(p.dir)) == 0 })
		if _, err := os.Stat(s.PIDFile); !os.IsNotExist(err) {
			t.Errorf("PID file after the end: got %v; want none", err)
		}
	}
}

func TestADaemonWithABadFileDoesNotStart(t *testing.T) {
	p := newProxy(t)
	p.writeText("listener \"web\" {\n  adress = \"127.0.0.1:80\"\n}\n")
	out, code := p.run("--daemon", "-c", p.path("proxy.hcl"))
	if code != 1 {
		t.Errorf("exit code: got %d; want 1", code)
	}
	for _, want := range []string{
		p.path("proxy.hcl") + ":7:3", `adress = "127.0.0.1:80"`, "^^^^^^", `"address"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("diagnostic: got\n%s\nwant %s in it", out, want)
		}
	}
	if left := processesOf(p.dir); len(left) > 0 {
		t.Errorf("got processes %v; want none", left)
	}
}

func TestADaemonWithoutItsPortDoesNotStart(t *testing.T) {
	p := newProxy(t)
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p.write(site{servers: []string{refused(t)}})
	out, code := p.run("--daemon", "-c", p.path("proxy.hcl"))
	if code != 3 || !strings.Contains(out, p.address) || !strings.Contains(out, "address already in use") {
		t.Errorf("got exit code %d, %q; want 3, the address and that it is in use", code, out)
	}
	if left := processesOf(p.dir); len(left) > 0 {
		t.Errorf("got processes %v; want none", left)
	}
	if _, err := os.Stat(p.path("run/proxyd.pid")); !os.IsNotExist(err) {
		t.Errorf("PID file: got %v; want none", err)
	}
}
