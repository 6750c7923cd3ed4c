package worker

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// A response that does not wait for the upload is relayed at once. The rest of
// the upload is taken for a moment, so that no reset costs the client its answer,
// and the connection ends.
func TestAnswerBeforeTheUploadEnds(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		silent(c)
	})))
	c := p.dial(t)
	body := strings.Repeat("x", lingerBytes/2)
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"+body[:100]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 403 || !resp.Close {
		t.Errorf("got %d, closing %v; want the server's 403 and an end", resp.StatusCode, resp.Close)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != "no" {
		t.Errorf("body %q, %v; want all of it", got, err)
	}
	if _, err := io.WriteString(c, body); err != nil {
		t.Errorf("upload after the answer: %v; want it taken for a moment", err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("end of the connection: %v; want an end without a reset", err)
	}
}

// While a server takes nothing of an upload, no more of it is taken from the
// client than a buffer and what the kernel holds.
func TestUploadWaitsForTheServer(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, func(c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(16 << 10)
		<-stop
	})))
	c := p.dial(t)
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	chunk := "8000\r\n" + strings.Repeat("x", 0x8000) + "\r\n"
	sent := 0
	const most = 32 << 20 // what the kernel's four buffers may grow to, with room to spare
	for sent < most {
		n, err := io.WriteString(c, chunk)
		sent += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("%d bytes were taken for a server that reads nothing; want an end to it", sent)
}

// An upload that stops is answered with 408 if nothing else was.
func TestUploadStops(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, silent)))
	for _, request := range []string{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123",
		"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123", // kept in hand
	} {
		if got, want := p.ask(t, request), "HTTP/1.1 408 "; !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %q; want it to start with %q", request, got, want)
		}
	}
}
