package worker

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// noise is size bytes, the same ones for the same size.
func noise(size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)})
	_, _ = r.Read(b)
	return b
}

// mirror answers each request with its body, by length, in pieces.
func mirror(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
		for len(body) > 0 {
			n := min(len(body), 70_001)
			if _, err := c.Write(body[:n]); err != nil {
				return
			}
			body = body[n:]
		}
	}
}

// post sends body and wants it back, on the same connection.
func post(c net.Conn, body []byte) error {
	sent := make(chan error, 1)
	go func() {
		_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(body))
		for rest := body; err == nil && len(rest) > 0; {
			n := min(len(rest), 50_003)
			_, err = c.Write(rest[:n])
			rest = rest[n:]
		}
		sent <- err
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil {
		var got []byte
		if got, err = io.ReadAll(resp.Body); err == nil && !bytes.Equal(got, body) {
			err = fmt.Errorf("got %d other bytes; want the %d that were sent", len(got), len(body))
		}
	}
	if err != nil {
		c.Close()
		<-sent
		return err
	}
	return <-sent
}

// pipesOf returns how many pipes are open, and lets it be no more than most.
func (p *proxy) pipesOf(most int) (open int) {
	p.onLoop(func() { open = p.loop.Pipes(); p.loop.LimitPipes(most) })
	return open
}

// told sends raw on a new connection.
func (p *proxy) told(t testing.TB, raw string) net.Conn {
	t.Helper()
	c := p.dial(t)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	return c
}

// Bodies of all sizes about the boundaries arrive as they were, both ways, with
// as many pipes as wanted, with one for all, and with none.
func TestSplicedBodies(t *testing.T) {
	for _, pipes := range []int{100, 1, 0} {
		t.Run(strconv.Itoa(pipes), func(t *testing.T) {
			p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, mirror)))
			p.pipesOf(pipes)
			var all sync.WaitGroup
			for i := range 4 {
				c := p.dial(t)
				if i%2 > 0 { // one that takes little at a time
					_ = c.(*net.TCPConn).SetReadBuffer(128 << 10)
				}
				all.Go(func() {
					for _, about := range []int{16 << 10, spliceBytes, 512 << 10, 3 << 20} {
						for _, size := range []int{about - 1, about, about + i} {
							if err := post(c, noise(size)); err != nil {
								t.Errorf("%d bytes: %v", size, err)
								return
							}
						}
					}
				})
			}
			all.Wait()
			if open := p.pipesOf(0); open > pipes || pipes > 1 && open == 0 {
				t.Errorf("pipes: got %d; want some, at most %d", open, pipes)
			}
			if n := p.shared.Counters[shm.UpstreamConnects].Load(); n > 8 {
				t.Errorf("connections to the server: got %d; want them used again for 48 requests", n)
			}
		})
	}
}

// A response until the end of the connection, for a client that knows no chunks.
func TestSplicedUntilClose(t *testing.T) {
	body := noise(2 << 20)
	origin := startOrigin(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"+string(body))
		}
	})
	p := startProxy(t, `upstream = "up"`, upstreamOf(origin))
	p.pipesOf(10)
	got := p.ask(t, "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	if _, rest, _ := bytes.Cut([]byte(got), []byte("\r\n\r\n")); !bytes.Equal(rest, body) {
		t.Errorf("got %d bytes; want the %d that were sent", len(rest), len(body))
	}
	if p.pipesOf(0) == 0 {
		t.Error("no pipe was used")
	}
}

// A server that dies in mid-body leaves a body that is too short; no byte of it
// is lost, none is another's.
func TestSplicedTruncated(t *testing.T) {
	body := noise(700_000)
	origin := startOrigin(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+string(body))
		}
	})
	p := startProxy(t, `upstream = "up"`, upstreamOf(origin))
	resp, err := http.ReadResponse(bufio.NewReader(p.told(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err != io.ErrUnexpectedEOF || !bytes.Equal(got, body) {
		t.Errorf("got %d bytes, %v; want %d, %v", len(got), err, len(body), io.ErrUnexpectedEOF)
	}
}

// Clients that go away in the middle leave no pipe behind that has bytes in it,
// nor one that nobody knows of.
func TestSpliceBrokenOff(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n"
	page := head + string(noise(8_000_000))
	before := pipeEnds(t)
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, answers(page))))
	for i := range 6 {
		c := p.told(t, getRequest)
		if _, err := io.CopyN(io.Discard, c, 100_000); err != nil {
			t.Fatal(err)
		}
		if i%2 > 0 {
			_ = c.(*net.TCPConn).SetLinger(0) // RST
		}
		c.Close()
	}
	for until := time.Now().Add(time.Minute); ; {
		clients, held, open := 0, 0, 0
		p.onLoop(func() {
			clients, open = p.clients, p.loop.Pipes()
			for range open {
				pipe := p.loop.TakePipe()
				held += pipe.Held()
				defer pipe.Release()
			}
		})
		got := pipeEnds(t) - before
		if clients == 0 && held == 0 && got == 2*open {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("got %d clients, %d bytes in free pipes, %d ends of %d pipes", clients, held, got, open)
		}
		runtime.Gosched()
	}
	got := make([]byte, len(page)+len(dateLine))
	if _, err := io.ReadFull(p.told(t, getRequest), got); err != nil || string(got[len(got)-8_000_000:]) != page[len(head):] {
		t.Errorf("the next client: got another page, or %v", err)
	}
}

// pipeEnds counts the descriptors of pipes that this process has open.
func pipeEnds(t testing.TB) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, "pipe:") {
			n++
		}
	}
	return n
}

func TestSpliceAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	page := "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + string(noise(1_000_000))
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, answers(page))))
	c := p.dial(t)
	request, got := []byte(getRequest), make([]byte, len(page)+len(dateLine))
	ask := func(n int) {
		for range n {
			if _, err := c.Write(request); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, got); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(20)
	const requests = 300
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ask(requests)
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > requests/10 {
		t.Errorf("%d allocations for %d requests; want none per request", n, requests)
	}
	if p.pipesOf(0) == 0 {
		t.Error("no pipe was used")
	}
}

// A last request gets its answer and the end of the connection in order, whatever
// it sends after it.
func TestLastResponseBeforeTheEnd(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, answers(okResponse))))
	for _, extra := range []string{"", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"} {
		for range 50 {
			got := p.ask(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"+extra)
			if !strings.HasPrefix(got, "HTTP/1.1 200") || !strings.HasSuffix(got, "hello") {
				t.Fatalf("with %q behind it: got %q", extra, got)
			}
		}
	}
}
