package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const second = int64(time.Second)

// A span is the first and the last window that a request can have been counted
// in: those in which it was sent and in which its answer came.
type span struct{ first, last int64 }

// perSecond is a site whose requests are limited by appid.
func perSecond(p *proxy, rate, server string) {
	p.write(site{
		servers: []string{server},
		route:   `rate_limit = ["per_app"]`,
		rest:    fmt.Sprintf("rate_limit \"per_app\" {\n key = request.header[\"appid\"]\n rate = %q\n}", rate),
	})
}

// serveText answers every head with a fixed response, as fast as can be.
func serveText(t *testing.T) (address string) {
	return serveRaw(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 { // the end of a head
				if _, err := c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); err != nil {
					return
				}
			}
		}
	})
}

// A crowd is 400 connections that share one appid and want more than it may.
type crowd struct {
	t       *testing.T
	address string

	mu       sync.Mutex
	admitted []span
	refused  int
	failures []string
}

// press asks on one connection until the window until begins.
func (w *crowd) press(until int64, phase time.Duration) {
	c, err := dial(w.address)
	if err != nil {
		w.fail(err.Error())
		return
	}
	defer c.Close()
	pause := time.NewTimer(phase)
	defer pause.Stop()
	for monotonic()/second < until {
		<-pause.C
		pause.Reset(100 * time.Millisecond)
		sent := monotonic() / second
		a, err := c.ask(http.MethodGet, "/", "", "appid: crowd")
		if err != nil {
			w.fail(err.Error())
			return
		}
		w.note(a, span{sent, monotonic() / second})
	}
}

func (w *crowd) fail(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, text)
}

func (w *crowd) note(a *answer, s span) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch a.status {
	case http.StatusOK:
		w.admitted = append(w.admitted, s)
	case http.StatusTooManyRequests:
		w.refused++
		if a.header.Get("X-Rate-Limit-Limit") != "10" || a.header.Get("X-Rate-Limit-Remaining") != "0" ||
			a.header.Get("X-Rate-Limit-Reset") != "1" || a.header.Get("Retry-After") != "1" {
			w.failures = append(w.failures, fmt.Sprintf("429 with %v", a.header))
		}
	default:
		w.failures = append(w.failures, fmt.Sprint(a.status))
	}
}

// assign gives each admitted request a window that it can have been counted in,
// none more than most, and returns how many each got. It reports false if that
// cannot be. Earliest deadline first is exact for this.
func assign(admitted []span, first, last int64, most int) (counts []int, ok bool) {
	left := slices.Clone(admitted)
	slices.SortFunc(left, func(a, b span) int { return int(a.last - b.last) })
	for w := first; w <= last; w++ {
		n := 0
		left = slices.DeleteFunc(left, func(s span) bool {
			if s.first > w || n == most {
				return false
			}
			n++
			return true
		})
		counts = append(counts, n)
		for _, s := range left {
			if s.last <= w {
				return counts, false
			}
		}
	}
	return counts, len(left) == 0
}

func TestAssign(t *testing.T) {
	for _, test := range []struct {
		admitted []span
		counts   []int
		ok       bool
	}{
		{[]span{{0, 0}, {0, 1}, {1, 1}, {1, 1}}, []int{2, 2}, true},
		{[]span{{0, 0}, {0, 0}, {0, 0}, {1, 1}}, []int{2}, false},
		{[]span{{0, 0}, {0, 1}, {0, 1}, {1, 2}}, []int{2, 2, 0}, true},
	} {
		last := test.admitted[len(test.admitted)-1].last
		counts, ok := assign(test.admitted, 0, last, 2)
		if !slices.Equal(counts, test.counts) || ok != test.ok {
			t.Errorf("%v: got %v, %v; want %v, %v", test.admitted, counts, ok, test.counts, test.ok)
		}
	}
}

func TestARateIsMetExactlyByAllWorkersTogether(t *testing.T) {
	long(t)
	p := newProxy(t)
	p.workers = 4
	perSecond(p, "10/s", serveText(t))
	p.start()

	others := newLoad(t, p.address)
	for i := range 20 {
		others.keep(1, 200*time.Millisecond, fmt.Sprintf("appid: other%d", i)) // 5/s each
	}
	others.keep(4, 20*time.Millisecond) // without an appid: 200/s in all

	w := &crowd{t: t, address: p.address}
	begin := monotonic() / second
	end := begin + 6 // five whole windows between
	var all sync.WaitGroup
	for i := range 400 {
		all.Go(func() { w.press(end, time.Duration(i)*100*time.Millisecond/400) })
	}
	all.Wait()
	others.end(t)
	w.judge(begin, end)
	if pids := p.pids(); len(pids) != 4 || slices.Contains(pids, 0) {
		t.Errorf("workers: got %v; want 4", pids)
	}
}

// judge checks the windows from begin to end, both of which the crowd saw in part.
func (w *crowd) judge(begin, end int64) {
	t := w.t
	if len(w.failures) > 0 {
		t.Errorf("got %d failures, such as %s; want none", len(w.failures), w.failures[0])
	}
	ambiguous := 0
	for window := begin + 1; window < end; window++ {
		certain, possible := 0, 0
		for _, s := range w.admitted {
			if s.first == window && s.last == window {
				certain++
			}
			if s.first <= window && s.last >= window {
				possible++
			}
		}
		ambiguous += possible - certain
		if certain > 10 || possible < 10 {
			t.Errorf("window +%d: got %d to %d admitted; want 10", window-begin, certain, possible)
		}
	}
	last := end
	for _, s := range w.admitted {
		last = max(last, s.last)
	}
	counts, ok := assign(w.admitted, begin, last, 10)
	if !ok {
		t.Fatalf("got %d admitted, which do not fit into windows of 10: %v", len(w.admitted), counts)
	}
	for i, n := range counts[1 : end-begin] {
		if n != 10 {
			t.Errorf("window +%d: got %d admitted; want 10", i+1, n)
		}
	}
	t.Logf("admitted by window %v (first and last seen in part), %d refused, %d ambiguous", counts, w.refused, ambiguous)
}

func TestManyKeysAreNotMistakenForOneAnother(t *testing.T) {
	long(t)
	const keys, conns, batch = 100_000, 10, 20
	p := newProxy(t)
	perSecond(p, "1/s", serveText(t))
	p.start()
	var all sync.WaitGroup
	refused := make([]int, conns)
	began := time.Now()
	for i := range conns {
		c := connect(t, p.address)
		all.Go(func() {
			for key := i * keys / conns; key < (i+1)*keys/conns; key += batch {
				n, err := c.once(key, batch)
				if err != nil {
					t.Errorf("key %d: %v", key, err)
					return
				}
				refused[i] += n
			}
		})
	}
	all.Wait()
	total := 0
	for _, n := range refused {
		total += n
	}
	t.Logf("%d keys in %v, %d refused", keys, time.Since(began).Round(time.Millisecond), total)
	if total != 0 {
		t.Errorf("got %d of %d refused; want 0", total, keys)
	}
}

// once asks for n keys at once, in a pipeline, and counts the refused.
func (c *client) once(key, n int) (refused int, err error) {
	var b strings.Builder
	for i := range n {
		b.WriteString(request(http.MethodGet, "/", "", "appid: key"+strconv.Itoa(key+i)))
	}
	if err := c.send(b.String()); err != nil {
		return 0, err
	}
	for range n {
		a, err := c.receive(http.MethodGet)
		switch {
		case err != nil:
			return refused, err
		case a.status == http.StatusTooManyRequests:
			refused++
		case a.status != http.StatusOK:
			return refused, fmt.Errorf("%d", a.status)
		}
	}
	return refused, nil
}
