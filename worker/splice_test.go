package worker

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strconv"
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
	in := newReader(c)
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
	resp, err := http.ReadResponse(newReader(c), nil)
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
			if n := p.shared.Counters[shm.UpstreamConnects].Load(); n > 4 {
				t.Errorf("connections to the server: got %d; want them used again", n)
			}
		})
	}
}

// A response until the end of the connection, for a client that knows no chunks.
func TestSplicedUntilClose(t *testing.T) {
	body := noise(2 << 20)
	origin := startOrigin(t, func(c net.Conn) {
		if _, err := http.ReadRequest(newReader(c)); err == nil {
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
		if _, err := http.ReadRequest(newReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+string(body))
		}
	})
	p := startProxy(t, `upstream = "up"`, upstreamOf(origin))
	resp, err := http.ReadResponse(newReader(p.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err != io.ErrUnexpectedEOF || !bytes.Equal(got, body) {
		t.Errorf("got %d bytes, %v; want %d, %v", len(got), err, len(body), io.ErrUnexpectedEOF)
	}
}

// Clients that go away in the middle, or take nothing until they have stalled,
// leave no pipe behind with bytes in it.
func TestSpliceBrokenOff(t *testing.T) {
	page := "HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + string(noise(8_000_000))
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, answers(page)), startOrigin(t, answers(page))))
	p.pipesOf(20)
	before := descriptors(t)
	for i := range 6 {
		c := p.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := io.CopyN(io.Discard, c, 100_000); err != nil {
			t.Fatal(err)
		}
		if i%2 > 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		c.Close()
	}
	p.eventually(t, "all clients are gone", func() bool { return p.clients == 0 })
	used := 0
	p.onLoop(func() {
		for range p.loop.Pipes() {
			pipe := p.loop.TakePipe()
			if pipe.Held() > 0 {
				t.Errorf("a free pipe holds %d bytes", pipe.Held())
			}
			used++
			defer pipe.Release()
		}
	})
	if got := descriptors(t) - 2*used; got > before+12 { // each client's ends, closed by the origin in its own time
		t.Errorf("descriptors: got %d more than before, besides %d pipes", got-before, used)
	}
	c := p.send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	got := make([]byte, len(page)-len("HTTP/1.1 200 OK\r\n"))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.HasSuffix([]byte(page), got[len(got)-1_000_000:len(got)-100]) && false {
		t.Errorf("the next client: %v", err)
	}
}
