package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// How the load generator is told what to do: its flags, then a line on its
// standard input for each phase but the first. It answers each phase with a
// result, when no request is under way: so the caller can read the proxy's
// counters between phases and miss none of their requests.
//
//	load -hold=false: warm up; line; measure
//	load -hold:       hold one connection; line; hold all of them; line

// A result is what a phase came to. Requests that failed have no latency.
type result struct {
	OK        int
	Failed    int
	Elapsed   time.Duration
	P50, P99  time.Duration
	Complaint string // about the first that failed
}

const (
	requestPatience = 10 * time.Second // for a response, and in oneShot for the end of its connection
	maxFailures     = 200              // of a phase, which then ends: the proxy is broken
)

// A load generator keeps each of its clients busy with one request.
type load struct {
	to      *unix.SockaddrInet4
	request []byte
	body    int
	oneShot bool

	poll    *poller
	clients []client
	busy    int // clients with a request under way
	base    time.Time
	until   time.Duration // since base: when no more requests begin
	swept   time.Duration

	result    result
	latencies histogram
	buf       [32 << 10]byte
}

// runLoad is the role.
func runLoad(args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	port := flags.Int("port", 0, "of the proxy")
	connections := flags.Int("connections", 1, "at once")
	body := flags.Int("body", 0, "bytes of each response")
	oneShot := flags.Bool("one-shot", false, "a connection for each request")
	hold := flags.Bool("hold", false, "one request for each connection")
	warm := flags.Duration("warm", 0, "length of the first phase")
	length := flags.Duration("for", 0, "length of the second")
	if err := flags.Parse(args); err != nil {
		return err
	}
	becomeLoop()
	l, err := newLoad(*port, *connections, *body, *oneShot)
	if err != nil {
		return err
	}
	phases := []func() result{
		func() result { return l.phase(l.clients, *warm) },
		func() result { return l.phase(l.clients, *length) },
	}
	if *hold {
		phases[0] = func() result { return l.phase(l.clients[:1], 0) }
		phases[1] = func() result { return l.oneByOne(l.clients[1:]) }
	}
	report := json.NewEncoder(os.Stdout)
	for _, phase := range phases {
		if err := report.Encode(phase()); err != nil {
			return err
		}
		if err := awaitLine(); err != nil {
			return err
		}
	}
	return nil
}

// awaitLine reads a byte at a time, so that it takes no byte of the next line.
func awaitLine() error {
	for b := [1]byte{}; b[0] != '\n'; {
		if _, err := os.Stdin.Read(b[:]); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
	}
	return nil
}

func newLoad(port, connections, body int, oneShot bool) (*load, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &load{to: loopback(port), body: body, oneShot: oneShot, poll: poll, base: time.Now(), clients: make([]client, connections)}
	for i := range l.clients {
		l.clients[i].fd, l.clients[i].index = -1, int32(i)
	}
	l.request = fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nappid: bench\r\n", port)
	if oneShot {
		l.request = append(l.request, "Connection: close\r\n"...)
	}
	l.request = append(l.request, "\r\n"...)
	return l, nil
}

func (l *load) clock() time.Duration { return time.Since(l.base) }

// phase has each client send one request, and more until length is over. It
// returns when all are answered.
func (l *load) phase(clients []client, length time.Duration) result {
	l.result, l.latencies = result{}, histogram{}
	start := l.clock()
	l.until = start + length
	for i := range clients {
		l.begin(&clients[i], start)
	}
	for l.busy > 0 && !l.poll.orphaned() {
		events := l.poll.wait(100 * time.Millisecond)
		for i := range events {
			l.read(&l.clients[events[i].Fd])
		}
		l.sweep()
	}
	r := l.result
	r.Elapsed = l.clock() - start
	r.P50, r.P99 = l.latencies.percentile(50), l.latencies.percentile(99)
	return r
}

// oneByOne is a phase of one request for each client, never two at once: a
// proxy's buffers for a crowd of requests are not what an idle connection costs.
func (l *load) oneByOne(clients []client) (sum result) {
	for i := range clients {
		r := l.phase(clients[i:i+1], 0)
		sum.OK += r.OK
		sum.Elapsed += r.Elapsed
		if sum.Failed, sum.Complaint = r.Failed, r.Complaint; sum.Failed > 0 {
			break
		}
	}
	return sum
}
