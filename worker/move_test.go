package worker

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/worker/loop"
	"golang.org/x/sys/unix"
)

// startHeir runs a second worker on the socket of p, with a channel between the
// two, as the supervisor makes them for a roll.
func startHeir(t *testing.T, p *proxy, ln net.Listener, route, rest string) (heir *proxy, toHeir *handoff.Conn) {
	t.Helper()
	heir = startProxyOn(t, ln, route, rest)
	giver, file, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	taker, err := handoff.NewConn(file)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); heir.inherit(taker) }()
	t.Cleanup(func() { giver.Close(); <-done })
	return heir, giver
}

func gets(t *testing.T, c net.Conn, raw string) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || resp.Close {
		t.Fatalf("got %d %q, closing %v, %v; want a 200 on a connection that goes on", resp.StatusCode, body, resp.Close, err)
	}
}

// Connections that have sent nothing yet, that wait between two requests, that
// have sent half a head, or that are in the middle of a request move to another
// worker and go on there as if nothing had been.
func TestConnectionsMove(t *testing.T) {
	const each = handoff.MaxMoves + 50
	release := make(chan struct{})
	rest := upstreamOf(startOrigin(t, reads(func(req *http.Request, body string) string {
		if req.URL.Path == "/slow" {
			<-release
		}
		return okResponse
	})))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := startProxyOn(t, ln, `upstream = "up"`, rest)
	var fresh, idle, half, busy []net.Conn
	for range each {
		fresh = append(fresh, p.dial(t))
		c := p.dial(t)
		gets(t, c, getRequest)
		idle = append(idle, c)
		c = p.dial(t)
		if _, err := io.WriteString(c, getRequest[:20]); err != nil {
			t.Fatal(err)
		}
		half = append(half, c)
		if len(busy) < 10 {
			c = p.dial(t)
			if _, err := io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			busy = append(busy, c)
		}
	}
	awaitLoop(t, p, "all connections", func() bool { return p.clients == 3*each+len(busy) && len(p.reading) == each })

	heir, channel := startHeir(t, p, ln, `upstream = "up"`, rest)
	finished := make(chan struct{})
	p.onLoop(func() { p.moving = true; p.drain(func() { close(finished) }) })
	moved := make(chan struct{})
	go func() { defer close(moved); p.moveTo([]*handoff.Conn{channel}) }()
	awaitLoop(t, heir, "all but the busy ones", func() bool { return heir.clients == 3*each })

	close(release)
	for _, c := range busy {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 || resp.Close {
			t.Fatalf("request under way: %v, %v; want a 200 and a connection that goes on", resp, err)
		}
	}
	<-finished
	<-moved
	for _, c := range half {
		gets(t, c, getRequest[20:])
	}
	for _, c := range append(append(fresh, idle...), busy...) {
		gets(t, c, getRequest)
	}
	heir.onLoop(func() {
		if got, want := heir.clients, 3*each+len(busy); got != want {
			t.Errorf("the heir has %d connections; want %d", got, want)
		}
	})
}

// Thousands move in a moment, and neither loop is held up by it.
func TestManyConnectionsMove(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	many := int(min(10_000, (limit.Cur-200)/4)) // both ends are here, and twice on the way
	if testing.Short() {
		many = min(many, 1000)
	}
	rest := upstreamOf(startOrigin(t, answers(okResponse)))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := startProxyOn(t, ln, `upstream = "up"`, rest)
	heir, channel := startHeir(t, p, ln, `upstream = "up"`, rest)
	for _, w := range []*proxy{p, heir} {
		w.onLoop(func() { w.maxClients = 2 * many })
	}
	heir.onLoop(func() { // it is not to take what p should
		for _, l := range heir.listeners {
			l.pause(true)
		}
	})
	all := make([]net.Conn, many)
	for i := range all {
		all[i] = p.dial(t)
		gets(t, all[i], getRequest)
	}
	var before [2]loop.Stats
	p.onLoop(func() { before[0] = p.loop.Stats() })
	heir.onLoop(func() { before[1] = heir.loop.Stats() })
	finished := make(chan struct{})
	began := time.Now()
	p.onLoop(func() { p.moving = true; p.drain(func() { close(finished) }) })
	p.moveTo([]*handoff.Conn{channel})
	<-finished
	awaitLoop(t, heir, "all", func() bool { return heir.clients == many })
	t.Logf("%d connections moved in %v", many, time.Since(began).Round(time.Millisecond))
	for i, w := range []*proxy{p, heir} {
		w.onLoop(func() {
			if n := w.loop.Stats().Stalls - before[i].Stalls; n > 0 {
				t.Logf("worker %d: %d turns longer than %v, the longest %v", i, n, loop.StallAfter, w.loop.Stats().Longest)
			}
		})
	}
	for i := 0; i < many; i += 97 {
		gets(t, all[i], getRequest)
	}
}

// An heir that dies before it is told that connections are its own leaves them
// where they were.
func TestConnectionsStayIfTheHeirDies(t *testing.T) {
	for _, dies := range []string{"at once", "without an answer"} {
		t.Run(dies, func(t *testing.T) {
			p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, answers(okResponse))))
			idle, half := p.dial(t), p.dial(t)
			gets(t, idle, getRequest)
			if _, err := io.WriteString(half, getRequest[:20]); err != nil {
				t.Fatal(err)
			}
			awaitLoop(t, p, "both", func() bool { return p.clients == 2 && len(p.reading) == 1 })
			giver, file, err := handoff.Pair()
			if err != nil {
				t.Fatal(err)
			}
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				dieAs(dies, file)
			}()
			p.onLoop(func() { p.moving = true; p.draining, p.finished = true, func() {} })
			batch := func() (b []*uprooted) { p.onLoop(func() { b = p.uproot() }); return b }
			got := batch()
			for deadline := time.Now().Add(5 * time.Second); len(got) < 2 && time.Now().Before(deadline); {
				got = append(got, batch()...)
			}
			if err := p.give(giver, got); err == nil {
				t.Error("the heir died and nobody noticed")
			}
			<-gone
			gets(t, idle, getRequest)
			if dies == "at once" { // else the time for its head is over
				gets(t, half, getRequest[20:])
			}
		})
	}
}

func dieAs(how string, file *os.File) {
	c, err := handoff.NewConn(file)
	if err != nil {
		return
	}
	defer c.Close()
	if how == "at once" {
		return
	}
	m, err := c.Receive()
	if err != nil {
		return
	}
	m.CloseFiles()
	_, _ = c.Receive() // until the giver has had enough
}

// awaitLoop waits until a condition of the loop's holds.
func awaitLoop(t *testing.T, p *proxy, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		ok := false
		p.onLoop(func() { ok = holds() })
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s: %d connections, %d with half a head", what, p.clients, len(p.reading))
		}
		time.Sleep(time.Millisecond)
	}
}
