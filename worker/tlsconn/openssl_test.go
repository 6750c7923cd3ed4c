package tlsconn

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
	"golang.org/x/sys/unix"
)

// An sServer is a running openssl s_server.
type sServer struct {
	addr  loop.Addr
	stdin *os.File // what it sends, and its commands
	lines chan string
}

// openssl starts one, or skips the test where there is none.
func openssl(t *testing.T, args ...string) *sServer {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: not tested against another implementation")
	}
	pem := filepath.Join(t.TempDir(), "origin.pem")
	if err := os.WriteFile(pem, originPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	t.Cleanup(func() { stdin.Close() })
	cmd := exec.Command(path, append([]string{"s_server", "-accept", "127.0.0.1:0", "-cert", pem, "-key", pem}, args...)...)
	cmd.Stdin = in
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &sServer{stdin: stdin, lines: make(chan string, 1000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			select {
			case s.lines <- scan.Text():
			default: // nobody asks for so many
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
	})
	if s.addr, err = loop.ParseAddr(strings.TrimPrefix(s.line(t, "ACCEPT "), "ACCEPT ")); err != nil {
		t.Fatal(err)
	}
	return s
}

// line waits for a line with the given beginning.
func (s *sServer) line(t *testing.T, prefix string) string {
	t.Helper()
	guard := time.After(patience)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				t.Fatalf("openssl ended before it said %q", prefix)
			}
			if strings.HasPrefix(line, prefix) {
				return line
			}
		case <-guard:
			t.Fatalf("openssl does not say %q", prefix)
		}
	}
}

// say writes s to openssl's standard input and waits until that is read, so that
// the next begins a read of its own: a command has to.
func (s *sServer) say(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s.stdin, text); err != nil {
		t.Fatal(err)
	}
	raw, err := s.stdin.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		left := 0
		if cerr := raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		if left == 0 {
			return
		}
	}
	t.Fatalf("openssl does not read %q", text)
}

func TestOpenSSLEcho(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			s := openssl(t, "-rev")
			config := trusting(version)
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			run(t, start(t), func(task *loop.Task) {
				for i := range 2 {
					c, err := dial(task, s.addr, config)
					if err != nil {
						t.Error(err)
						return
					}
					for range 5 {
						b := make([]byte, len("abc\n"))
						err := errors.Join(write(task, c, []byte("abc\n")), readFull(task, c, b))
						if string(b) != "cba\n" || err != nil {
							t.Errorf("got %q, %v; want cba", b, err)
						}
					}
					if got := c.State(); got.Version != version || got.DidResume != (i > 0) {
						t.Errorf("connection %d: got version %x, resumed %v", i, got.Version, got.DidResume)
					}
					c.Close()
				}
			})
		})
	}
}

func TestOpenSSLKeyUpdate(t *testing.T) {
	s := openssl(t, "-tls1_3")
	l := start(t)
	var c *Conn
	run(t, l, func(task *loop.Task) {
		var err error
		if c, err = dial(task, s.addr, trusting(tls.VersionTLS13)); err != nil {
			t.Error(err)
		}
	})
	if c == nil {
		return
	}
	heard := func(want string) {
		t.Helper()
		run(t, l, func(task *loop.Task) {
			b := make([]byte, len(want))
			if err := readFull(task, c, b); string(b) != want || err != nil {
				t.Errorf("got %q, %v; want %q", b, err, want)
			}
		})
	}
	s.say(t, "before\n")
	heard("before\n")
	for _, command := range []string{"K\n", "k\n", "K\n"} { // K asks for one in return
		s.say(t, command)
		s.say(t, "after\n")
		heard("after\n")
		run(t, l, func(task *loop.Task) {
			if err := write(task, c, []byte("with the new key\n")); err != nil {
				t.Error(err)
			}
		})
		s.line(t, "with the new key")
	}
	s.say(t, "Q\n") // ends without close_notify in some versions
	run(t, l, func(task *loop.Task) {
		if got, err := readAll(task, c, 100); len(got) != 0 || err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Errorf("at the end: got %q, %v", got, err)
		}
		c.Close()
	})
}
