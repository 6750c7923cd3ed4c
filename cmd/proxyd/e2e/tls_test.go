package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// secure makes s a site whose listener speaks TLS as oneHost, with a certificate
// of a.
func (p *proxy) secure(a *authority, s site) site {
	p.t.Helper()
	pair := a.server(oneHost).Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		p.t.Fatal(err)
	}
	a.write(p.path("ca.pem"))
	p.put("site.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
	p.put("site.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	if err := os.Chmod(p.path("site.key"), 0o600); err != nil {
		p.t.Fatal(err)
	}
	s.listener += "\n tls {\n  certificate \"site\" {\n   cert = \"site.crt\"\n   key  = \"site.key\"\n  }\n }"
	return s
}

// trusting is how a client of a site with a certificate of a speaks TLS.
func (a *authority) trusting(protocols ...string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool, ServerName: oneHost, NextProtos: protocols}
}

// installed skips a test whose tool is not there.
func installed(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skip(tool + " is not installed")
	}
}

// tool runs a program of somebody else's in the proxy's folder.
func (p *proxy) tool(name string, args ...string) string {
	p.t.Helper()
	cmd := p.command(p.t.Context(), name, args...)
	cmd.Stdin = strings.NewReader("")
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestTLSForCurl(t *testing.T) {
	installed(t, "curl")
	t.Parallel()
	p := newProxy(t)
	p.write(p.secure(newAuthority(t), site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}}))
	p.start()
	host, port, _ := net.SplitHostPort(p.address)
	for flag, version := range map[string]string{"--http1.1": "1.1", "--http2": "2"} {
		for _, tls := range []string{"--tls-max=1.2", "--tlsv1.3"} {
			args := []string{
				"-sS", flag, "--cacert", "ca.pem", "--resolve", oneHost + ":" + port + ":" + host, "-w", " version=%{http_version}",
				"-d", "hello", "https://" + oneHost + ":" + port + "/x",
			}
			if name, value, ok := strings.Cut(tls, "="); ok {
				args = append(args, name, value)
			} else {
				args = append(args, tls)
			}
			got := p.tool("curl", args...)
			if !strings.Contains(got, "origin POST /x") || !strings.HasSuffix(got, "body=hello version="+version) {
				t.Errorf("%s %s: got %q", flag, tls, got)
			}
		}
	}
}

// A session goes on with another worker, and with those of another generation.
func TestTLSSessionsAreResumed(t *testing.T) {
	t.Parallel()
	p, a := newProxy(t), newAuthority(t)
	p.write(p.secure(a, site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}}))
	p.start()
	config := a.trusting("http/1.1")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	ask := func(want bool) {
		t.Helper()
		tr := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: tr, Timeout: patience}).Get("https://" + p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if resp.TLS.DidResume != want {
			t.Errorf("resumed: got %v; want %v", resp.TLS.DidResume, want)
		}
	}
	ask(false)
	for range 8 { // there are two workers
		ask(true)
	}
	if out, code := p.run("roll", "-c", p.path("proxy.hcl")); code != 0 {
		t.Fatalf("roll: %d: %s", code, out)
	}
	ask(true)
}

func TestTLSForOpenSSL(t *testing.T) {
	installed(t, "openssl")
	t.Parallel()
	p, a := newProxy(t), newAuthority(t)
	p.write(p.secure(a, site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}}))
	p.start()
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		args := []string{"s_client", "-connect", p.address, "-servername", oneHost, "-CAfile", "ca.pem", "-verify_return_error", "-ign_eof", version}
		ask := func(more ...string) string {
			cmd := p.command(t.Context(), "openssl", append(args, more...)...)
			cmd.Stdin = strings.NewReader(fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", oneHost))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "200 OK") || !strings.Contains(string(out), "Verify return code: 0") {
				t.Fatalf("%s: %v\n%s", version, err, out)
			}
			return string(out)
		}
		if got := ask("-sess_out", "session"); !strings.Contains(got, "New, ") {
			t.Errorf("%s: the first is no new session:\n%s", version, got)
		}
		if got := ask("-sess_in", "session"); !strings.Contains(got, "Reused, ") {
			t.Errorf("%s: the session was not resumed:\n%s", version, got)
		}
	}
}
