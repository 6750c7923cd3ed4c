package discover

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A server that others wrote, with caching, negative answers and SRV of its own.
func TestDnsmasq(t *testing.T) {
	program, err := exec.LookPath("dnsmasq")
	if err != nil {
		t.Skip("there is no dnsmasq")
	}
	t.Parallel()
	dir := t.TempDir()
	hosts := filepath.Join(dir, "hosts")
	replace(t, hosts, "10.0.0.1 app.test\n2001:db8::1 app.test\n")
	address := closedPort(t)
	ip, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(program, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-daemon",
		"--listen-address="+ip, "--bind-interfaces", "--port="+port, "--pid-file=", "--local=/test/", "--local-ttl=1",
		"--addn-hosts="+hosts, "--srv-host=_http._tcp.app.test,app.test,8080,1,5", "--srv-host=_http._tcp.app.test,old.test,8080,2,5",
		"--host-record=old.test,10.0.0.9")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })

	resolvers := []string{address}
	d := newDiscoverer(t, newSegment(t), settings(appAt(address), DNS{Name: "_http._tcp.app.test", Resolvers: resolvers}))
	run(t, d)
	awaitServers(t, d, "10.0.0.1:80 10.0.0.1:8080 10.0.0.9:8080 [2001:db8::1]:80 [2001:db8::1]:8080", 10*time.Second)
	for _, s := range d.Servers() {
		if want := s.Address == "10.0.0.9:8080"; s.Backup != want {
			t.Errorf("%s: backup is %v; want %v", s.Address, s.Backup, want)
		}
	}
	// Read anew on SIGHUP.
	replace(t, hosts, "10.0.0.2 app.test\n")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	took := awaitServers(t, d, "10.0.0.2:80 10.0.0.2:8080 10.0.0.9:8080", 10*time.Second)
	if took > 2*time.Second {
		t.Errorf("in use after %v; want within the TTL, 1s, and another", took)
	}
	_ = cmd.Process.Kill()
	await(t, "in the status", 10*time.Second, func() bool {
		return d.Status()[0].Error == fmt.Sprintf("resolver %s: connection refused", address)
	})
	if got := addresses(d.Servers()); got != "10.0.0.2:80 10.0.0.2:8080 10.0.0.9:8080" {
		t.Errorf("servers are %q; want the last ones", got)
	}
}
