package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// loadResult runs the generator and returns the result of its second phase.
func loadResult(t *testing.T, port int, args ...string) result {
	t.Helper()
	p := startChild(t, append([]string{"load", "-port", strconv.Itoa(port), "-body", "5"}, args...)...)
	results := json.NewDecoder(p.stdout)
	var warm, r result
	if err := results.Decode(&warm); err != nil {
		t.Fatalf("first phase: %v: %s", err, p.lastWords())
	}
	fmt.Fprintln(p.stdin)
	if err := results.Decode(&r); err != nil {
		t.Fatalf("second phase: %v: %s", err, p.lastWords())
	}
	return r
}

// answer reads heads from c and answers each with text.
func answer(c net.Conn, text string) error {
	var h headEnd
	for b := make([]byte, 1); ; {
		if _, err := c.Read(b); err != nil {
			return err
		}
		if h.count(b) == 1 {
			if _, err := io.WriteString(c, text); err != nil {
				return err
			}
		}
	}
}

func TestLoadKeepsConnections(t *testing.T) {
	port := listenOn(t, func(c net.Conn) { _ = answer(c, okResponse) })
	r := loadResult(t, port, "-connections", "3", "-warm", "20ms", "-for", "50ms")
	if r.OK < 3 || r.Failed != 0 || r.Elapsed < 50*time.Millisecond || r.P50 <= 0 || r.P99 < r.P50 {
		t.Errorf("got %+v; want requests answered, and how fast", r)
	}
}

func TestLoadOfOneShotsWaitsForTheEnd(t *testing.T) {
	port := listenOn(t, func(c net.Conn) {
		head := make([]byte, 200)
		n, _ := c.Read(head)
		if strings.Contains(string(head[:n]), "\r\nConnection: close\r\n") {
			fmt.Fprint(c, okResponse)
		}
	})
	if r := loadResult(t, port, "-connections", "3", "-one-shot", "-for", "50ms"); r.OK < 3 || r.Failed != 0 {
		t.Errorf("got %+v; want requests answered", r)
	}
}

func TestLoadHoldsEachConnectionAfterOneRequest(t *testing.T) {
	port := listenOn(t, func(c net.Conn) { _ = answer(c, okResponse) })
	if r := loadResult(t, port, "-connections", "20", "-hold"); r.OK != 19 || r.Failed != 0 {
		t.Errorf("got %+v; want 19 answered, the first being of the first phase", r)
	}
}

func TestLoadSaysWhatFailed(t *testing.T) {
	for text, want := range map[string]string{
		okResponse[:len(okResponse)-1]: "the connection ended before the response",
		"HTTP/1.1 503 No\r\n\r\n":      "want 200",
	} {
		port := listenOn(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 200))
			fmt.Fprint(c, text)
		})
		if r := loadResult(t, port, "-for", "50ms"); r.OK != 0 || r.Failed == 0 || r.Failed > maxFailures || !strings.Contains(r.Complaint, want) {
			t.Errorf("%q: got %+v; want failures, the first %q", text, r, want)
		}
	}
	if r := loadResult(t, port(t), "-for", "1h"); r.Failed != maxFailures || !strings.Contains(r.Complaint, "connect") {
		t.Errorf("nobody listens: got %+v; want %d failures to connect", r, maxFailures)
	}
}
