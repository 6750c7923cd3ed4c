package worker

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
)

// hold stops the loop until the function it returns is called, so that what
// arrives meanwhile comes at once.
func (p *proxy) hold() (release func()) {
	held, released := make(chan bool), make(chan bool)
	p.loop.Post(func() { close(held); <-released })
	<-held
	return func() { close(released) }
}

// A client that pipelines requests which the worker answers without a wait does
// not keep the loop to itself until the last of them.
func TestPipelineLeavesTheLoopToOthers(t *testing.T) {
	const requests = 200
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, answers(okResponse))))
	c := p.dial(t)
	get(t, c)
	release := p.hold()
	if _, err := io.WriteString(c, strings.Repeat("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", requests)); err != nil {
		t.Fatal(err)
	}
	var seen []uint64 // turn by turn
	done := make(chan bool)
	var look func()
	look = func() {
		seen = append(seen, p.shared.Counters[shm.Requests].Load()-1)
		if seen[len(seen)-1] == requests {
			close(done)
			return
		}
		p.loop.Post(look)
	}
	p.loop.Post(look)
	release()
	<-done
	if len(seen) < requests {
		t.Errorf("%d requests took %d turns of the loop (%v); want one each", requests, len(seen), seen)
	}
}

// The end of a connection that the proxy closes does not cost a client that has
// pipelined more requests the last response.
func TestPipelineBehindTheLastRequest(t *testing.T) {
	const most = 8 << 20
	p := startProxy(t, "upstream = \"up\"\n}\nlimits = {\n requests_per_connection = 1",
		upstreamOf(startOrigin(t, says("HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n"+strings.Repeat("x", most)))))
	c := p.dial(t)
	if _, err := io.WriteString(c, strings.Repeat(getRequest, lingerBytes/2/len(getRequest))); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != most || err != nil {
		t.Errorf("body of %d bytes, %v; want %d", n, err, most)
	}
}

// A request that has come when its idle connection is closed is answered.
func TestDrainServesWhatHasCome(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, answers(okResponse))))
	c := p.dial(t)
	get(t, c)
	p.onLoop(func() {
		if _, err := io.WriteString(c, getRequest); err != nil {
			t.Error(err)
		}
		p.drain(func() {})
		p.closeIdle()
	})
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("got %v, %v; want 200 with Connection: close", resp, err)
	}
}

// A reload that raises the limit on connections lets in those that wait.
func TestReloadRaisesConnectionLimit(t *testing.T) {
	up := upstreamOf(startOrigin(t, answers(okResponse)))
	p := startProxy(t, "upstream = \"up\"\n}\nlimits = {\n connections = 1", up)
	first, second := p.dial(t), p.dial(t)
	get(t, first)
	p.configure(t, nil, "upstream = \"up\"\n}\nlimits = {\n connections = 2", up)
	get(t, second)
}

// However few descriptors there are, there is room for a client.
func TestClientsFor(t *testing.T) {
	for descriptors, want := range map[uint64]int{0: 1, 64: 1, 65: 1, 1024: 480, 1 << 63: (1<<22 - reserved) / 2} {
		if got := clientsFor(descriptors); got != want {
			t.Errorf("clientsFor(%d) = %d; want %d", descriptors, got, want)
		}
	}
}
