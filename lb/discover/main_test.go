package discover

import (
	"context"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
)

// TestMain runs the tests, or in a process started by one of them, the worker
// that it asked for.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(roles[role]())
	}
	// Most of these tests wait for a TTL to end: together they wait no longer.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func newSegment(t testing.TB) *shm.Segment {
	t.Helper()
	seg, err := shm.Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := seg.Close(); err != nil {
			t.Error(err)
		}
	})
	return seg
}

// A log is what was logged, line by line.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// count says how many lines hold text.
func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// settings are those of a test's Discoverer, whose changes nobody waits for.
func settings(sources ...Source) Settings {
	return Settings{
		Upstream: "one",
		Sources:  sources,
		Log:      slog.New(slog.DiscardHandler),
		Changed:  func([]lb.Spec) {},
	}
}

func newDiscoverer(t testing.TB, seg *shm.Segment, s Settings) *Discoverer {
	t.Helper()
	d, err := New(seg, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run runs d until the test ends or stop is called.
func run(t testing.TB, d *Discoverer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { d.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// addresses names servers, in the order of their text.
func addresses(servers []lb.Spec) string {
	var names []string
	for _, s := range servers {
		names = append(names, s.Address)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// await waits for a condition and returns how long that took.
func await(t testing.TB, what string, limit time.Duration, done func() bool) time.Duration {
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

// awaitServers waits until d has the servers named, and no others.
func awaitServers(t testing.TB, d *Discoverer, want string, limit time.Duration) time.Duration {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("servers are %q; want %q", addresses(d.Servers()), want)
		}
	}()
	return await(t, "the servers "+want, limit, func() bool { return addresses(d.Servers()) == want })
}

// server4 is the server at that port of 10.0.0.last.
func server4(last byte, port uint16) server {
	return server{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), port), weight: 1}
}
