package supervisor

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A notices is the socket to which a service sends its state.
type notices struct {
	t  *testing.T
	uc *net.UnixConn
}

func listenNotices(t *testing.T, path string) *notices {
	t.Helper()
	uc, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { uc.Close() })
	return &notices{t, uc}
}

// await reads until a notice has all of the lines that begin with want; it
// returns the notices up to that one.
func (n *notices) await(want ...string) (seen []string) {
	n.t.Helper()
	_ = n.uc.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	for {
		size, err := n.uc.Read(buf)
		if err != nil {
			n.t.Fatalf("notice with %q: %v; got %q", want, err, seen)
		}
		text := string(buf[:size])
		seen = append(seen, text)
		missing := false
		for _, w := range want {
			missing = missing || !strings.Contains("\n"+text, "\n"+w)
		}
		if !missing {
			return seen
		}
	}
}

func TestUnderSystemd(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	passed, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	n := listenNotices(t, filepath.Join(s.dir, "notify"))

	listen := func() []string { return []string{"systemd:web", s.address()} }
	s.write(play{host: "a", listen: listen()})
	s.cmd = exec.Command(os.Args[0], "activate", s.file)
	s.cmd.Env = append(
		os.Environ(), "NOTIFY_SOCKET="+filepath.Join(s.dir, "notify"), "WATCHDOG_USEC=1000000",
		"LISTEN_FDS=1", "LISTEN_FDNAMES=web",
	)
	s.cmd.Stderr = s.log
	s.cmd.ExtraFiles = []*os.File{passed} // descriptor 3
	s.run()

	n.await("READY=1", "MAINPID=", "STATUS=config 1 active")
	if a, err := ask("tcp", l.Addr().String()); err != nil || a.host != "a" {
		t.Errorf("passed socket: got %+v, %v; want an answer", a, err)
	}
	n.await("WATCHDOG=1")

	s.write(play{host: "b", listen: listen()})
	s.signal(syscall.SIGHUP)
	n.await("RELOADING=1", "MONOTONIC_USEC=")
	n.await("READY=1", "STATUS=config 2 active")

	s.writeText("nonsense")
	s.signal(syscall.SIGHUP)
	n.await("RELOADING=1", "MONOTONIC_USEC=")
	n.await("READY=1", "STATUS=reload failed: "+s.file+":1:1", "STATUS=")

	s.signal(syscall.SIGTERM)
	n.await("STOPPING=1")
	if code := s.wait(); code != 0 {
		t.Errorf("exit code: got %d; want 0", code)
	}
	if err := reachable("tcp", l.Addr().String()); err != nil {
		t.Errorf("passed socket after the end: got %v; want it open", err)
	}
}
