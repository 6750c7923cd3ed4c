package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A proxy is a proxyd under test: its folder and, once started, its process.
type proxy struct {
	t       *testing.T
	dir     string // holds proxy.hcl, run/ and log
	address string // a free one, for its listener
	workers int
	daemon  bool   // it is to log to the file by itself
	user    string // of workers; "": ours

	cmd    *exec.Cmd     // in the foreground; nil: not started
	exited chan struct{} // closed when cmd has ended
	code   int           // of cmd, once it has ended
}

// newProxy makes the folder. Whatever is started in it ends with the test, and
// must do so properly.
func newProxy(t *testing.T) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "px") // short: unix sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, dir: dir, address: freeAddress(t), workers: 2}
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("log of %s:\n%s", dir, tail(p.log(), 60))
		}
		os.RemoveAll(dir)
	})
	return p
}

// addresses counts those that were given out.
var addresses atomic.Uint32

// loopback returns an address that is this test's alone. The whole of 127/8 is
// the machine's, and connections leave from 127.0.0.1.
func loopback() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 128+pid>>8&63, pid&255, 1+addresses.Add(1)%254)
}

// freeAddress returns a loopback address with a port that nobody uses.
func freeAddress(t *testing.T) string {
	t.Helper()
	// A process that a test beside this one starts has copies of all descriptors
	// until it runs its program: the address would still be in use after Close.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp", net.JoinHostPort(loopback(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A site is the configuration that most tests need: one listener, one route,
// one upstream.
type site struct {
	address  []string // of the listener; none: the proxy's
	listener string   // more of it
	route    string   // more of the route
	servers  []string
	upstream string // more of the upstream
	rest     string // more blocks
}

func (p *proxy) path(name string) string { return filepath.Join(p.dir, name) }

// write puts s in the configuration file, in one step.
func (p *proxy) write(s site) {
	p.t.Helper()
	if s.address == nil {
		s.address = []string{p.address}
	}
	p.writeText(fmt.Sprintf(`
listener "web" {
  address = [%s]
  %s
  route "all" {
    upstream = "one"
    %s
  }
}
upstream "one" {
  servers = [%s]
  %s
}
%s
`, quoted(s.address), s.listener, s.route, quoted(s.servers), s.upstream, s.rest))
}

// writeText puts text in the configuration file, after a supervisor block.
func (p *proxy) writeText(text string) {
	p.t.Helper()
	block := fmt.Sprintf("supervisor {\n  workers = %d\n  state_dir = %q\n  drain_timeout = \"10s\"\n", p.workers, p.path("run"))
	if p.user != "" {
		block += fmt.Sprintf("  user = %q\n", p.user)
	}
	if p.daemon {
		block += fmt.Sprintf("  log = %q\n", p.path("log"))
	}
	p.writeRaw(block + "}\n" + text)
}

func (p *proxy) writeRaw(text string) {
	p.t.Helper()
	next := p.path("proxy.hcl.next")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(next, p.path("proxy.hcl")); err != nil {
		p.t.Fatal(err)
	}
}

func quoted(list []string) string {
	var b strings.Builder
	for i, s := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", s)
	}
	return b.String()
}

// command makes a command whose processes can be found by the folder.
func (p *proxy) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = p.dir
	c.Env = append(os.Environ(), marker+p.dir)
	return c
}

// start runs the proxy in the foreground and returns when it serves.
func (p *proxy) start() {
	p.t.Helper()
	before := p.logged(`msg=serving`)
	p.launch(p.command(context.Background(), binary, "-c", p.path("proxy.hcl")))
	p.awaitLogs(`msg=serving`, before+1)
}

// launch starts c as the proxy. It gets a process group of its own, as from a shell.
func (p *proxy) launch(c *exec.Cmd) {
	p.t.Helper()
	log, err := os.OpenFile(p.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited = c, exited
	go func() {
		defer close(exited)
		_ = c.Wait() // the code says it
		p.code = c.ProcessState.ExitCode()
	}()
}

// wait returns the exit code of the proxy in the foreground.
func (p *proxy) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.code
	case <-time.After(limit):
		p.t.Fatalf("the proxy still runs after %v", limit)
		return 0
	}
}

func (p *proxy) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func (p *proxy) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%v: %v", s, err)
	}
}

// run runs proxyd to its end.
func (p *proxy) run(args ...string) (output string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := p.command(ctx, binary, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok || ctx.Err() != nil {
		p.t.Fatalf("proxyd %s: %v, %v", strings.Join(args, " "), err, ctx.Err())
	}
	return out.String(), c.ProcessState.ExitCode()
}

// A status is what 'proxyd status' tells, as far as tests look at it.
type status struct {
	Pid         int
	Config      uint64 `json:"config_number"`
	Incarnation uint64
	Generation  uint32
	PIDFile     string `json:"pid_file"`
	Workers     []struct {
		Slot, Pid, Restarts int
		Generation          uint32
		State               string
	}
}

func (p *proxy) status() status {
	p.t.Helper()
	out, code := p.run("status", "--state-dir", p.path("run"), "--format", "json")
	if code != 0 {
		p.t.Fatalf("proxyd status: exit code %d: %s", code, out)
	}
	var s status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		p.t.Fatalf("proxyd status: %v: %s", err, out)
	}
	return s
}

// pids lists the processes of the workers by slot.
func (p *proxy) pids() []int {
	p.t.Helper()
	var list []int
	for _, w := range p.status().Workers {
		list = append(list, w.Pid)
	}
	return list
}

func (p *proxy) log() string {
	b, _ := os.ReadFile(p.path("log"))
	return string(b)
}

// logged counts the places in the log that match pattern.
func (p *proxy) logged(pattern string) int {
	return len(regexp.MustCompile(pattern).FindAllStringIndex(p.log(), -1))
}

// awaitLog waits until the log matches pattern.
func (p *proxy) awaitLog(pattern string) {
	p.t.Helper()
	p.awaitLogs(pattern, 1)
}

func (p *proxy) awaitLogs(pattern string, times int) {
	p.t.Helper()
	if !within(patience, func() bool { return p.logged(pattern) >= times || p.cmd != nil && p.ended() }) || p.logged(pattern) < times {
		p.t.Fatalf("log: got %d of %s; want %d", p.logged(pattern), pattern, times)
	}
}

// tail returns the last lines of text.
func tail(text string, lines int) string {
	list := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(list[max(0, len(list)-lines):], "\n")
}
