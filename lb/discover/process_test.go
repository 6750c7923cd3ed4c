package discover

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
)

// These tests have real workers: child processes that map the segment, share its
// rosters, and are killed and stopped.

const (
	roleEnv   = "PROXYD_DISCOVER_TEST_ROLE"   // key of roles
	workerEnv = "PROXYD_DISCOVER_TEST_WORKER" // "slot resolver"
	segmentFd = 3
)

var roles = map[string]func() int{"discoverer": discovererMain, "writer": writerMain}

// join opens what the parent gave.
func join() (seg *shm.Segment, slot int, resolver string, err error) {
	if _, err = fmt.Sscan(os.Getenv(workerEnv), &slot, &resolver); err == nil {
		seg, err = shm.Open(os.NewFile(segmentFd, "shm"))
	}
	return seg, slot, resolver, err
}

// discovererMain discovers app.test until its standard input ends, and writes
// the servers to its standard output whenever they change.
func discovererMain() int {
	seg, slot, resolver, err := join()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	tell := func(servers []lb.Spec) { fmt.Println(addresses(servers)) }
	d, err := New(seg, Settings{
		Upstream: "one", Sources: []Source{appAt(resolver)}, Slot: slot,
		Log: slog.New(slog.DiscardHandler), Changed: tell,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	tell(d.Servers())
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	d.Run(ctx)
	return 0
}

// writerMain writes records as fast as it can until it is killed, and exits if
// it reads a mixed one.
func writerMain() int {
	seg, slot, _, err := join()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	r, err := newRoster(seg, "one", "torn", slot)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	fmt.Println("ready")
	for {
		head, rec := r.load()
		if err := check(rec); head != 0 && err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		r.publish(head, number(rand.Uint64()))
	}
}

func appAt(resolvers ...string) DNS {
	return DNS{Name: "app.test", Port: 80, Resolvers: resolvers}
}

type process struct {
	*exec.Cmd
	stdin io.Closer
	ready chan struct{} // closed when it has written its first line
	tail  sync.WaitGroup

	mu    sync.Mutex
	lines []line
}

// A line is what a process wrote, and when.
type line struct {
	text string
	at   time.Time
}

func spawn(t *testing.T, seg *shm.Segment, role string, slot int, resolver string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe), ready: make(chan struct{})}
	p.Env = append(os.Environ(), roleEnv+"="+role, fmt.Sprintf("%s=%d %s", workerEnv, slot, resolver))
	p.ExtraFiles = []*os.File{seg.File()}
	p.Stderr = os.Stderr
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.tail.Go(func() { p.read(stdout) })
	t.Cleanup(p.kill)
	return p
}

func (p *process) read(stdout io.Reader) {
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		p.mu.Lock()
		if p.lines = append(p.lines, line{lines.Text(), time.Now()}); len(p.lines) == 1 {
			close(p.ready)
		}
		p.mu.Unlock()
	}
}

// last is the servers that the process told of last.
func (p *process) last() line {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) == 0 {
		return line{}
	}
	return p.lines[len(p.lines)-1]
}

// kill is kill -9, and returns when the process is gone.
func (p *process) kill() {
	if p.ProcessState == nil {
		_ = p.Process.Kill()
		p.tail.Wait()
		_ = p.Wait()
	}
}

// holder is the slot that asked last.
func holder(r *roster) int { return int(r.head() % pages / 2) }

// One query is made per TTL, however many workers there are.
func TestQueriesDoNotMultiplyWithWorkers(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			t.Parallel()
			const ttl, terms = time.Second, 4
			names := serveNames(t)
			names.set("app.test.", host(1, "10.0.0.1"))
			seg := newSegment(t)
			for slot := range workers {
				spawn(t, seg, "discoverer", slot, names.address)
			}
			asked := func() []asked { return names.questions(dnsmessage.TypeA) }
			await(t, "asked", (terms+10)*ttl, func() bool { return len(asked()) == terms+1 })
			list := asked()
			for i := range terms {
				if gap := list[i+1].at.Sub(list[i].at); gap < ttl || gap > ttl+ttl/2 {
					t.Errorf("query %d came %v after the one before; want the TTL, %v", i+1, gap, ttl)
				}
			}
			if got := len(names.questions(dnsmessage.TypeAAAA)); got < terms || got > terms+1 {
				t.Errorf("%d questions for AAAA; want as many as for A, %d", got, terms+1)
			}
		})
	}
}

// What one worker has learned all have within a quarter of a second.
func TestWorkersShareAnAnswer(t *testing.T) {
	names := serveNames(t)
	names.set("app.test.", host(1, "10.0.0.1"))
	seg := newSegment(t)
	var workers []*process
	for slot := range 4 {
		workers = append(workers, spawn(t, seg, "discoverer", slot, names.address))
	}
	all := func(want string) func() bool {
		return func() bool {
			for _, w := range workers {
				if w.last().text != want {
					return false
				}
			}
			return true
		}
	}
	await(t, "known to all", 10*time.Second, all("10.0.0.1:80"))
	for _, change := range []struct {
		records []dnsmessage.Resource
		want    string
	}{
		{[]dnsmessage.Resource{host(1, "10.0.0.1"), host(1, "10.0.0.2")}, "10.0.0.1:80 10.0.0.2:80"},
		{[]dnsmessage.Resource{host(1, "10.0.0.2")}, "10.0.0.2:80"},
	} {
		names.set("app.test.", change.records...)
		took := await(t, "known to all", 10*time.Second, all(change.want))
		if took > 2*time.Second {
			t.Errorf("all had %s after %v; want within the TTL, 1s, and one more", change.want, took)
		}
		first, latest := workers[0].last().at, workers[0].last().at
		for _, w := range workers {
			if at := w.last().at; at.Before(first) {
				first = at
			} else if at.After(latest) {
				latest = at
			}
		}
		t.Logf("%s: in use after %v, by the last worker %v after the first", change.want, took, latest.Sub(first))
		if late := latest.Sub(first); late > 250*time.Millisecond {
			t.Errorf("the last worker had it %v after the first; want within 250ms", late)
		}
	}
	for _, w := range workers {
		_ = w.stdin.Close()
		w.tail.Wait()
		if err := w.Wait(); err != nil {
			t.Errorf("worker that was told to stop: %v; want exit 0", err)
		}
	}
}

// A worker that holds the lease may be killed or stopped.
func TestSilentHolderIsReplaced(t *testing.T) {
	t.Parallel()
	names := serveNames(t)
	names.set("app.test.", host(1, "10.0.0.1"))
	seg := newSegment(t)
	r, err := newRoster(seg, "one", appAt().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	workers := make([]*process, 3)
	for slot := range workers {
		workers[slot] = spawn(t, seg, "discoverer", slot, names.address)
	}
	await(t, "asked", 10*time.Second, func() bool { return r.head() != 0 })
	signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGKILL, syscall.SIGSTOP}
	if testing.Short() {
		signals = signals[:2]
	}
	for _, signal := range signals {
		silent := holder(r)
		if err := workers[silent].Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		took := await(t, "taken over", 10*time.Second, func() bool { return holder(r) != silent })
		t.Logf("%v: taken over after %v", signal, took)
		if took > 2*term {
			t.Errorf("%v: slot %d was replaced after %v; want within %v", signal, silent, took, 2*term)
		}
		if signal == syscall.SIGSTOP {
			head := r.head()
			if err := workers[silent].Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			await(t, "asked again", 10*time.Second, func() bool { return r.head() != head })
			if holder(r) == silent {
				t.Errorf("slot %d went on asking when it was continued; want it to see that it lost the lease", silent)
			}
		} else {
			workers[silent].kill()
			workers[silent] = spawn(t, seg, "discoverer", silent, names.address)
			<-workers[silent].ready
		}
	}
	if _, rec := r.load(); len(rec.servers) != 1 || rec.fault != "" {
		t.Errorf("got %d servers, fault %q; want one and none", len(rec.servers), rec.fault)
	}
	list := names.questions(dnsmessage.TypeA)
	for i := range len(list) - 1 {
		gap := list[i+1].at.Sub(list[i].at)
		if gap > 3*time.Second {
			t.Errorf("no query for %v; want at most the TTL, 1s, and two terms", gap)
		}
		if gap < 900*time.Millisecond {
			t.Errorf("two queries were %v apart; want one per TTL, 1s", gap)
		}
	}
}

// Writers that are killed or stopped at any instruction leave a record that is
// whole, and never does a reader see another.
func TestKilledWriters(t *testing.T) {
	deaths := 200
	if testing.Short() {
		deaths = 30
	}
	seg := newSegment(t)
	r, err := newRoster(seg, "one", "torn", 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var reader sync.WaitGroup
	seen := make(map[uint64]bool)
	reader.Go(func() {
		for latest := uint64(0); ctx.Err() == nil; {
			head, rec := r.load()
			if err := check(rec); head != 0 && err != nil {
				t.Error(err)
				return
			}
			if head/pages < latest {
				t.Errorf("record %d came after %d", head/pages, latest)
			}
			latest = head / pages
			seen[head] = true
		}
	})
	writers := make([]*process, 3)
	for i := range deaths {
		slot := i % len(writers)
		if w := writers[slot]; w != nil {
			<-time.After(time.Duration(rand.Int64N(int64(5 * time.Millisecond)))) // the moment is what is tested
			if i%2 == 0 {
				_ = w.Process.Signal(syscall.SIGSTOP) // the others go on over what it had begun
				other := writers[(slot+1)%len(writers)]
				<-other.ready
				_ = w.Process.Signal(syscall.SIGCONT)
				<-time.After(time.Millisecond)
			}
			w.kill()
		}
		writers[slot] = spawn(t, seg, "writer", slot, "-")
	}
	for _, w := range writers {
		<-w.ready
		if w.kill(); w.ProcessState.Exited() {
			t.Errorf("a writer ended by itself: %v", w.ProcessState)
		}
	}
	cancel()
	reader.Wait()
	head, rec := r.load()
	if err := check(rec); err != nil {
		t.Error(err)
	}
	t.Logf("%d records written, %d of them seen, %d deaths", head/pages, len(seen), deaths+len(writers))
	if len(seen) < deaths {
		t.Errorf("the reader saw %d records; want it to have seen some of each writer", len(seen))
	}
	if !r.publish(head, number(1)) {
		t.Error("afterwards, nothing can be published")
	}
}
