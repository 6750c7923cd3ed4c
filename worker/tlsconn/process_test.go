package tlsconn

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/loop"
	"golang.org/x/sys/unix"
)

func init() { children["worker"] = workerProcess }

// workerProcess is a worker: it serves an echo with the certificate in its
// environment and the segment that is descriptor 3, prints its address, and ends
// with its standard input.
func workerProcess() int {
	if err := runWorker(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func runWorker() error {
	seg, err := shm.Open(os.NewFile(3, "shm"))
	if err != nil {
		return err
	}
	l, err := loop.New()
	if err != nil {
		return err
	}
	tickets, err := OpenTickets(seg)
	if err != nil {
		return err
	}
	text := []byte(os.Getenv("TLSCONN_TEST_PEM"))
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return err
	}
	config, err := ServerConfig(Settings{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, Tickets: tickets, Gate: NewGate(l),
	})
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 100); err != nil {
		return err
	}
	_, err = l.Listen(fd, func(fd int, _ netip.AddrPort) {
		c := &served{config: config, handle: answer}
		if l.Register(&c.Conn, fd) == nil {
			l.Spawn(c)
		}
	})
	if err != nil {
		return err
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	fmt.Printf("127.0.0.1:%d\n", at.(*unix.SockaddrInet4).Port)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		l.Stop()
	}()
	return l.Run()
}

// startWorker starts one and returns its address and how to kill it.
func startWorker(t *testing.T, seg *shm.Segment) (address string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TLSCONN_TEST_CHILD=worker", "TLSCONN_TEST_PEM="+string(originPEM))
	cmd.ExtraFiles = []*os.File{seg.File()}
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
	kill = func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "127.") {
		t.Fatalf("worker: got %q, %v; want its address", line, err)
	}
	return strings.TrimSuffix(line, "\n"), kill
}

// A session that one process gave is resumed by another, also by one that was
// started after the first was killed.
func TestTwoProcesses(t *testing.T) {
	seg := newSegment(t)
	first, kill := startWorker(t, seg)
	second, _ := startWorker(t, seg)
	for name, version := range versions {
		if !resumes(t, first, second, trusting(version)) {
			t.Errorf("%s: not resumed by the second", name)
		}
		if !resumes(t, second, first, trusting(version)) {
			t.Errorf("%s: not resumed by the first", name)
		}
	}
	saved := map[string]string{}
	for flag := range sClientVersions {
		saved[flag] = filepath.Join(t.TempDir(), "session")
		c := sclient(t, first, flag, "-servername", originName, "-sess_out", saved[flag])
		if !c.echoes(t, "hello there") || !strings.Contains(c.whole(t), "New, TLSv1") {
			t.Errorf("%s: got no session:\n%s", flag, strings.Join(c.said, "\n"))
		}
	}
	kill()
	third, _ := startWorker(t, seg)
	for flag := range sClientVersions {
		for _, address := range []string{second, third} {
			c := sclient(t, address, flag, "-servername", originName, "-sess_in", saved[flag])
			if !c.echoes(t, "hello there") || !strings.Contains(c.whole(t), "Reused, TLSv1") {
				t.Errorf("%s: not resumed:\n%s", flag, strings.Join(c.said, "\n"))
			}
		}
	}
}
