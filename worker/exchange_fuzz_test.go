package worker

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// FuzzExchange lets a client and a server say anything, in any order and cut up
// in any way, and holds the outcome against the model. The run waits for no
// time-out: when all is said, both sides end.
func FuzzExchange(f *testing.F) {
	addSeeds(f)
	d := newDriver(f)
	f.Fuzz(func(t *testing.T, client, server, script []byte) {
		const most = 16 << 10 // below what a socket takes at once
		if len(client) > most || len(server) > most || len(script) > 64 {
			t.Skip()
		}
		d.play(t, client, server, script)
		if err := d.record.judge(); err != nil {
			t.Errorf("%v\nclient said %q\ngot %q, end %d", err, d.sent, d.got, d.end)
			for _, h := range d.hops {
				t.Logf("a server got %q\nsaid %q, end %d", h.in, h.out, h.end)
			}
		}
		d.checkNothingLeft(t)
	})
}

// Steps of a script: the lower three bits of a byte say what is done, the others
// how much of it, n.
const (
	clientBytes  = iota // the client sends n+1 bytes
	clientBlocks        // n+1 times 32 bytes
	clientLines         // n+1 lines
	serverBytes
	serverBlocks
	serverMessages // what is up to the next n+1 status lines
	serverEnds     // its oldest connection, in one of three ways
	clientEnds     // its sending side; n odd: all, by RST

	kindBits      = 3
	hangTime      = 5 * time.Second
	listenBacklog = 128
)

// next returns how many bytes of b a step is about.
func next(step byte, b []byte) int {
	n := int(step>>kindBits) + 1
	separator, end := "\r\n", 0
	switch step & (1<<kindBits - 1) {
	case clientBytes, serverBytes:
		return min(n, len(b))
	case clientBlocks, serverBlocks:
		return min(32*n, len(b))
	case serverMessages:
		separator, end = "HTTP/1.", 1 // its own is at the front
	}
	for range n {
		i := bytes.Index(b[min(end, len(b)):], []byte(separator))
		if i < 0 {
			return len(b)
		}
		end += i + len(separator)
	}
	if separator != "\r\n" {
		end -= len(separator)
	}
	return end
}

// A driver plays both sides of a proxy, step by step, on one goroutine.
type driver struct {
	*proxy
	listen int // where the proxy finds the server
	to     *unix.SockaddrInet4
	open   int // descriptors that are open between runs

	record
	client  int
	servers []int // a socket for each of hops; -1: closed
}

func newDriver(f *testing.F) *driver {
	d := &driver{}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		f.Fatal(err)
	}
	if err := unix.Listen(fd, listenBacklog); err != nil {
		f.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		f.Fatal(err)
	}
	d.listen = fd
	d.proxy = startProxy(f, `upstream = "up"`, upstreamOf(fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)))
	d.onLoop(func() { d.loop.TakePipe().Release() }) // stays in the loop's pool
	d.open = descriptors(f)
	d.to = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if _, err := fmt.Sscanf(d.addr, "127.0.0.1:%d", &d.to.Port); err != nil {
		f.Fatal(err)
	}
	return d
}

// play runs script, then says what is left, and ends the server's connections and
// then the client's.
func (d *driver) play(t *testing.T, client, server, script []byte) {
	t.Helper()
	d.begin(t)
	defer d.closeAll()
	for _, step := range script {
		switch kind := step & (1<<kindBits - 1); kind {
		case clientBytes, clientBlocks, clientLines:
			client = d.clientSends(client, next(step, client))
		case serverBytes, serverBlocks, serverMessages:
			server = d.serverSends(server, next(step, server))
		case serverEnds:
			d.endServer(step >> kindBits)
		case clientEnds:
			d.endClient(step>>kindBits&1 == 1)
		}
		d.settle()
		if d.end != stillOpen {
			return
		}
	}
	d.clientSends(client, len(client))
	d.settle()
	d.serverSends(server, len(server))
	d.finish(t)
}

func (d *driver) begin(t *testing.T) {
	t.Helper()
	d.record, d.servers = record{}, d.servers[:0]
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.client = fd
	if err := unix.Connect(fd, d.to); err != nil {
		t.Fatal(err)
	}
	noDelay(fd)
}

func (d *driver) endClient(abort bool) {
	if abort {
		setLinger(d.client)
		unix.Close(d.client)
		d.client, d.end = -1, byRST
		return
	}
	_ = unix.Shutdown(d.client, unix.SHUT_WR) // fails if it has been reset
}

// finish ends the server's connections, those that are still opened too, then the
// client's, and waits until the proxy has ended that as well.
func (d *driver) finish(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(hangTime)
	for quiet := false; d.end == stillOpen; {
		before := len(d.got) + len(d.hops)
		for d.endServer(0) {
			continue
		}
		d.settle()
		if len(d.got)+len(d.hops) > before {
			continue
		}
		if !quiet {
			d.endClient(false)
			quiet = true
			continue
		}
		if time.Now().After(deadline) {
			t.Fatalf("no end of the connection within %v; client said %q, got %q", hangTime, d.sent, d.got)
		}
		poll := []unix.PollFd{{Fd: int32(d.client), Events: unix.POLLIN}}
		_, _ = unix.Poll(poll, 1) // what settle finds counts
	}
}

// clientSends sends n bytes of b and returns the others.
func (d *driver) clientSends(b []byte, n int) (rest []byte) {
	n, err := unix.SendmsgN(d.client, b[:n], nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if err != nil {
		return b[:0] // the proxy has closed it, which receive notes
	}
	d.sent = append(d.sent, b[:n]...)
	return b[n:]
}

// serverSends sends up to n bytes of b on the connection opened last and returns
// the others: all while there is none.
func (d *driver) serverSends(b []byte, n int) (rest []byte) {
	last := len(d.servers) - 1
	if last < 0 || d.hops[last].end != stillOpen {
		return b
	}
	n, err := unix.SendmsgN(d.servers[last], b[:n], nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if err != nil {
		d.closeServer(last)
		return b
	}
	d.hops[last].out = append(d.hops[last].out, b[:n]...)
	return b[n:]
}

// endServer ends the first of the server's connections that is open, in one of
// three ways, and reports whether there was one.
func (d *driver) endServer(how byte) bool {
	for i, h := range d.hops {
		if h.end != stillOpen {
			continue
		}
		switch how % 3 {
		case 0: // its sending side only
			h.end = byFIN
			_ = unix.Shutdown(d.servers[i], unix.SHUT_WR) // fails if the proxy has reset it
		case 1:
			d.closeServer(i)
		case 2:
			setLinger(d.servers[i])
			d.closeServer(i)
			h.end = byRST
		}
		return true
	}
	return false
}

func (d *driver) closeServer(i int) {
	unix.Close(d.servers[i])
	d.servers[i], d.hops[i].end = -1, byFIN
}

// settle lets the proxy do all that it can do, and takes what it has sent. What
// is sent on loopback has arrived when the call returns, and the loop sees the
// events in their order.
func (d *driver) settle() {
	for again := true; again; {
		d.onLoop(func() {})
		again = d.accept()
		for i, fd := range d.servers {
			if fd >= 0 {
				n, _ := received(fd, &d.hops[i].in)
				again = again || n > 0
			}
		}
		if d.end == stillOpen {
			n, end := received(d.client, &d.got)
			d.end = end
			again = again || n > 0
		}
	}
}

// accept takes the connections that the proxy has opened.
func (d *driver) accept() (any bool) {
	for {
		fd, _, err := unix.Accept4(d.listen, unix.SOCK_CLOEXEC)
		if err != nil {
			return any
		}
		noDelay(fd)
		d.servers, d.hops = append(d.servers, fd), append(d.hops, &hop{})
		any = true
	}
}

// receive appends to b what has come on fd and says whether that ended.
func received(fd int, b *[]byte) (n int, end ending) {
	var buf [32 << 10]byte
	for {
		k, _, err := unix.Recvfrom(fd, buf[:], unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			return n, stillOpen
		case err == unix.EINTR:
		case err != nil:
			return n, byRST
		case k == 0:
			return n, byFIN
		default:
			*b = append(*b, buf[:k]...)
			n += k
		}
	}
}

// closeAll ends what is left of the run, by RST: there would be no ports left if
// each waited for its time.
func (d *driver) closeAll() {
	for _, fd := range append(d.servers, d.client) {
		if fd >= 0 {
			setLinger(fd)
			unix.Close(fd)
		}
	}
	d.client, d.servers = -1, d.servers[:0]
}

// checkNothingLeft checks that the proxy has released all that the run took.
func (d *driver) checkNothingLeft(t *testing.T) {
	t.Helper()
	var left string
	var panics uint64
	for deadline := time.Now().Add(hangTime); ; {
		d.onLoop(func() { left, panics = d.left(), d.loop.Stats().Panics })
		if n := descriptors(t); left == "" && n > d.open {
			left = fmt.Sprintf("%d descriptors; want %d", n, d.open)
		}
		if left == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the run: %s", left)
		}
	}
	d.accept() // what the proxy opened and gave up since is not for the next run
	d.closeAll()
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	if log := d.log.b.String(); strings.Contains(log, "bug:") || panics > 0 {
		t.Errorf("a panic: %s", log)
	}
	d.log.b.Reset()
}

// left says what the proxy holds of a run that is over. It runs on the loop.
func (d *driver) left() string {
	idle := 0
	for _, u := range d.current.upstreams {
		for _, p := range u.conns {
			idle += p.idle.Len()
		}
	}
	switch tasks := d.loop.Tasks(); {
	case d.clients > 0:
		return fmt.Sprintf("%d clients", d.clients)
	case d.under() > 0:
		return fmt.Sprintf("%d requests in flight", d.under())
	case idle > 0:
		return fmt.Sprintf("%d idle connections to the server", idle)
	case tasks != 1: // one connection at a time needs one
		return fmt.Sprintf("%d coroutines in the pool; want 1", tasks)
	case len(d.exchanges.items) > 1 || len(d.buffers.items) > 1:
		return fmt.Sprintf("%d exchanges and %d buffers in the pool; want one of each at most", len(d.exchanges.items), len(d.buffers.items))
	}
	return ""
}

// descriptors counts those that this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func setLinger(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // cannot fail on a socket
}

func noDelay(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // fails if it has been reset
}

// addSeeds adds each request with a good response, each response to a plain
// request, and scripts that cut both up.
func addSeeds(f *testing.F) {
	add := func(client, server, script string) { f.Add([]byte(client), []byte(server), []byte(script)) }
	const (
		get  = "GET / HTTP/1.1\r\nHost: a\r\n"
		post = "POST /p HTTP/1.1\r\nHost: a\r\n"
		ok   = "HTTP/1.1 200 OK\r\n"
		good = ok + "Content-Length: 5\r\n\r\nhello"
	)
	for _, q := range []string{
		get + "\r\n", get + "Connection: close\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"GET http://b:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
		post + "Content-Length: 5\r\n\r\nhello", post + "Content-Length: 50\r\n\r\nhello", post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
		post + "Content-Length: +5\r\n\r\nhello", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		post + "Transfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\nX-T: v\r\n\r\n", post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX\r\n0\r\n\r\n",
		post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", post + "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
		post + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", post + "Connection: X, close\r\nX: 1\r\nTE: trailers\r\n\r\n",
		get + "X : y\r\n\r\n", get + "X: a\r\n b\r\n\r\n", get + "X: a\rb\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /\r\n", "\r\n\r\n\r\n", "HEAD  HTTP/1.0\r\n\r\n", "HEAD / HTTP/1.1\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n", get + "Via: 1.1 proxyd\r\n\r\n",
	} {
		add(q, good, "")
		add(q+get+"\r\n", good+good, "\x02\x28\x08\x1b\x02\x28\x2b\x0b\x18\x06\xf9\x05")
	}
	for _, r := range []string{
		ok + "\r\nto the end", ok + "Content-Length: 0\r\n\r\n", ok + "Content-Length: 100000\r\n\r\nhello", ok + "Content-Length: 50\r\n\r\nhello", ok + "Content-Length: 6\r\n\r\nhello", good + "more", good + good,
		ok + "Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n1\r\n!\r\n0\r\nX-T: v\r\n\r\n", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\n0\r\n\r\n", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
		ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ok + "Content-Length: 1, 1\r\n\r\na",
		"HTTP/1.0 200\r\nConnection: keep-alive\r\nKeep-Alive: x\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 204 \r\nContent-Length: 4\r\n\r\nbody", "HTTP/1.1 304 NM\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n" + good, strings.Repeat("HTTP/1.1 103 E\r\n\r\n", maxInterim+1) + good,
		switching, "HTTP/2 200\r\n\r\n", "HTTP/1.# 200\r\n\r\n", "HTTP/1.1 9#0\r\n\r\n", "\x15\x03\x01\x00\x02\x02\x28", ok + "X: a\nY: b\r\n\r\n", ok + "X : a\r\n\r\n", ok + "Connection: close, X\r\nX: 1\r\nContent-Length: 1\r\n\r\na", "",
	} {
		add(get+"\r\n", r, "")
		add(get+"\r\n"+get+"\r\n", r+good, "\x12\x1b\x1b\x05\x16\x12\x05")
		add(get+"\r\n"+get+"\r\n", r+good, "\x12\x05\x12\x05")
		add(get+"\r\n"+get+"\r\n", r+good, "\xf9\x05\x0e\x05")
		add("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", r, "\xf9\x05\x06\x0d")
		add("GET / HTTP/1.0\r\nHost: a\r\n\r\n", r, "\xf9\x7b\x16")
	}
	add(handshake+"early", switching+"first", "\xf9\x6b\x08\xfc\x0e\x07")
	add(post+"Content-Length: 9\r\n\r\nwhole bod", good+good, "\x12\x30\x05\x30\x05\x06\x0e\x0f")
}
