package tlsconn

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
)

// An sClient is a running openssl s_client.
type sClient struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // closed at the end of its output
	said  []string    // of those, what was read
}

// sclient starts one, or skips the test where there is none.
func sclient(t *testing.T, address string, args ...string) *sClient {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: not tested against another implementation")
	}
	cmd := exec.Command(path, append([]string{"s_client", "-connect", address}, args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &sClient{cmd: cmd, stdin: stdin, lines: make(chan string, 10_000)}
	go func() {
		defer close(c.lines)
		for scan := bufio.NewScanner(r); scan.Scan(); {
			c.lines <- scan.Text()
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
		w.Close()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	return c
}

// find waits for a line that has text in it, and reports whether it came.
func (c *sClient) find(t *testing.T, text string) bool {
	t.Helper()
	guard := time.After(patience)
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				return false
			}
			c.said = append(c.said, line)
			if strings.Contains(line, text) {
				return true
			}
		case <-guard:
			t.Fatalf("openssl neither says %q nor ends:\n%s", text, strings.Join(c.said, "\n"))
		}
	}
}

// echoes has text echoed.
func (c *sClient) echoes(t *testing.T, text string) bool {
	t.Helper()
	_, _ = io.WriteString(c.stdin, text+"\n") // if it has ended, find says so
	return c.find(t, text)
}

// whole ends it and returns all that it has said.
func (c *sClient) whole(t *testing.T) string {
	t.Helper()
	_, _ = io.WriteString(c.stdin, "Q\n")
	for c.find(t, "\x00") {
		continue
	}
	return strings.Join(c.said, "\n")
}

// pemFile writes b to a file of the test.
func pemFile(t *testing.T, b []byte) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(f, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// sClientVersions are the names that openssl has for versions.
var sClientVersions = map[string]string{"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}

func TestSClient(t *testing.T) {
	l := start(t)
	a := newAuthority(t, "test CA")
	s := Settings{
		Certificates: []tls.Certificate{a.server(t, newKey(t, "ecdsa"), "one.test"), a.server(t, newKey(t, "rsa"), "*.two.test")},
		ALPN:         []string{"h2", "http/1.1"}, Gate: NewGate(l), Tickets: ticketsIn(t, newSegment(t)),
	}
	address := serve(t, l, configOf(t, s), answer)
	ca := pemFile(t, a.pem)
	for flag, version := range sClientVersions {
		for name, want := range map[string]string{"one.test": "one.test", "a.two.test": "*.two.test"} {
			c := sclient(t, address, flag, "-servername", name, "-CAfile", ca, "-verify_hostname", name, "-verify_return_error",
				"-alpn", "http/1.1", "-status")
			if !c.echoes(t, "hello there") {
				t.Errorf("%s, %s: no echo:\n%s", version, name, strings.Join(c.said, "\n"))
				continue
			}
			out := c.whole(t)
			for _, text := range []string{
				"subject=CN = " + want, "ALPN protocol: http/1.1", version, "Verify return code: 0 (ok)", "Compression: NONE",
				"Secure Renegotiation IS", "Server Temp Key: X25519",
			} {
				if text == "Secure Renegotiation IS" && flag == "-tls1_3" {
					text = "Secure Renegotiation IS NOT supported" // there is none
				}
				if !strings.Contains(out, text) {
					t.Errorf("%s, %s: openssl does not say %q:\n%s", version, name, text, out)
				}
			}
		}
	}
}

// What testssl.sh looks for: old versions, weak suites, renegotiation.
func TestSClientFindsNoWeakness(t *testing.T) {
	l := start(t)
	address := serve(t, l, configOf(t, plain()), answer)
	ours := "-ECDHE+AESGCM:-ECDHE+CHACHA20"
	for name, c := range map[string]struct {
		args []string
		want bool
	}{
		"TLS 1.0":              {[]string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, false},
		"TLS 1.1":              {[]string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, false},
		"all other suites":     {[]string{"-tls1_2", "-cipher", "ALL:COMPLEMENTOFALL:" + ours + ":@SECLEVEL=0"}, false},
		"all suites":           {[]string{"-tls1_2", "-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"}, true},
		"static RSA":           {[]string{"-tls1_2", "-cipher", "kRSA"}, false},
		"CBC":                  {[]string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"}, false},
		"ChaCha20 in 1.2":      {[]string{"-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"}, true},
		"ChaCha20 in 1.3":      {[]string{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"}, true},
		"AES-256 in 1.3":       {[]string{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"}, true},
		"CCM in 1.3":           {[]string{"-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"}, false},
		"P-256":                {[]string{"-groups", "P-256"}, true},
		"P-384":                {[]string{"-groups", "P-384"}, true},
		"P-521":                {[]string{"-groups", "P-521"}, false},
		"finite field":         {[]string{"-groups", "ffdhe2048"}, false},
		"another first guess":  {[]string{"-tls1_3", "-groups", "P-521:P-256"}, true}, // by a HelloRetryRequest
		"SHA-1 signatures":     {[]string{"-tls1_2", "-sigalgs", "ECDSA+SHA1", "-cipher", "ALL:@SECLEVEL=0"}, false},
		"a record of one byte": {[]string{"-tls1_2", "-split_send_frag", "1", "-max_send_frag", "512"}, true},
	} {
		s := sclient(t, address, append(c.args, "-servername", originName)...)
		if got := s.echoes(t, "hello there"); got != c.want {
			t.Errorf("%s: got a connection: %v; want %v:\n%s", name, got, c.want, strings.Join(s.said, "\n"))
		}
	}
	s := sclient(t, address, "-tls1_2", "-servername", originName)
	if !s.echoes(t, "before") {
		t.Fatal("no echo")
	}
	_, _ = io.WriteString(s.stdin, "R\n")
	_, _ = io.WriteString(s.stdin, "after\n")
	if out := s.whole(t); strings.Contains(out, "after") || strings.Count(out, "depth=0") > 2 {
		t.Errorf("renegotiation: got it:\n%s", out)
	}
}

func TestSClientKeyUpdate(t *testing.T) {
	address := serve(t, start(t), configOf(t, plain()), answer)
	c := sclient(t, address, "-tls1_3", "-servername", originName)
	for i, command := range []string{"", "k\n", "K\n", "K\n", "k\n"} { // K asks for one in return
		_, _ = io.WriteString(c.stdin, command)
		if command != "" && !c.find(t, "KEYUPDATE") {
			t.Fatalf("no key update:\n%s", strings.Join(c.said, "\n"))
		}
		if !c.echoes(t, fmt.Sprint("line ", i)) {
			t.Fatalf("after %d key updates: no echo:\n%s", i, strings.Join(c.said, "\n"))
		}
	}
}

func TestSClientCertificates(t *testing.T) {
	a, other := newAuthority(t, "client CA"), newAuthority(t, "another")
	subjects := make(chan string, 1)
	s := plain()
	s.ClientCA, s.RequireClient = a.pem, true
	address := serve(t, start(t), configOf(t, s), func(task *loop.Task, c *Conn, err error) {
		if err != nil {
			subjects <- "refused"
			return
		}
		subjects <- c.ClientCertificate().Subject
		answer(task, c, err)
	})
	for flag := range sClientVersions {
		for want, cert := range map[string]*tls.Certificate{
			`CN=alice,O=Test\, Inc.,C=DE`: new(a.client(t, "alice")),
			"refused":                     new(other.client(t, "mallory")),
			"refused, without":            nil,
		} {
			args := []string{flag, "-servername", originName}
			if cert != nil {
				f := pemFile(t, pemOf(t, *cert))
				args = append(args, "-cert", f, "-key", f)
			}
			c := sclient(t, address, args...)
			want, _, _ := strings.Cut(want, ", without")
			if got := <-subjects; got != want {
				t.Errorf("%s: got %q; want %q", flag, got, want)
			}
			if got := c.echoes(t, "hello there"); got != (want != "refused") {
				t.Errorf("%s, %s: echo: %v:\n%s", flag, want, got, strings.Join(c.said, "\n"))
			}
			if out := strings.Join(c.said, "\n"); want == "refused" && !strings.Contains(out, "alert") {
				t.Errorf("%s: the client is not told why:\n%s", flag, out)
			}
		}
	}
}
