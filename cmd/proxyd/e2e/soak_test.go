package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// soakVariable says for how long TestSoak is to run.
const soakVariable = "PROXYD_SOAK"

func soakLength(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv(soakVariable)
	if text == "" {
		return 20 * time.Second
	}
	length, err := time.ParseDuration(text)
	if err != nil || length < 10*time.Second {
		t.Fatalf("%s: got %q, %v; want 10s or more", soakVariable, text, err)
	}
	return length
}

// TestSoak lets clients of all kinds use a proxy whose servers die and return
// and whose configuration changes each second. No request fails without cause,
// and no process of the proxy holds more at the end than at the beginning.
func TestSoak(t *testing.T) {
	long(t)
	length := soakLength(t)
	origins := []*soakOrigin{newSoakOrigin(t, "one"), newSoakOrigin(t, "two"), newSoakOrigin(t, "three")}
	p := newProxy(t)
	write := func(i int) {
		s := site{
			listener: fmt.Sprintf("limits = { headers = %d }", 100+i%7), // changes with each
			// Changes with every other, and its connections with it.
			upstream: fmt.Sprintf("host = \"v%d.example\"\n timeouts = { idle = \"1s\" }\n health \"tcp\" {}", i/2),
		}
		for _, o := range origins {
			s.servers = append(s.servers, o.address)
		}
		p.write(s)
	}
	write(0)
	p.start()
	quiet := p.usage()

	s := newSoak(t, p.address)
	s.run()
	began := time.Now()
	var samples []sample
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for turn := 1; time.Since(began) < length; turn++ {
		<-ticker.C
		now := make(map[int]usage)
		for pid := range quiet { // a look for all of them would take longer than a turn
			now[pid], _ = usageOf(pid)
		}
		samples = append(samples, sample{time.Since(began), now})
		if turn%4 == 0 {
			write(turn / 4)
			p.signal(syscall.SIGHUP)
		}
		// One server at a time is dead, for half a second or a whole one.
		switch victim := origins[turn/8%len(origins)]; turn % 8 {
		case 1:
			from := time.Now()
			victim.die(turn/8%2 == 0)
			s.died(from, time.Now())
		case 3 + turn/8%3:
			victim.start()
		}
	}
	s.end(t)
	if now := p.usage(); !slices.Equal(slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(quiet))) {
		t.Errorf("processes: got %v; want those of the beginning, %v", now, quiet)
	}
	for pid, before := range quiet {
		flat(t, pid, samples, length)
		await(t, fmt.Sprintf("the descriptors of process %d given back", pid), func() bool {
			return p.usage()[pid].descriptors <= before.descriptors+spare
		})
	}
	if n := p.logged(`level=ERROR`); n > 0 {
		t.Errorf("log: got %d errors; want none", n)
	}
	t.Logf("%v, %d reloads, %d deaths", length, p.logged(`msg=reloaded`), len(s.deaths))
}

// A sample is what the processes of a proxy held at a time.
type sample struct {
	at        time.Duration
	processes map[int]usage
}

// usage returns what each process of the proxy holds.
func (p *proxy) usage() map[int]usage {
	all := make(map[int]usage)
	for pid := range processesOf(p.dir) {
		if u, alive := usageOf(pid); alive {
			all[pid] = u
		}
	}
	return all
}

// flat checks that process pid held no more in the last minute, or quarter, of
// the samples than in the first.
func flat(t *testing.T, pid int, samples []sample, length time.Duration) {
	t.Helper()
	window := min(time.Minute, length/4)
	median := func(from, to time.Duration, of func(usage) int) int {
		var list []int
		for _, s := range samples {
			if u := s.processes[pid]; u.rss > 0 && s.at >= from && s.at < to {
				list = append(list, of(u))
			}
		}
		if len(list) == 0 {
			t.Fatalf("process %d: no sample from %v to %v", pid, from, to)
		}
		slices.Sort(list)
		return list[len(list)/2]
	}
	for _, what := range []struct {
		name  string
		of    func(usage) int
		slack int // for what comes and goes with the load
	}{
		{"KiB of memory", func(u usage) int { return u.rss >> 10 }, 8 << 10},
		{"descriptors", func(u usage) int { return u.descriptors }, spare},
	} {
		first, last := median(0, window, what.of), median(length-window, length+time.Hour, what.of)
		if last > first*5/4+what.slack {
			t.Errorf("process %d: got %d %s at the end; want no more than the %d of the beginning", pid, last, what.name, first)
		}
		t.Logf("process %d: %d %s in the first %v, %d in the last", pid, first, what.name, window, last)
	}
}

// A soakOrigin is an origin whose WebSockets die with it.
type soakOrigin struct {
	*origin

	mu      sync.Mutex
	sockets map[*websocket.Conn]bool
}

func newSoakOrigin(t *testing.T, name string) *soakOrigin {
	t.Helper()
	o := &soakOrigin{sockets: make(map[*websocket.Conn]bool)}
	o.origin = newOrigin(t, name, "", nil, o.serve)
	return o
}

// die is kill, of the WebSockets too.
func (o *soakOrigin) die(reset bool) {
	o.kill(reset)
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.sockets {
		_ = c.CloseNow() // it may have ended by itself
	}
}

// serve answers as the paths of a soakJob say.
func (o *soakOrigin) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/get":
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		if n%2 == 0 { // else it comes in chunks
			w.Header().Set("Content-Length", strconv.Itoa(n))
		}
		_, _ = io.WriteString(w, soakText[from:from+n]) // the client may be gone
	case "/sum":
		sum := sha256.New()
		if _, err := io.Copy(sum, r.Body); err == nil {
			fmt.Fprintf(w, "%x", sum.Sum(nil))
		}
	case "/echo":
		streamBack(w, r)
	case "/socket":
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // it has been answered
		}
		o.mu.Lock()
		o.sockets[c] = true
		o.mu.Unlock()
		defer func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			delete(o.sockets, c)
			_ = c.CloseNow() // it may be closed
		}()
		c.SetReadLimit(soakBytes)
		for ctx := context.Background(); ; { // until either side ends
			kind, message, err := c.Read(ctx)
			if err != nil || c.Write(ctx, kind, message) != nil {
				return
			}
		}
	}
}
