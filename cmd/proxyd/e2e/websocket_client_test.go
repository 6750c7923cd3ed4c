package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	endian "encoding/binary"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Opcodes of frames: RFC 6455 section 5.2.
const (
	opContinue = 0
	opText     = 1
	opBinary   = 2
	opClose    = 8
	opPing     = 9
	opPong     = 10
)

// A frame is what WebSockets send. Those of a client are masked.
type frame struct {
	op      byte
	final   bool
	payload []byte
}

func (f frame) append(b []byte) []byte {
	first := f.op
	if f.final {
		first |= 0x80
	}
	const masked = 0x80
	switch n := len(f.payload); {
	case n < 126:
		b = append(b, first, masked|byte(n))
	case n < 1<<16:
		b = endian.BigEndian.AppendUint16(append(b, first, masked|126), uint16(n))
	default:
		b = endian.BigEndian.AppendUint64(append(b, first, masked|127), uint64(n))
	}
	key := endian.BigEndian.AppendUint32(nil, rand.Uint32())
	b = append(b, key...)
	for i, c := range f.payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// readFrame reads a frame of a server.
func readFrame(r io.Reader) (frame, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return frame{}, err
	}
	f := frame{op: head[0] & 0x0f, final: head[0]&0x80 != 0}
	size := uint64(head[1])
	if wide := map[uint64]int{126: 2, 127: 8}[size]; wide > 0 {
		if _, err := io.ReadFull(r, head[8-wide:]); err != nil {
			return frame{}, err
		}
		clear(head[:8-wide])
		size = endian.BigEndian.Uint64(head[:])
	}
	if size > 64<<20 || head[1]&0x80 != 0 && size < 126 {
		return frame{}, fmt.Errorf("frame of %d bytes, or masked", size)
	}
	f.payload = make([]byte, size)
	_, err := io.ReadFull(r, f.payload)
	return f, err
}

// A transcript remembers what follows the head of a request or a response.
type transcript struct {
	mu    sync.Mutex
	head  []byte // nil: it is complete
	bytes int
	sum   hash.Hash
}

func newTranscript() *transcript { return &transcript{head: []byte{}, sum: sha256.New()} }

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := b
	if s.head != nil {
		s.head = append(s.head, b...)
		_, after, found := bytes.Cut(s.head, []byte("\r\n\r\n"))
		if !found {
			return len(b), nil
		}
		rest, s.head = after, nil
	}
	s.bytes += len(rest)
	s.sum.Write(rest)
	return len(b), nil
}

// String tells transcripts apart.
func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d bytes %x", s.bytes, s.sum.Sum(nil)[:8])
}

// A recorded connection keeps transcripts of what goes through it.
type recorded struct {
	*net.TCPConn
	sent, received *transcript
}

func record(c net.Conn) *recorded {
	return &recorded{c.(*net.TCPConn), newTranscript(), newTranscript()}
}

func (c *recorded) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	_, _ = c.received.Write(b[:n])
	return n, err
}

func (c *recorded) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	_, _ = c.sent.Write(b[:n])
	return n, err
}

// A socketSite is a proxy before a WebSocket server, with a tap between them.
type socketSite struct {
	*proxy
	server string // its address

	mu  sync.Mutex
	tap *recorded // the connection to the server that was made last
}

// newSocketSite starts a proxy whose supervisor block holds more.
func newSocketSite(t *testing.T, server socketServer, more string) *socketSite {
	t.Helper()
	s := &socketSite{server: server.start(t), proxy: newProxy(t)}
	tap := serveRaw(t, func(c net.Conn) {
		up, err := net.Dial("tcp", s.server)
		if err != nil {
			return
		}
		defer up.Close()
		r := record(up)
		s.mu.Lock()
		s.tap = r
		s.mu.Unlock()
		var back sync.WaitGroup
		back.Go(func() {
			_, _ = io.Copy(c, struct{ io.Reader }{r})
			_ = c.(*net.TCPConn).CloseWrite()
		})
		_, _ = io.Copy(struct{ io.Writer }{r}, c)
		_ = r.CloseWrite()
		back.Wait()
	})
	s.writeRaw(fmt.Sprintf(`
supervisor {
  workers = 1
  state_dir = %q
  %s
}
listener "web" {
  address = [%q]
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = [%q]
}
`, s.path("run"), more, s.address, tap))
	s.start()
	return s
}

// ended waits until the server knows how connection id ended.
func (s *socketSite) ended(t *testing.T, id, want string) {
	t.Helper()
	got := ""
	ok := within(patience, func() bool {
		c, err := dial(s.server)
		if err != nil {
			return false
		}
		defer c.Close()
		got = c.get(t, "/?id="+id).body
		return got != ""
	})
	if !ok || got != want {
		t.Errorf("the server's end of the connection: got %q; want %q", got, want)
	}
}

// untouched checks that what c sent and received is what the server received
// and sent, to the last byte.
func (s *socketSite) untouched(t *testing.T, c *recorded) {
	t.Helper()
	s.mu.Lock()
	tap := s.tap
	s.mu.Unlock()
	if !within(patience, func() bool {
		return c.sent.String() == tap.sent.String() && c.received.String() == tap.received.String()
	}) {
		t.Errorf("client sent %v, server received %v; server sent %v, client received %v; want the same", c.sent, tap.sent, tap.received, c.received)
	}
}

// A socket is a WebSocket client that sees every frame.
type socket struct {
	*client
	recorded *recorded
	pongs    int // received so far
}

// handshake is the example of RFC 6455 section 1.3.
func handshake(target string) string {
	return request(http.MethodGet, target, "", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
}

// openSocket sends a handshake for target, and early together with it, and
// returns when the server has switched.
func openSocket(t *testing.T, address, target string, early ...frame) *socket {
	t.Helper()
	c := connect(t, address)
	s := &socket{recorded: record(c.Conn)}
	s.client = &client{Conn: s.recorded, r: bufio.NewReader(s.recorded)}
	text := []byte(handshake(target))
	for _, f := range early {
		text = f.append(text)
	}
	if err := s.client.send(string(text)); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(s.r, nil)
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	if r.StatusCode != http.StatusSwitchingProtocols || r.Header.Get("Sec-WebSocket-Accept") != accept {
		t.Fatalf("handshake: got %d, %q; want 101, %q", r.StatusCode, r.Header.Get("Sec-WebSocket-Accept"), accept)
	}
	return s
}

// send sends frames in one stream of bytes, cut into pieces of at most the given
// size; 0: not cut.
func (s *socket) send(t *testing.T, piece int, frames ...frame) {
	t.Helper()
	var b []byte
	for _, f := range frames {
		b = f.append(b)
	}
	if piece == 0 {
		piece = len(b)
	}
	for len(b) > 0 {
		n := min(piece, len(b))
		if err := s.client.send(string(b[:n])); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
}

// next reads a frame, pongs aside. A ping is answered.
func (s *socket) next(t *testing.T) frame {
	t.Helper()
	for {
		_ = s.SetDeadline(time.Now().Add(patience))
		f, err := readFrame(s.r)
		switch {
		case err != nil:
			t.Fatalf("next frame: %v", err)
		case f.op == opPing:
			s.send(t, 0, frame{opPong, true, f.payload})
		case f.op == opPong:
			s.pongs++
		default:
			return f
		}
	}
}

// message reads a whole message, in however many frames it comes.
func (s *socket) message(t *testing.T) (op byte, payload []byte) {
	t.Helper()
	f := s.next(t)
	op, payload = f.op, f.payload
	for !f.final {
		if f = s.next(t); f.op != opContinue {
			t.Fatalf("inside a message: got a frame of kind %d; want a continuation", f.op)
		}
		payload = append(payload, f.payload...)
	}
	return op, payload
}

// echo sends a message and wants it back.
func (s *socket) echo(t *testing.T, payload string) {
	t.Helper()
	s.send(t, 0, frame{opText, true, []byte(payload)})
	if op, got := s.message(t); op != opText || string(got) != payload {
		t.Fatalf("got %d, %.80q; want the echo of %.80q", op, got, payload)
	}
}

// closing is the frame that closes, with a code and a reason.
func closing(code int, reason string) frame {
	return frame{opClose, true, append(endian.BigEndian.AppendUint16(nil, uint16(code)), reason...)}
}

// dialSocket connects the client of github.com/coder/websocket.
func (s *socketSite) dialSocket(ctx context.Context, t *testing.T, target string, mode websocket.CompressionMode) (*websocket.Conn, *recorded) {
	t.Helper()
	var r *recorded
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		r = record(c)
		return r, nil
	}}
	c, _, err := websocket.Dial(ctx, "ws://"+s.address+target, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, CompressionMode: mode,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() }) // it may be closed
	c.SetReadLimit(64 << 20)
	return c, r
}
