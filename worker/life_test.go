package worker

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// get sends a request on c and returns the response, its body read.
func get(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	if _, err := io.WriteString(c, getRequest); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}

// A client that goes away takes its request to the server with it.
func TestClientGoneCancelsUpstream(t *testing.T) {
	asked, cancelled := make(chan bool), make(chan error, 1)
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		close(asked)
		_, err := r.ReadByte()
		cancelled <- err
	})))
	c := p.dial(t)
	if _, err := io.WriteString(c, getRequest); err != nil {
		t.Fatal(err)
	}
	<-asked
	c.Close()
	if err := <-cancelled; err == nil {
		t.Error("the server read on; want the end of the connection")
	}
	// Long before first_byte (1 s), which would end the request too.
	if strings.Contains(p.log.String(), "first_byte") {
		t.Errorf("log %q; want the client's end to come first", p.log)
	}
}

// A reload that leaves an upstream as it is leaves its connections alone.
func TestReloadKeepsConnections(t *testing.T) {
	opened := make(chan net.Conn, 10)
	origin := startOrigin(t, func(c net.Conn) {
		opened <- c
		answers(okResponse)(c)
	})
	p := startProxy(t, `upstream = "up"`, upstreamOf(origin))
	c := p.dial(t)
	get(t, c)
	p.configure(t, nil, "upstream = \"up\"\nrate_limit = [\"per_app\"]", upstreamOf(origin)+limitByApp)
	get(t, c)
	if got := len(opened); got != 1 {
		t.Errorf("%d connections to the server after a reload that does not touch it; want 1", got)
	}
}

// Connections over the limit wait in the kernel's queue and are served when
// there is room.
func TestConnectionLimit(t *testing.T) {
	origin := startOrigin(t, answers(okResponse))
	p := startProxy(t, "upstream = \"up\"\n}\nlimits = {\n connections = 1", upstreamOf(origin))
	first, second := p.dial(t), p.dial(t)
	get(t, first)
	if _, err := io.WriteString(second, getRequest); err != nil {
		t.Fatal(err)
	}
	get(t, first)
	var open int
	p.onLoop(func() { open = p.clients })
	if open != 1 {
		t.Errorf("%d connections open; want 1", open)
	}
	first.Close()
	if resp, err := http.ReadResponse(bufio.NewReader(second), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("the second connection got %v, %v; want 200 once the first is closed", resp, err)
	}
	if p.shared.Counters[shm.AcceptPauses].Load() == 0 {
		t.Error("no pause was counted")
	}
}

// A draining worker finishes the request it has, closes what is idle and takes
// nothing new.
func TestDrain(t *testing.T) {
	asked, release := make(chan bool), make(chan bool)
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			close(asked)
			<-release
			_, _ = io.WriteString(c, okResponse)
		}
	})))
	idle, active := p.dial(t), p.dial(t)
	if _, err := io.WriteString(active, getRequest); err != nil {
		t.Fatal(err)
	}
	<-asked
	finished := make(chan bool)
	p.onLoop(func() { p.drain(func() { close(finished) }) })
	p.onLoop(p.closeIdle)
	if n, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("idle connection read %d bytes, %v; want EOF", n, err)
	}
	close(release)
	resp, err := http.ReadResponse(bufio.NewReader(active), nil)
	if err != nil || resp.StatusCode != 200 || !resp.Close {
		t.Errorf("request in flight got %v, %v; want 200 with Connection: close", resp, err)
	}
	select {
	case <-finished:
	case <-time.After(10 * time.Second):
		t.Error("the worker did not finish")
	}
}

// Where descriptors run out, the connection that has been idle for longest makes
// room for the new one.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, answers(okResponse))))
	p.onLoop(func() { p.maxClients = 3 })
	first := p.dial(t)
	get(t, first)
	for range 10 {
		get(t, p.dial(t))
	}
	if n, err := first.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the oldest connection read %d bytes, %v; want EOF", n, err)
	}
}
