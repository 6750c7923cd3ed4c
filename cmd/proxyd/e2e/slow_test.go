package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSlowAttacks holds 4,000 connections at a time in each of the ways that
// slow attacks do, while others are served. Every one of them is cut when its
// time-out is over, and costs little until then.
func TestSlowAttacks(t *testing.T) {
	long(t)
	const (
		clients = 4000
		limit   = 2 * time.Second
		late    = time.Second // how much later the cut may be seen
		most    = 64 << 10    // of the workers' memory, for each
	)
	needDescriptors(t, 3*clients)
	o := newBigOrigin(t)
	for _, test := range []struct {
		name string
		swarm
	}{
		{"heads that trickle", swarm{first: "GET / HTTP/1.1\r\nHost: test\r\n", trickle: "A: b\r\n"}},
		{"bodies that stop", swarm{first: request(http.MethodPost, "/", "", "Content-Length: 10000") + "the beginning"}},
		{"responses that are not read", swarm{first: request(http.MethodGet, "/big", ""), window: 4 << 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t)
			p.write(site{
				servers:  []string{o.address},
				listener: fmt.Sprintf("timeouts = { header = %[1]q, body_idle = %[1]q, write = %[1]q, idle = \"1m\" }", limit),
			})
			p.start()
			others := newLoad(t, p.address)
			others.method, others.body = http.MethodGet, ""
			others.keep(4, 10*time.Millisecond)
			others.awaitMore(t, 100)
			before := p.workersUse(t)
			others.renew(50)

			s := &test.swarm
			s.address, s.clients = p.address, clients
			s.attack(t, p, patience)
			if s.left > 0 {
				t.Errorf("got %d of %d not cut; want none", s.left, clients)
			}
			var held []time.Duration
			for _, a := range s.list {
				held = append(held, a.held)
			}
			slices.Sort(held)
			if first, last := held[0], held[len(held)-1]; first < limit-late/10 || last > limit+late {
				t.Errorf("cut after %v to %v; want %v", first, last, limit)
			}
			each := (s.peak - before.rss) / clients
			if each > most {
				t.Errorf("got %d bytes of the workers' memory for a slow client; want %d at most", each, most)
			}
			others.end(t)
			await(t, "the descriptors given back", func() bool { return p.workersUse(t).descriptors <= before.descriptors+2*spare })
			t.Logf("cut after %v, %v, %v (first, median, last); %d bytes each", held[0], held[len(held)/2], held[len(held)-1], each)
		})
	}
}

// newBigOrigin starts an origin that reads what it is sent. What it answers at
// /big would find room in the kernel's largest buffers, which thousands of clients
// must not be given.
func newBigOrigin(t *testing.T) *origin {
	t.Helper()
	big := make([]byte, 192<<10)
	return newOrigin(t, "origin", "", nil, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			_, _ = w.Write(big) // cut, as it is to be
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "here")
	})
}

// needDescriptors skips a test that this process may not open enough files for.
func needDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < n {
		t.Skipf("needs %d descriptors; the limit is %d", n, limit.Cur)
	}
}
