package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newSlowSite starts a proxy, whose time-outs for clients are a second, before an
// origin that answers with n bytes.
func newSlowSite(t *testing.T, n int) *proxy {
	t.Helper()
	o := newOrigin(t, "origin", "", nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(n))
		_, _ = w.Write(make([]byte, n)) // the client may be cut
	})
	p := newProxy(t)
	p.workers = 1
	p.write(site{servers: []string{o.address}, listener: `timeouts = { write = "1s", idle = "1s" }`})
	p.start()
	return p
}

// connectNarrow is connect with next to no room for what is not read at once.
func connectNarrow(t *testing.T, address string) *client {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) }); e != nil {
			return e
		}
		return err
	}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{Conn: conn}
}

// A response that is small enough for the kernel to hold is not held on to for
// a client that takes none of it.
func TestAResponseThatNobodyTakes(t *testing.T) {
	const size = 48 << 10
	p := newSlowSite(t, size)
	worker := p.pids()[0]
	c := connectNarrow(t, p.address)
	if err := c.send(request(http.MethodGet, "/", "")); err != nil {
		t.Fatal(err)
	}
	connections := func(n int) func() bool {
		return func() bool { return len(clientPorts(t, worker, p.address)) == n }
	}
	await(t, "the connection", connections(1))
	await(t, "its end", connections(0))
	got, err := io.ReadAll(c)
	if !errors.Is(err, syscall.ECONNRESET) || len(got) >= size {
		t.Errorf("got %d bytes, %v; want a reset, and the rest gone", len(got), err)
	}
}

// A client that is slow, but not that slow, is given all, for as long as it takes.
func TestAReaderThatIsSlow(t *testing.T) {
	long(t)
	for _, test := range []struct {
		name     string
		n, piece int // bytes of the response, and read five times a second
	}{
		{"the kernel holds what is left", 56 << 10, 2 << 10},
		{"the proxy waits for room", 500 << 10, 20 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := connectNarrow(t, newSlowSite(t, test.n).address)
			if err := c.send(request(http.MethodGet, "/", "", "Connection: close")); err != nil {
				t.Fatal(err)
			}
			piece := make([]byte, test.piece)
			ticker := time.NewTicker(200 * time.Millisecond)
			defer ticker.Stop()
			began, total := time.Now(), 0
			for err := error(nil); err == nil; {
				<-ticker.C
				var n int
				n, err = io.ReadFull(c, piece)
				if total += n; err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
					t.Fatalf("after %d bytes in %v: %v", total, time.Since(began), err)
				}
			}
			if total <= test.n {
				t.Errorf("got %d bytes in %v; want %d and a head", total, time.Since(began), test.n)
			}
		})
	}
}
