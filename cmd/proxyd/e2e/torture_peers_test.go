package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// peersVariable has proxyd compared with its peers if it is set.
const peersVariable = "PROXYD_PEERS"

// A contender is a proxy that can be given another configuration and another
// program while it works.
type contender struct {
	traffic         *traffic
	reload, upgrade func()
	processes       func() int
}

// A discipline is what is done to contenders.
type discipline struct {
	name   string
	do     func(contender)
	rounds int
	rest   time.Duration // for which the traffic goes on after each
}

// TestPeersBesideProxyd puts proxyd and its peers through the same, under the same
// traffic, and shows what was lost. The table of docs/zero-loss.md is its output.
func TestPeersBesideProxyd(t *testing.T) {
	if os.Getenv(peersVariable) == "" {
		t.Skipf("set %s to compare", peersVariable)
	}
	reload := discipline{"reload", func(c contender) { c.reload() }, 10, 2 * time.Second}
	upgrade := discipline{"upgrade", func(c contender) { c.upgrade() }, 2, 3 * time.Second}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 1, ' ', 0)
	fmt.Fprintf(w, "| \t| rounds\t| answered\t| lost: new\t| kept\t| half-sent\t| idle\t| WebSockets\t| hung up\t| ended with notice\t| processes\t|\n")
	fmt.Fprintf(w, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|\n")
	for _, entry := range []struct {
		name        string
		program     string // "": ours
		enter       func(*testing.T) contender
		disciplines []discipline
	}{
		{"proxyd", "", enterProxyd, []discipline{reload, upgrade}},
		{"nginx", "nginx", enterNginx, []discipline{reload, upgrade}},
		// Its master executes its program anew at each reload.
		{"HAProxy", "haproxy", func(t *testing.T) contender { return enterHaproxy(t, "") }, []discipline{reload}},
		{"HAProxy, idle-close-on-response", "haproxy", func(t *testing.T) contender {
			return enterHaproxy(t, "option idle-close-on-response")
		}, []discipline{reload}},
	} {
		if _, err := exec.LookPath(entry.program); err != nil && entry.program != "" {
			t.Logf("%s: left out: %v", entry.name, err)
			continue
		}
		for _, d := range entry.disciplines {
			t.Run(entry.name+" "+d.name, func(t *testing.T) {
				c := entry.enter(t)
				c.through(d)
				processes := c.processes() // while the WebSockets last
				c.traffic.stop()
				fmt.Fprint(w, c.traffic.row(t, entry.name+": "+d.name, d.rounds, processes))
				if entry.program == "" {
					c.traffic.judge(t)
				}
			})
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("lost, of %v:\n%s", peerTraffic, &table)
}

// peerTraffic is what each contender has to do meanwhile. nginx takes no second
// upgrade before the last WebSocket from before the first has ended.
var peerTraffic = mix{fresh: 200, kept: 200, idle: 50, half: 20, sockets: 20, life: 4 * time.Second}

// through puts c through d.
func (c contender) through(d discipline) {
	l := c.traffic
	l.run(peerTraffic)
	l.pause(2 * time.Second)
	for i := range d.rounds {
		l.happened(fmt.Sprintf("%s %d", d.name, i), nil)
		d.do(c)
		l.pause(d.rest)
	}
}

// row is a line of the table. A connection that was hung up is no request lost:
// the client knew before it asked.
func (r *findings) row(t *testing.T, name string, rounds, processes int) string {
	t.Helper()
	_, frozen, rest := r.sort()
	lost, hungUp, all := make(map[string]int), 0, tally{}
	for _, l := range rest {
		all[[2]string{l.kind, l.how}]++
		if l.how == lostHungUp {
			hungUp++
		} else {
			lost[l.kind]++
		}
	}
	answered := 0
	for _, n := range r.answered {
		answered += n
	}
	if answered == 0 {
		t.Errorf("%s: got no answer", name)
	}
	t.Logf("lost: %v; while the machine stood still: %v; answered: %v", all, frozen, r.answered)
	for _, l := range rest[:min(len(rest), 5)] {
		t.Log(r.describe(l))
	}
	return fmt.Sprintf("| %s\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t|\n", name, rounds, answered,
		lost[kindNew]+lost[kindSlow], lost[kindKept], lost[kindHalf], lost[kindIdle], lost[kindSocket], hungUp, r.announced, processes)
}

func enterProxyd(t *testing.T) contender {
	z := prepareTrial(t)
	return contender{
		traffic:   z.traffic,
		reload:    func() { z.configure(); z.command("reload") },
		upgrade:   func() { z.command("upgrade") },
		processes: func() int { return len(processesOf(z.dir)) },
	}
}

const nginxConfig = `
worker_processes 2;
pid %[1]s/nginx.pid;
error_log %[1]s/log notice;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  keepalive_timeout 10m;
  keepalive_requests 1000000000;
  client_header_timeout 10m;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream origin {
    server %[3]s;
    keepalive 128;
    keepalive_requests 1000000000;
  }
  server {
    listen %[2]s backlog=4096;
    location / {
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host v%[4]d.example;
      proxy_read_timeout 10m;
      proxy_pass http://origin;
    }
  }
}
`

const haproxyConfig = `
global
  nbthread 2
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 10m
  timeout server 10m
  timeout http-request 10m
  timeout http-keep-alive 10m
  timeout tunnel 10m
  %[1]s
frontend web
  bind %[2]s backlog 4096
  http-request set-header Host v%[4]d.example
  default_backend origin
backend origin
  http-reuse always
  server one %[3]s
`

// A rival is another's proxy.
type rival struct {
	t     *testing.T
	group int // of its processes
}

// launch starts a rival's program, whose output goes to a log in dir.
func launch(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command(program, args...) // nginx executes what it is called in an upgrade
	c.Args[0], c.Stdout, c.Stderr = program, log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// newRival takes charge of a group of processes. They end with the test.
func newRival(t *testing.T, dir string, group int) *rival {
	r := &rival{t, group}
	t.Cleanup(func() {
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			if len(r.members()) > 0 {
				_ = syscall.Kill(-r.group, s) // they may be gone by now
				within(2*time.Second, func() bool { return len(r.members()) == 0 })
			}
		}
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("log:\n%s", tail(string(text), 20))
		}
	})
	return r
}

// members are the living processes of r, and their parents.
func (r *rival) members() map[int]int {
	all := make(map[int]int)
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest) // state parent group; of proc(5)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if len(f) > 2 && f[0] != "Z" && f[2] == strconv.Itoa(r.group) {
			all[pid], _ = strconv.Atoi(f[1])
		}
	}
	return all
}

// childrenOf are the members that process pid has started.
func (r *rival) childrenOf(pid int) (list []int) {
	for child, parent := range r.members() {
		if parent == pid {
			list = append(list, child)
		}
	}
	return list
}

// replaced sends s to the master and waits until it has n new children.
func (r *rival) replaced(master int, s syscall.Signal, n int) {
	r.t.Helper()
	before := r.childrenOf(master)
	r.signal(master, s)
	await(r.t, "new workers", func() bool {
		fresh := 0
		for _, pid := range r.childrenOf(master) {
			if !slices.Contains(before, pid) {
				fresh++
			}
		}
		return fresh >= n
	})
}

func (r *rival) signal(pid int, s syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		r.t.Fatalf("signal %v to %d: %v", s, pid, err)
	}
}

// prepareRival makes a folder, an address, and traffic that is not running yet.
// Files written by configure differ each time.
func prepareRival(t *testing.T, text, first string) (dir, address string, l *traffic, configure func()) {
	t.Helper()
	origin := newLedger(t)
	dir, address = t.TempDir(), freeAddress(t)
	turn := 0
	configure = func() {
		turn++
		if first == "" {
			first = dir
		}
		if err := os.WriteFile(filepath.Join(dir, "config"), fmt.Appendf(nil, text, first, address, origin.address, turn), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	configure()
	return dir, address, newTraffic(t, address, origin), configure
}

// reachable waits until somebody listens.
func reachable(t *testing.T, address string) {
	t.Helper()
	await(t, "a listener at "+address, func() bool {
		c, err := dial(address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func enterNginx(t *testing.T) contender {
	dir, address, l, configure := prepareRival(t, nginxConfig, "")
	// As a daemon: in the foreground it takes no USR2.
	if err := launch(t, dir, "nginx", "-p", dir, "-c", filepath.Join(dir, "config")).Wait(); err != nil {
		t.Fatal(err)
	}
	reachable(t, address)
	master := func() int { return pidFile(t, filepath.Join(dir, "nginx.pid")) }
	r := newRival(t, dir, master())
	return contender{
		traffic:   l,
		processes: func() int { return len(r.members()) },
		reload:    func() { configure(); r.replaced(master(), syscall.SIGHUP, 2) },
		// As nginx's manual says: "Upgrading Executable on the Fly".
		upgrade: func() {
			configure()
			old := master()
			r.signal(old, syscall.SIGUSR2)
			await(t, "another master", func() bool {
				text, err := os.ReadFile(filepath.Join(dir, "nginx.pid"))
				pid, bad := strconv.Atoi(strings.TrimSpace(string(text)))
				return err == nil && bad == nil && pid != old && len(r.childrenOf(pid)) == 2
			})
			r.signal(old, syscall.SIGWINCH)
			l.pause(time.Second)
			r.signal(old, syscall.SIGQUIT)
			await(t, "the end of the old master", func() bool { _, lives := r.members()[old]; return !lives })
		},
	}
}

func enterHaproxy(t *testing.T, option string) contender {
	if option == "" {
		option = "# as it comes"
	}
	dir, address, l, configure := prepareRival(t, haproxyConfig, option)
	c := launch(t, dir, "haproxy", "-W", "-db", "-f", filepath.Join(dir, "config"))
	t.Cleanup(func() { _ = c.Wait() }) // after its end by the next
	r := newRival(t, dir, c.Process.Pid)
	reachable(t, address)
	return contender{
		traffic:   l,
		processes: func() int { return len(r.members()) },
		reload:    func() { configure(); r.replaced(r.group, syscall.SIGUSR2, 1) },
	}
}
