package lb

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// These tests have real workers: child processes that map the segment, probe
// over TCP, and are killed.

const (
	workerEnv = "PROXYD_LB_TEST_WORKER" // "slot interval address"
	segmentFd = 3
)

// workerMain is a worker: it probes until its standard input ends, and reports
// a failed connect for each line that it reads. Its log goes to standard output.
func workerMain() int {
	var slot int
	var interval, address string
	if _, err := fmt.Sscan(os.Getenv(workerEnv), &slot, &interval, &address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	check := Check{}
	check.Interval, _ = time.ParseDuration(interval)
	seg, err := shm.Open(os.NewFile(segmentFd, "shm"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	p, err := NewPool(seg, "one", []Spec{{Address: address}}, true)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			p.Servers()[0].Failed()
		}
	}()
	NewProber(p, check, slot, slog.New(slog.NewTextHandler(os.Stdout, nil))).Run(ctx)
	return 0
}

type process struct {
	*exec.Cmd
	stdin io.WriteCloser
	log   *lockedBuilder
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func spawn(t *testing.T, seg *shm.Segment, slot int, interval time.Duration, address string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe), log: &lockedBuilder{}}
	p.Env = append(os.Environ(), fmt.Sprintf("%s=%d %v %s", workerEnv, slot, interval, address))
	p.ExtraFiles = []*os.File{seg.File()}
	p.Stdout, p.Stderr = p.log, os.Stderr
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			p.kill()
		}
	})
	return p
}

// kill is kill -9, and returns when the process is gone.
func (p *process) kill() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// await waits for a condition and returns how long that took.
func await(t *testing.T, what string, limit time.Duration, done func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Since(began) > limit {
			t.Fatalf("after %v: not %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(began)
}

// A connect is one probe as the probed server sees it.
type connects struct {
	sightings
	net.Listener
}

func (c *connects) serve() {
	for {
		conn, err := c.Accept()
		if err != nil {
			return
		}
		_ = c.probe(context.Background(), "")
		_ = conn.Close()
	}
}

func serveConnects(t *testing.T, address string) *connects {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := &connects{Listener: l}
	var wg sync.WaitGroup
	wg.Go(c.serve)
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return c
}

func TestKilledHolderIsReplaced(t *testing.T) {
	const interval = 400 * time.Millisecond
	seg := newSegment(t)
	server := serveConnects(t, "127.0.0.1:0")
	address := server.Addr().String()
	s := newPool(t, seg, true, Spec{Address: address}).Servers()[0]
	holder := func() int { return lease(s.cell.Lease.Load()).slot() }

	workers := make([]*process, 3)
	for slot := range workers {
		workers[slot] = spawn(t, seg, slot, interval, address)
	}
	await(t, "up", 10*time.Second, s.Up)
	for range 3 {
		killed := holder()
		workers[killed].kill()
		count := server.count()
		took := await(t, "taken over", 10*time.Second, func() bool { return holder() != killed && server.count() > count })
		if took > 2*interval {
			t.Errorf("the lease of killed slot %d was taken over after %v; want within %v", killed, took, 2*interval)
		}
		workers[killed] = spawn(t, seg, killed, interval, address)
	}
	if shortest, _ := server.gaps(); shortest < interval/2 {
		t.Errorf("two probes were %v apart; want one worker probing every %v", shortest, interval)
	}
	if state, _, _ := s.State(); state != Up {
		t.Errorf("server is %v; want up", state)
	}
	logged := 0
	for _, w := range workers {
		logged += strings.Count(w.log.String(), "is ")
	}
	if logged > 1 {
		t.Errorf("%d changes of state in the logs of three workers; want only the first", logged)
	}
}

func TestRespawnedProcessTakesUpItsLease(t *testing.T) {
	const interval = 2 * time.Second
	seg := newSegment(t)
	server := serveConnects(t, "127.0.0.1:0")
	address := server.Addr().String()
	s := newPool(t, seg, true, Spec{Address: address}).Servers()[0]
	w := spawn(t, seg, 0, interval, address)
	await(t, "probed", 10*time.Second, s.Up)
	other := spawn(t, seg, 1, interval, address)
	w.kill()
	w = spawn(t, seg, 0, interval, address)
	renewed := lease(s.cell.Lease.Load()).expiry()
	await(t, "renewed by the new process", interval, func() bool {
		l := lease(s.cell.Lease.Load())
		return l.slot() == 0 && l.expiry() > renewed
	})
	await(t, "probed again", 2*interval, func() bool { return server.count() == 2 })
	if shortest, _ := server.gaps(); shortest < interval*8/10 {
		t.Errorf("probed again after %v; want no sooner than %v", shortest, interval*9/10)
	}
	// Told to stop, a worker comes to its end by itself.
	for _, p := range []*process{w, other} {
		_ = p.stdin.Close()
		if err := p.Wait(); err != nil {
			t.Errorf("worker: %v; want exit 0", err)
		}
	}
}

// The way of a server through death and return, with probes at 1 s, the failed
// connect reported by a process that does not hold the lease.
func TestServerDiesAndReturns(t *testing.T) {
	seg := newSegment(t)
	server := serveConnects(t, "127.0.0.1:0")
	address := server.Addr().String()
	p := newPool(t, seg, true, Spec{Address: address})
	s := p.Servers()[0]
	workers := []*process{spawn(t, seg, 0, time.Second, address)}
	await(t, "up", 10*time.Second, s.Up)
	workers = append(workers, spawn(t, seg, 1, time.Second, address))

	_ = server.Close()
	if _, err := io.WriteString(workers[1].stdin, "failed\n"); err != nil {
		t.Fatal(err)
	}
	await(t, "avoided", 10*time.Second, s.avoided)
	took := await(t, "down", 10*time.Second, func() bool { state, _, _ := s.State(); return state == Down })
	if took > 500*time.Millisecond {
		t.Errorf("down %v after the failed connect; want at once", took)
	}
	if got := p.Pick(nil); got != nil {
		t.Errorf("picked %s, which is down; want none", got.Address)
	}
	if got := RetryAfter(p); got < time.Second || got > 2*time.Second {
		t.Errorf("retry after %v; want 1s or 2s", got)
	}
	if _, _, reason := s.State(); reason != "connection refused" {
		t.Errorf("reason is %q; want connection refused", reason)
	}

	serveConnects(t, address)
	if took := await(t, "up again", 10*time.Second, s.Up); took > 1500*time.Millisecond {
		t.Errorf("up %v after it came back; want within 1.5s", took)
	}
	wants := []string{"is up", strconv.Quote("upstream one: server " + address + " is down: connect: connection refused"), "is up"}
	log := workers[0].log
	await(t, "logged", 10*time.Second, func() bool { return strings.Count(log.String(), "\n") == len(wants) })
	for i, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
		if !strings.Contains(line, wants[i]) {
			t.Errorf("log line %d is %s; want it to say %s", i, line, wants[i])
		}
	}
	if got := workers[1].log.String(); got != "" {
		t.Errorf("the worker without the lease logged %s; want nothing", got)
	}
}
