package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slowReader sends a request for a response of n bytes, over a connection that
// has next to no room for it, to a proxy whose time-out for writes is a second.
func slowReader(t *testing.T, n int) (*proxy, *client) {
	t.Helper()
	o := newOrigin(t, "origin", "", nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(n))
		_, _ = w.Write(make([]byte, n)) // the client may be cut
	})
	p := newProxy(t)
	p.workers = 1
	p.write(site{servers: []string{o.address}, listener: `timeouts = { write = "1s", idle = "1m" }`, upstream: `limits = { idle = 0 }`})
	p.start()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) }); e != nil {
			return e
		}
		return err
	}}
	conn, err := dialer.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return p, &client{Conn: conn}
}

// A response that is small enough for the kernel to hold is not held for a
// client that takes none of it.
func TestAResponseThatNobodyTakes(t *testing.T) {
	long(t)
	p, c := slowReader(t, 48<<10)
	before := p.workersUse(t).descriptors
	if err := c.send(request(http.MethodGet, "/", "")); err != nil {
		t.Fatal(err)
	}
	p.awaitClients(t, 1)
	began := time.Now()
	p.awaitClients(t, 0)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("dropped after %v; want it soon after a second", took)
	}
	await(t, "the descriptors given back", func() bool { return p.workersUse(t).descriptors <= before })
}

// awaitClients waits until the proxy has n connections of clients.
func (p *proxy) awaitClients(t *testing.T, n int) {
	t.Helper()
	await(t, fmt.Sprintf("%d connections of clients", n), func() bool {
		return len(clientPorts(t, p.pids()[0], p.address)) == n
	})
}

// A client that is slow and takes some now and then is given all, for as long as
// that takes.
func TestAReaderThatIsSlow(t *testing.T) {
	long(t)
	for _, n := range []int{24 << 10, 160 << 10} { // the kernel holds all, or a part
		t.Run(fmt.Sprintf("%d KiB", n>>10), func(t *testing.T) {
			t.Parallel()
			_, c := slowReader(t, n)
			if err := c.send(request(http.MethodGet, "/", "", "Connection: close")); err != nil {
				t.Fatal(err)
			}
			piece := make([]byte, n/40)
			ticker := time.NewTicker(200 * time.Millisecond)
			defer ticker.Stop()
			began, total := time.Now(), 0
			for {
				<-ticker.C
				got, err := io.ReadFull(c, piece)
				if total += got; err == io.EOF || err == io.ErrUnexpectedEOF {
					break
				} else if err != nil {
					t.Fatalf("after %d bytes in %v: %v", total, time.Since(began), err)
				}
			}
			if total < n {
				t.Errorf("got %d bytes in %v; want %d and a head", total, time.Since(began), n)
			}
		})
	}
}
