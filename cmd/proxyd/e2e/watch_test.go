package e2e

import (
	"crypto/tls"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A renewal is an origin whose certificate can be replaced. Each of its answers
// ends the connection, and sessions are not resumed: the next request verifies
// the certificate of the moment.
type renewal struct {
	*origin
	config atomic.Pointer[tls.Config]
}

func newRenewal(t *testing.T, first *authority) *renewal {
	t.Helper()
	r := new(renewal)
	r.config.Store(first.server(oneHost))
	r.origin = newOrigin(t, "origin", "", &tls.Config{
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &r.config.Load().Certificates[0], nil },
	}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Connection", "close")
		r.echo(w, q)
	})
	return r
}

// put writes a file that the configuration names, in place.
func (p *proxy) put(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

const becauseOfCA = `msg="reloaded because \S*/ca.pem changed" outcome="config \d+ active"`

// TestAChangedCAIsLoadedUnderLoad changes the authority of a server while clients
// ask: first the proxy is to trust both, then the server has the new certificate,
// then the old authority is trusted no more. Meanwhile somebody edits proxy.hcl.
func TestAChangedCAIsLoadedUnderLoad(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	old, next := newAuthority(t), newAuthority(t)
	origin := newRenewal(t, old)
	old.write(p.path("ca.pem"))
	p.write(site{servers: []string{origin.address}, upstream: "host = \"" + oneHost + "\"\n tls { ca = \"ca.pem\" }"})
	p.start()
	before := p.pids()
	l := newLoad(t, p.address)
	l.keep(4, 50*time.Millisecond)
	l.renew(20)
	l.awaitMore(t, 20)

	p.writeRaw("supervisor {\n  workers = ")
	p.put("ca.pem", old.pem()+next.pem())
	p.awaitLog(becauseOfCA)
	origin.config.Store(next.server(oneHost))
	l.awaitMore(t, 100)

	p.put("ca.pem", strings.Replace(next.pem(), "M", "", 1))
	p.awaitLog(`level=ERROR msg="reload failed: .*proxy.hcl:\d+:\d+: Invalid certificate file; config 2 stays, though \S*/ca.pem changed"`)
	l.awaitMore(t, 100)

	next.write(p.path("next.pem"))
	if err := os.Rename(p.path("next.pem"), p.path("ca.pem")); err != nil {
		t.Fatal(err)
	}
	p.awaitLogs(becauseOfCA, 2)
	l.awaitMore(t, 100)
	l.end(t)

	origin.config.Store(old.server(oneHost))
	p.get("/").want(t, http.StatusBadGateway)
	if n := p.logged(`level=ERROR`); n != 1 {
		t.Errorf("log: got %d errors; want the one of the bad file", n)
	}
	if s := p.status(); s.Config != 3 || len(s.Workers) != len(before) || p.pids()[0] != before[0] {
		t.Errorf("got config %d of workers %v; want 3 of %v as before", s.Config, p.pids(), before)
	}
}

// TestAChangedCAWithoutOverlap has the server change first, so that requests fail
// until the file is loaded, and not after.
func TestAChangedCAWithoutOverlap(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	old, next := newAuthority(t), newAuthority(t)
	origin := newRenewal(t, old)
	old.write(p.path("ca.pem"))
	p.write(site{servers: []string{origin.address}, upstream: "host = \"" + oneHost + "\"\n tls { ca = \"ca.pem\" }"})
	p.start()
	p.get("/").want(t, http.StatusOK)
	during := newLoad(t, p.address)
	during.keep(4, 50*time.Millisecond)
	during.awaitMore(t, 20)
	origin.config.Store(next.server(oneHost))
	began := time.Now()
	next.write(p.path("ca.pem"))
	p.awaitLog(becauseOfCA)
	window := time.Since(began)
	after := newLoad(t, p.address)
	after.keep(4, 10*time.Millisecond)
	after.awaitMore(t, 200)
	after.end(t)
	during.stop()
	answered, failed := during.counts()
	if failed == 0 {
		t.Error("requests before the file was loaded: got none that failed; want some, else nothing was tested")
	}
	t.Logf("loaded after %v; %d requests answered and %d failed before and while it was", window.Round(time.Millisecond), answered, failed)
}

// Whoever becomes the supervisor watches the files as the one before did, and
// loads none that has not changed.
func TestFilesAreWatchedAfterAnUpgradeAndAKill(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.put("host", "one.example")
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}, upstream: `host = file("host")`})
	p.startInstalled()
	p.installNext()
	p.upgrade()
	p.awaitLogs(`msg=serving`, 2) // in the same process: what changes before is loaded at once
	const changed = `msg="reloaded because \S*/host changed"`
	p.put("host", "two.example")
	p.awaitLogs(changed, 1)
	p.awaitHost("two.example")
	p.killSupervisor()
	p.startInstalled()
	p.put("host", "three.example")
	p.awaitLogs(changed, 2)
	p.awaitHost("three.example")
	if n := p.logged(`msg=reloaded`); n > 0 {
		t.Errorf("reloads without a change: got %d; want none", n)
	}
}
