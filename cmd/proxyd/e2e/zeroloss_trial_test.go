package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// edge is how many requests of one key are admitted in a second.
const edge = 10

// A trial is a proxy in the background to which things are done under traffic.
type trial struct {
	*proxy
	traffic  *traffic
	watch    *watch
	more     string // blocks of the configuration
	configs  int    // written so far
	upgraded bool   // the supervisor is the successor of another
}

// newTrial starts a proxy and its traffic.
func newTrial(t *testing.T, m mix) *trial {
	t.Helper()
	z := prepareTrial(t)
	t.Logf("traffic: %v", m)
	z.traffic.run(m)
	z.answers(100)
	return z
}

// prepareTrial starts a proxy.
func prepareTrial(t *testing.T) *trial {
	t.Helper()
	// What this process was started with is no descriptor of the proxy's.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	z := &trial{proxy: newProxy(t)}
	z.daemon = true
	origin := newLedger(t)
	z.traffic = newTraffic(t, z.address, origin)
	z.configure()
	z.daemonize()
	z.watch = newWatch(z.proxy)
	return z
}

// configure writes a file that differs from the one before.
func (z *trial) configure() {
	z.configs++
	z.write(site{
		servers:  []string{z.traffic.origin.address},
		listener: `timeouts = { header = "10m", idle = "10m" }`,
		route:    `rate_limit = ["edge"]`,
		upstream: fmt.Sprintf("host = \"v%d.example\"", z.configs),
		rest:     z.more + fmt.Sprintf("rate_limit \"edge\" {\n key = request.header[\"appid\"]\n rate = \"%d/s\"\n}", edge),
	})
}

// answers waits for n more answers.
func (z *trial) answers(n int) {
	z.t.Helper()
	count := func() (sum int) {
		f := &z.traffic.findings
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, n := range f.answered {
			sum += n
		}
		return sum
	}
	before := count()
	await(z.t, fmt.Sprintf("%d more answers", n), func() bool { return count() >= before+n })
}

func (z *trial) note(format string, args ...any) {
	z.traffic.happened(fmt.Sprintf(format, args...), nil)
}

// command runs a command of proxyd that must succeed.
func (z *trial) command(name string) {
	z.t.Helper()
	if out, code := z.run(name, "--state-dir", z.path("run")); code != 0 {
		z.t.Errorf("proxyd %s: got exit code %d, %s; want 0", name, code, strings.TrimSpace(out))
	}
}

// hup sends HUP after a change of the file.
func (z *trial) hup() {
	z.t.Helper()
	z.configure()
	pid := z.status().Pid
	z.note("HUP %d", z.configs)
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		z.t.Fatal(err)
	}
}

func (z *trial) roll() {
	z.t.Helper()
	z.note("roll begins")
	z.command("roll")
	z.note("roll ends")
}

// upgrade starts the program's file anew, by command or by signal.
func (z *trial) upgrade(byCommand bool) {
	z.t.Helper()
	before := z.status()
	z.note("upgrade begins")
	if byCommand {
		z.command("upgrade")
	} else {
		if err := syscall.Kill(before.Pid, syscall.SIGUSR2); err != nil {
			z.t.Fatal(err)
		}
		if !within(2*patience, func() bool {
			s, ok := z.look()
			return ok && s.Incarnation > before.Incarnation && s.Generation > before.Generation
		}) {
			z.t.Errorf("USR2: got no other supervisor and generation within %v", 2*patience)
		}
	}
	z.upgraded = true
	z.note("upgrade ends")
}

// killWorker kills a worker of the generation in force. It is stopped first, so
// that its connections are known exactly.
func (z *trial) killWorker(nth int) {
	z.t.Helper()
	pids := z.serving(z.status().Generation)
	if len(pids) == 0 {
		z.t.Errorf("workers: got none that serves: %+v", z.status().Workers)
		return
	}
	pid := pids[nth%len(pids)]
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		z.t.Errorf("stop worker %d: %v", pid, err)
		return
	}
	await(z.t, "the worker to stop", func() bool { return stopped(pid) })
	victims := clientPorts(z.t, pid, z.address)
	z.traffic.happened(fmt.Sprintf("kill of worker %d with %d connections", pid, len(victims)), victims)
	kill(z.t, pid)
}

// killSupervisor kills the supervisor and starts another after a while.
func (z *trial) killSupervisor(alone time.Duration) {
	z.t.Helper()
	pid := z.status().Pid
	z.note("death of supervisor %d", pid)
	kill(z.t, pid)
	<-time.After(alone) // the workers serve by themselves
	z.daemonize()
	z.upgraded = false
	z.note("start of supervisor %d", z.status().Pid)
}

// awaitConfig waits until all workers have the configuration written last.
func (z *trial) awaitConfig() {
	z.t.Helper()
	want := fmt.Sprintf("host=v%d.example", z.configs)
	await(z.t, want, func() bool {
		for range 8 {
			if !strings.Contains(z.get("/config").body, want) {
				return false
			}
		}
		return true
	})
}

// look is status for when there may be no supervisor.
func (z *trial) look() (status, bool) {
	text, ok := z.watch.ask()
	var s status
	return s, ok && json.Unmarshal(text, &s) == nil
}

// A watch sees to it that counters never fall.
type watch struct {
	p    *proxy
	over chan struct{}
	done sync.WaitGroup

	highest map[string]uint64 // by slot and name
	fallen  []string
	looks   int
}

func newWatch(p *proxy) *watch {
	w := &watch{p: p, over: make(chan struct{}), highest: make(map[string]uint64)}
	w.done.Go(func() {
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for {
			w.look()
			select {
			case <-w.over:
				w.look()
				return
			case <-ticker.C:
			}
		}
	})
	p.t.Cleanup(w.stop)
	return w
}

// stop may be called twice.
func (w *watch) stop() {
	select {
	case <-w.over:
	default:
		close(w.over)
	}
	w.done.Wait()
}

// ask runs 'proxyd status', which fails while there is no supervisor.
func (w *watch) ask() (text []byte, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := w.p.command(ctx, binary, "status", "--state-dir", w.p.path("run"), "--format", "json")
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err == nil
}

func (w *watch) look() {
	text, ok := w.ask()
	var s struct {
		Workers []struct {
			Slot     int
			Counters map[string]uint64
		}
	}
	if !ok || json.Unmarshal(text, &s) != nil {
		return
	}
	w.looks++
	for _, worker := range s.Workers {
		for name, n := range worker.Counters {
			if !strings.HasSuffix(name, "_total") {
				continue // it may fall
			}
			key := fmt.Sprintf("slot %d %s", worker.Slot, name)
			if n < w.highest[key] {
				w.fallen = append(w.fallen, fmt.Sprintf("%s: from %d to %d", key, w.highest[key], n))
			}
			w.highest[key] = max(n, w.highest[key])
		}
	}
}

// end ends the traffic and checks what must be true at the end of any trial.
func (z *trial) end(t *testing.T) {
	t.Helper()
	z.answers(100)
	z.traffic.judge(t)
	z.watch.stop()
	t.Logf("counters: looked at %d times", z.watch.looks)
	if len(z.watch.fallen) > 0 {
		t.Errorf("got %d counters that fell, such as %s; want none", len(z.watch.fallen), z.watch.fallen[0])
	}
	z.judgeLimit(t)
	z.audit(t)
}

// judgeLimit checks that no window admitted more than it may.
func (z *trial) judgeLimit(t *testing.T) {
	t.Helper()
	spans := z.traffic.spans
	if len(spans) == 0 {
		return
	}
	first, last := spans[0].first, spans[0].last
	for _, s := range spans {
		first, last = min(first, s.first), max(last, s.last)
	}
	counts, ok := assign(spans, first, last, edge)
	if !ok {
		t.Errorf("got %d admitted, which do not fit into windows of %d: %v", len(spans), edge, counts)
		return
	}
	full := 0
	for _, n := range counts {
		if n == edge {
			full++
		}
	}
	t.Logf("limit of %d: reached in %d of %d windows, exceeded in none", edge, full, len(counts))
	if full*2 < len(counts) {
		t.Errorf("limit: got only %d of %d windows at it; want most", full, len(counts))
	}
}

// untouched checks that the same workers serve on the same connections.
func (z *trial) untouched(t *testing.T, before []int) {
	t.Helper()
	z.traffic.findings.mu.Lock()
	n := z.traffic.announced
	z.traffic.findings.mu.Unlock()
	if n > 0 {
		t.Errorf("got %d connections that the proxy ended; want none", n)
	}
	if after := z.pids(); !slices.Equal(before, after) {
		t.Errorf("workers: got %v; want %v as before", after, before)
	}
}
