package e2e

import (
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// processStatus returns a field of /proc/PID/status.
func processStatus(t *testing.T, pid int, field string) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.Fields(rest)
		}
	}
	t.Fatalf("no %s in the status of %d", field, pid)
	return nil
}

// TestWorkersOfAnotherUser has the supervisor be root and its workers nobody, from
// a reload on: they can do nothing that nobody could not, and are adopted all the
// same.
func TestWorkersOfAnotherUser(t *testing.T) {
	nobody, err := user.Lookup("nobody")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and a user called nobody")
	}
	p := newProxy(t)
	if err := os.Chmod(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(binary), 0o755); err != nil {
		t.Fatal(err)
	}
	s := site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}}
	p.write(s)
	p.start()
	p.user = "nobody"
	p.write(s)
	if out, code := p.run("reload", "-c", p.path("proxy.hcl")); code != 0 {
		t.Fatalf("reload: got exit code %d, %s; want 0", code, out)
	}
	p.settled(2)
	before := p.pids()
	for _, pid := range before {
		if got := processStatus(t, pid, "Uid"); slices.ContainsFunc(got, func(s string) bool { return s != nobody.Uid }) {
			t.Errorf("users of worker %d: got %v; want %s only", pid, got, nobody.Uid)
		}
		if got := processStatus(t, pid, "NoNewPrivs"); got[0] != "1" {
			t.Errorf("NoNewPrivs of worker %d: got %v; want 1", pid, got)
		}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			if got := processStatus(t, pid, set); strings.Trim(got[0], "0") != "" {
				t.Errorf("%s of worker %d: got %v; want none", set, pid, got)
			}
		}
	}
	p.get("/").want(t, http.StatusOK)
	p.killSupervisor()
	p.start()
	if got := p.pids(); !slices.Equal(got, before) {
		t.Errorf("workers: got %v; want %v adopted", got, before)
	}
	p.signal(syscall.SIGUSR2)
	p.awaitLog(`msg=upgraded`)
	p.settled(3)
	p.get("/").want(t, http.StatusOK)

	p.user = "no-such-user"
	p.write(s)
	if out, code := p.run("reload", "--state-dir", p.path("run")); code != 1 || !strings.Contains(out, "there is no such user") {
		t.Errorf("reload with an unknown user: got %d, %s; want 1 and why", code, out)
	}
}
