package http2

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// A pair is both sides of one connection in memory.
type pair struct {
	testing.TB
	client, server     *Conn
	toClient, toServer []byte // on their way
	accepted           []*Stream
	step               int // bytes that arrive at once; 0: all
	clientErr          error
	serverErr          error
}

func newPair(t testing.TB, client, server *Limits) *pair {
	p := &pair{TB: t}
	p.client = NewClient(client, "https")
	p.server = NewServer(server, func(s *Stream) { p.accepted = append(p.accepted, s) })
	return p
}

// pump moves what each side has to say until neither says more.
func (p *pair) pump() {
	for p.move(p.client, p.server, &p.toServer, &p.serverErr) || p.move(p.server, p.client, &p.toClient, &p.clientErr) {
	}
}

func (p *pair) move(from, to *Conn, in *[]byte, failure *error) (moved bool) {
	out := from.Output()
	if len(out) > outputMost+headLimits.HeadBytes {
		p.Fatalf("Output: got %d bytes", len(out))
	}
	if p.step > 0 {
		out = out[:min(p.step, len(out))]
	}
	*in = append(*in, out...)
	from.Sent(len(out))
	if *failure != nil {
		*in = nil
		return len(out) > 0
	}
	n, err := to.Receive(*in)
	if err != nil {
		*failure = err
	}
	*in = append([]byte(nil), (*in)[n:]...)
	if len(*in) > 8 && err == nil {
		p.Fatalf("Receive: left %d bytes", len(*in))
	}
	return len(out) > 0
}

// open opens a stream.
func (p *pair) open() *Stream {
	p.Helper()
	s, err := p.client.Open()
	if err != nil {
		p.Fatal(err)
	}
	return s
}

// accept returns the stream that the server has got next.
func (p *pair) accept() *Stream {
	p.Helper()
	p.pump()
	if len(p.accepted) == 0 {
		p.Fatalf("no stream came; client: %v, server: %v", p.clientErr, p.serverErr)
	}
	s := p.accepted[0]
	p.accepted = p.accepted[1:]
	return s
}

// request sends the whole of a small request and returns both ends of its stream.
func (p *pair) request(text string) (client, server *Stream) {
	p.Helper()
	client = p.open()
	p.write(client, text)
	return client, p.accept()
}

func (p *pair) write(s *Stream, text string) {
	p.Helper()
	if n, err := s.TryWrite([]byte(text)); n != len(text) || err != nil {
		p.Fatalf("write %.60q: got %d, %v; want %d", text, n, err, len(text))
	}
}

// read reads all there is.
func (p *pair) read(s *Stream) (string, error) {
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := s.TryRead(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			return string(all), err
		}
	}
}

func (p *pair) expect(s *Stream, want string, wantErr error) {
	p.Helper()
	p.pump()
	if got, err := p.read(s); got != want || err != wantErr {
		p.Fatalf("read: got %q, %v; want %q, %v", got, err, want, wantErr)
	}
}

// sound fails if either side is in error or has anything left.
func (p *pair) sound() {
	p.Helper()
	p.pump()
	if p.clientErr != nil || p.serverErr != nil {
		p.Fatalf("client: %v; server: %v", p.clientErr, p.serverErr)
	}
	for name, c := range map[string]*Conn{"client": p.client, "server": p.server} {
		if !c.Idle() || c.live != 0 || len(c.blocked) != 0 {
			p.Fatalf("%s: %d streams, %d live, %d blocked; want none", name, c.Streams(), c.live, len(c.blocked))
		}
		if c.window+c.unacked != max(c.lim.ConnWindow, baseWindow) {
			p.Fatalf("%s: window %d and %d to give back; want %d in all", name, c.window, c.unacked, c.lim.ConnWindow)
		}
	}
}

// An end writes a message to a stream and reads the other one.
type end struct {
	s    *Stream
	todo []byte
	got  []byte
	step int // bytes at a time
	err  error
}

// advance does what can be done and reports whether that was anything.
func (e *end) advance() bool {
	moved := false
	for len(e.todo) > 0 {
		n, err := e.s.TryWrite(e.todo[:min(e.step, len(e.todo))])
		e.todo = e.todo[n:]
		moved = moved || n > 0
		if err != nil {
			break
		}
	}
	buf := make([]byte, e.step)
	for e.err == nil {
		n, err := e.s.TryRead(buf)
		e.got = append(e.got, buf[:n]...)
		moved = moved || n > 0
		if err == ErrAgain {
			break
		}
		e.err = err
	}
	return moved
}

// exchange sends request and response in pieces and returns what either side read.
func (p *pair) exchange(request, response string, step int) (server, client *end) {
	p.Helper()
	client = &end{s: p.open(), todo: []byte(request), step: step}
	for {
		moved := client.advance()
		p.pump()
		if len(p.accepted) > 0 {
			server = &end{s: p.accepted[0], todo: []byte(response), step: step}
			p.accepted = nil
		}
		if server != nil && server.advance() {
			moved = true
		}
		p.pump()
		if !moved {
			break
		}
	}
	if server == nil || server.err != io.EOF || client.err != io.EOF || len(server.todo) > 0 || len(client.todo) > 0 {
		p.Fatalf("by %d: server %+v; client %+v", step, server, client)
	}
	server.s.Close()
	client.s.Close()
	p.sound()
	return server, client
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// dechunked joins the chunks of a body, however they were cut: it starts with the
// head.
func dechunked(t testing.TB, message string) string {
	t.Helper()
	i := strings.Index(message, "\r\n\r\n") + 4
	if !strings.Contains(strings.ToLower(message[:i]), "\r\ntransfer-encoding: chunked\r\n") {
		return message
	}
	var dec chunkReader
	data, trailers := dec.all(t, []byte(message[i:]))
	var b bytes.Buffer
	b.WriteString(message[:i])
	b.Write(data)
	b.WriteString("|")
	b.Write(trailers)
	return b.String()
}
