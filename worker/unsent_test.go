package worker

import (
	"bufio"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Only so many clients at a time are without the bound on what the kernel holds
// for them, and they come under it again when they have taken all.
func TestWideClients(t *testing.T) {
	body := strings.Repeat("x", 1<<20)
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, reads(func(req *http.Request, _ string) string {
		n := 1
		if req.URL.Path == "/large" {
			n = len(body)
		}
		return "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(n) + "\r\n\r\n" + body[:n]
	}))))
	p.onLoop(func() { p.permits = 2 })
	clients := []*bufio.ReadWriter{}
	for range 3 {
		c := p.dial(t)
		clients = append(clients, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriterSize(c, 0)))
	}
	get := func(c *bufio.ReadWriter, path string) {
		t.Helper()
		if _, err := c.WriteString("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(c.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range clients {
		get(c, "/large")
	}
	// A small response later, all that was sent has been taken.
	for _, c := range clients {
		get(c, "/small")
		get(c, "/small")
	}
	awaitLoop(t, p, "all permits to be back", func() bool { return p.permits == 2 })
	get(clients[0], "/large")
	p.onLoop(func() {
		if p.permits < 1 {
			t.Errorf("%d permits are left beside one wide client; want at least 1", p.permits)
		}
	})
}

func TestPermits(t *testing.T) {
	if got := permits(); got < 1 || got > 1<<20 {
		t.Errorf("%d permits; want some", got)
	}
}
