package http2

import (
	"io"
	"testing"
)

// A request and its answer allocate nothing once buffers have grown, but for what
// x/net's decoder returns: a string for each name or value that is sent as a
// literal.
func TestServerAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random under the race detector")
	}
	for literal, want := range map[bool]float64{false: 0, true: 1} { // whether the path is one
		l := newLoader(t, literal)
		for range 100 {
			l.request(t)
		}
		if got := testing.AllocsPerRun(1000, func() { l.request(t) }); got > want {
			t.Errorf("request, literal path %t: got %v allocations; want %v", literal, got, want)
		}
	}
}

// The same for both sides, a body by chunks both ways, trailers and back-pressure.
func TestBothSidesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random under the race detector")
	}
	p := newPair(t, nil, nil)
	buf := make([]byte, 32<<10)
	var server *Stream
	p.server.open = func(s *Stream) { server = s }
	request := []byte(post + "2800\r\n" + long[:10240] + "\r\n0\r\nX-Sum: 5\r\n\r\n")
	response := []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2800\r\n" + long[:10240] + "\r\n0\r\nX-Sum: 5\r\n\r\n")
	move := func(from, to *Conn) {
		if len(from.Output()) == 0 {
			return
		}
		if _, err := to.Receive(from.Output()); err != nil {
			t.Fatal(err)
		}
		from.Sent(len(from.Output()))
	}
	drain := func(s *Stream) {
		for {
			if _, err := s.TryRead(buf); err == io.EOF {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(s *Stream, text []byte) {
		if n, err := s.TryWrite(text); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	round := func() {
		client, err := p.client.Open()
		if err != nil {
			t.Fatal(err)
		}
		write(client, request)
		move(p.client, p.server)
		drain(server)
		write(server, response)
		move(p.server, p.client)
		drain(client)
		move(p.client, p.server)
		client.Close()
		server.Close()
	}
	p.pump()
	for range 100 {
		round()
	}
	if got := testing.AllocsPerRun(1000, round); got > 0 {
		t.Errorf("request and response: got %v allocations; want 0", got)
	}
}
