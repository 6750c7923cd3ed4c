package lb

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb/probe"
)

// These tests have real workers: child processes that map the segment, probe
// over TCP, HTTP and gRPC, and are stopped and killed.

const (
	workerEnv = "PROXYD_LB_TEST_WORKER" // "slot interval" and the servers, each "kind address"
	segmentFd = 3
)

// workerMain is a worker: it probes its servers, each with a prober of its own,
// until its standard input ends, and reports a failed connect to the first one
// for each line that it reads. Its log goes to standard output.
func workerMain() int {
	if err := runWorker(strings.Fields(os.Getenv(workerEnv))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}

func runWorker(args []string) error {
	slot, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	interval, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	seg, err := shm.Open(os.NewFile(segmentFd, "shm"))
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var probers sync.WaitGroup
	var first *Server
	for kinds := args[2:]; len(kinds) > 0; kinds = kinds[2:] {
		p, err := NewPool(seg, Settings{Name: "one", Checked: true, Slot: slot}, []Spec{{Address: kinds[1]}})
		if err != nil {
			return err
		}
		if first == nil {
			first = p.Servers()[0]
		}
		check := Check{Interval: interval, Timeout: time.Second, Probe: probes[kinds[0]]}
		probers.Go(func() { NewProber(p, check, slot, log).Run(ctx) })
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		first.Failed()
	}
	cancel()
	probers.Wait()
	return nil
}

var probes = map[string]func(context.Context, string) error{
	"tcp":  probe.TCP,
	"http": (&probe.HTTP{Path: "/healthz"}).Probe,
	"grpc": (&probe.GRPC{Service: "one"}).Probe,
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

func spawn(t *testing.T, seg *shm.Segment, slot int, interval time.Duration, servers ...*probed) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe), log: &lockedBuilder{}}
	args := fmt.Sprint(slot, " ", interval)
	for _, s := range servers {
		args += " " + s.kind + " " + s.address
	}
	p.Env = append(os.Environ(), workerEnv+"="+args)
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

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
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

// A probed server counts connections as they come, each of which is one probe,
// and is well.
type probed struct {
	sightings
	net.Listener
	kind    string // of probes
	address string
}

func (s *probed) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err == nil {
		_ = s.probe(context.Background(), "")
	}
	return c, err
}

func (s *probed) serve() {
	for s.kind == "tcp" {
		c, err := s.Accept()
		if err != nil {
			return
		}
		_ = c.Close()
	}
	server := http.Server{Handler: http.HandlerFunc(s.answer), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(s.kind == "http")
	server.Protocols.SetUnencryptedHTTP2(s.kind == "grpc")
	_ = server.Serve(s)
	_ = server.Close()
}

func (s *probed) answer(w http.ResponseWriter, r *http.Request) {
	if s.kind == "grpc" && r.URL.Path == "/grpc.health.v1.Health/Check" {
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, 1}) // SERVING
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}
}

func serve(t *testing.T, kind, address string) *probed {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &probed{Listener: l, kind: kind, address: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(s.serve)
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return s
}

// A team is some workers that all probe the same servers.
type team struct {
	t        *testing.T
	seg      *shm.Segment
	interval time.Duration
	servers  []*probed
	known    []*Server  // what the segment knows of them
	workers  []*process // by slot
	log      []*lockedBuilder
}

func newTeam(t *testing.T, workers int, interval time.Duration) *team {
	m := &team{t: t, seg: newSegment(t), interval: interval, workers: make([]*process, workers)}
	for _, kind := range []string{"tcp", "http", "grpc"} {
		s := serve(t, kind, "127.0.0.1:0")
		m.servers = append(m.servers, s)
		m.known = append(m.known, newPool(t, m.seg, true, Spec{Address: s.address}).Servers()[0])
	}
	for slot := range workers {
		m.spawn(slot)
	}
	for _, s := range m.known {
		await(t, "up", 20*time.Second, s.Up)
	}
	return m
}

func (m *team) spawn(slot int) {
	m.workers[slot] = spawn(m.t, m.seg, slot, m.interval, m.servers...)
	m.log = append(m.log, m.workers[slot].log)
}

// holder is the slot of the worker that probes server i.
func (m *team) holder(i int) int { return lease(m.known[i].cell.Lease.Load()).slot() }

// awaitProbes waits until each server has seen n more probes.
func (m *team) awaitProbes(n int) {
	m.t.Helper()
	enough := make([]int, len(m.servers))
	for i, s := range m.servers {
		enough[i] = s.count() + n
	}
	for i, s := range m.servers {
		await(m.t, "probed", time.Duration(n+20)*m.interval, func() bool { return s.count() >= enough[i] })
	}
}

// anyMoment waits for up to an interval.
func (m *team) anyMoment() { <-time.After(rand.N(m.interval)) }

// kill kills the worker that probes server i, at any moment. The next one in its
// slot starts once the others have taken over; of a single worker, at once.
func (m *team) kill(i int) {
	m.anyMoment()
	slot := m.holder(i)
	m.workers[slot].kill()
	if len(m.workers) > 1 {
		m.awaitProbes(2)
	}
	m.spawn(slot)
	m.awaitProbes(1)
}

// stop stops the worker that probes server i, at any moment, and has it go on
// some intervals later, when it still believes that it is the one.
func (m *team) stop(i int) {
	m.anyMoment()
	slot := m.holder(i)
	m.workers[slot].signal(m.t, syscall.SIGSTOP)
	m.awaitProbes(3)
	m.workers[slot].signal(m.t, syscall.SIGCONT)
	m.awaitProbes(1)
}

// check judges what each server has seen by its own clock: probes two intervals
// apart at most and never two at once, and as many as there were intervals; but
// for those that troubles have put off, by less than an interval each.
func (m *team) check(troubles int) {
	m.t.Helper()
	for _, s := range m.servers {
		shortest, longest := s.gaps()
		n, intervals := s.count()-1, float64(s.span())/float64(m.interval)
		// Jitter of ±10 % adds up to this much in one of a million runs.
		off := 0.06*5*math.Sqrt(intervals) + 0.5
		m.t.Logf("%d workers, %s: %d probes in %.1f intervals, %v to %v apart, %d times the holder was killed or stopped",
			len(m.workers), s.kind, n, intervals, shortest.Round(time.Millisecond), longest.Round(time.Millisecond), troubles)
		if got := float64(n); got > intervals+off || got < intervals-off-float64(troubles) {
			m.t.Errorf("%s: %d probes in %.1f intervals; want one in each", s.kind, n, intervals)
		}
		if longest > 2*m.interval {
			m.t.Errorf("%s: not probed for %v; want at most %v", s.kind, longest, 2*m.interval)
		}
		if shortest < m.interval/2 { // 0.9, but the connections may wait to be seen
			m.t.Errorf("%s: two probes %v apart; want %v", s.kind, shortest, m.interval)
		}
	}
}

// However many workers there are, a server is probed once in an interval, also
// when the worker that probes it is killed or stopped at any moment.
func TestOneProbePerInterval(t *testing.T) {
	steady, rounds := 20, 3
	if testing.Short() {
		steady, rounds = 5, 1
	}
	for _, workers := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			t.Parallel()
			m := newTeam(t, workers, time.Second)
			m.awaitProbes(steady)
			m.check(0)
			troubles := 0
			for i := range rounds {
				m.kill(i % len(m.servers))
				troubles++
				if workers > 1 { // else there is nobody to take over
					m.stop((i + 1) % len(m.servers))
					troubles++
				}
			}
			m.check(troubles)
			changes := 0
			for _, l := range m.log {
				changes += strings.Count(l.String(), "is ")
			}
			if changes != len(m.servers) {
				t.Errorf("%d changes of state in the logs of all workers; want each server found up by one of them", changes)
			}
		})
	}
}

func TestRespawnedProcessTakesUpItsLease(t *testing.T) {
	const interval = 2 * time.Second
	seg := newSegment(t)
	server := serve(t, "tcp", "127.0.0.1:0")
	s := newPool(t, seg, true, Spec{Address: server.address}).Servers()[0]
	w := spawn(t, seg, 0, interval, server)
	await(t, "probed", 10*time.Second, s.Up)
	other := spawn(t, seg, 1, interval, server)
	w.kill()
	w = spawn(t, seg, 0, interval, server)
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
	server := serve(t, "tcp", "127.0.0.1:0")
	p := newPool(t, seg, true, Spec{Address: server.address})
	s := p.Servers()[0]
	workers := []*process{spawn(t, seg, 0, time.Second, server)}
	await(t, "up", 10*time.Second, s.Up)
	workers = append(workers, spawn(t, seg, 1, time.Second, server))

	_ = server.Close()
	if _, err := io.WriteString(workers[1].stdin, "failed\n"); err != nil {
		t.Fatal(err)
	}
	await(t, "avoided", 10*time.Second, func() bool { return s.avoidedUntil(shm.Now()) != 0 })
	took := await(t, "down", 10*time.Second, func() bool { state, _, _ := s.State(); return state == Down })
	if took > 500*time.Millisecond {
		t.Errorf("down %v after the failed connect; want at once", took)
	}
	if got := p.Pick(nil, nil); got != nil {
		t.Errorf("picked %s, which is down; want none", got.Address)
	}
	if got := RetryAfter(p); got < time.Second || got > 2*time.Second {
		t.Errorf("retry after %v; want 1s or 2s", got)
	}
	if _, _, reason := s.State(); reason != "connection refused" {
		t.Errorf("reason is %q; want connection refused", reason)
	}

	serve(t, "tcp", server.address)
	if took := await(t, "up again", 10*time.Second, s.Up); took > 1500*time.Millisecond {
		t.Errorf("up %v after it came back; want within 1.5s", took)
	}
	wants := []string{"is up", strconv.Quote("upstream one: server " + server.address + " is down: connect: connection refused"), "is up"}
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
