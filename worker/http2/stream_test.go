package http2

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

const (
	get  = "GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"
	post = "POST / HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n\r\n"
)

// codeOf returns the code of a *StreamError as text, of other errors their own.
func codeOf(err error) string {
	var e *StreamError
	if errors.As(err, &e) {
		return e.Code.String()
	}
	return fmt.Sprint(err)
}

// A reset at any point of an exchange ends both sides of the stream, and the
// connection goes on.
func TestResetAtEveryPoint(t *testing.T) {
	request := post + "5\r\nhello\r\n0\r\n\r\n"
	response := "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n"
	for _, byServer := range []bool{false, true} {
		for sent := 0; sent <= len(request); sent++ {
			for answered := 0; answered <= len(response); answered += 1 + answered%7 {
				p := newPair(t, nil, nil)
				client := p.open()
				p.write(client, request[:sent])
				p.pump()
				var server *Stream
				if len(p.accepted) > 0 {
					server = p.accept()
					p.write(server, response[:answered])
					p.pump()
				}
				switch {
				case byServer && server == nil:
					continue
				case byServer:
					server.Reset(InternalError)
				default:
					client.Reset(Cancel)
				}
				p.pump()
				whole := sent == len(request) && answered == len(response)
				if byServer {
					checkReset(t, client, whole || answered == len(response), "INTERNAL_ERROR")
				} else if server != nil {
					checkReset(t, server, whole, "CANCEL")
				}
				if server != nil {
					server.Close()
				}
				client.Close()
				p.sound()
				p.exchange(get, ok, 100)
			}
		}
	}
}

// checkReset checks a stream that its peer has reset.
func checkReset(t *testing.T, s *Stream, whole bool, code string) {
	t.Helper()
	buf := make([]byte, 1000)
	_, err := s.TryRead(buf)
	for err == nil {
		_, err = s.TryRead(buf)
	}
	if whole {
		if err != io.EOF {
			t.Fatalf("read of a whole message: got %v; want EOF", err)
		}
		return
	}
	if codeOf(err) != code || !s.Gone() || !s.Readable() || !s.Writable() {
		t.Fatalf("read: got %v, gone %t; want %s", err, s.Gone(), code)
	}
	if _, err := s.TryWrite([]byte("x")); codeOf(err) != code {
		t.Fatalf("write: got %v; want %s", err, code)
	}
}

// A response that comes before the request was read counts, and the rest of the
// request is not wanted.
func TestEarlyResponse(t *testing.T) {
	p := newPair(t, nil, &Limits{StreamWindow: 1000})
	client, server := p.request(post + "3e7\r\n" + long[:999] + "\r\n")
	p.write(server, ok)
	server.Close()
	p.expect(client, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", io.EOF)
	if _, err := client.TryWrite([]byte("5\r\nhello\r\n")); codeOf(err) != "NO_ERROR" {
		t.Fatalf("write: got %v; want NO_ERROR", err)
	}
	client.Close()
	p.sound()
}

// What was under way to a stream that was reset is dropped without a word.
func TestFramesBehindReset(t *testing.T) {
	p := newPair(t, nil, nil)
	client, server := p.request(post)
	server.Reset(Cancel)
	server.Close()
	p.write(client, "5\r\nhello\r\n") // does not know yet
	p.write(client, "0\r\nA: b\r\n\r\n")
	p.pump()
	client.Close()
	p.sound()
	if p.server.floods.resets > 0 {
		t.Errorf("resets: got %d; want 0: it is not the peer's mistake", p.server.floods.resets)
	}
}

// A message that its owner leaves in the middle is never whole for the peer.
func TestUnfinishedMessages(t *testing.T) {
	for _, sent := range []string{"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"} {
		p := newPair(t, nil, nil)
		client, server := p.request(get)
		p.write(server, sent)
		server.Close()
		p.pump()
		if got, err := p.read(client); codeOf(err) != "CANCEL" {
			t.Errorf("after %q: got %q, %v; want CANCEL", sent, got, err)
		}
		client.Close()
		p.sound()
	}
}

// An owner that writes what is no message resets its stream and nothing else.
func TestOwnersMistakes(t *testing.T) {
	for _, text := range []string{
		"nonsense\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
		"HTTP/1.1 200 OK\r\nA: b\x01\r\n\r\n",
	} {
		p := newPair(t, nil, nil)
		client, server := p.request(get)
		if _, err := server.TryWrite([]byte(text)); err == nil || err == ErrAgain {
			t.Fatalf("%q: got %v; want an error", text, err)
		}
		p.pump()
		if got, err := p.read(client); codeOf(err) != "INTERNAL_ERROR" {
			t.Errorf("%q: got %q, %v; want INTERNAL_ERROR", text, got, err)
		}
		client.Close()
		server.Close()
		p.sound()
	}
	p := newPair(t, nil, nil)
	_, server := p.request(get)
	if _, err := server.TryWrite([]byte(ok + "more")); err != errAfterEnd {
		t.Errorf("bytes behind the response: got %v; want %v", err, errAfterEnd)
	}
}

func TestGoAwayInTwoSteps(t *testing.T) {
	p := newPair(t, nil, nil)
	client, server := p.request(get)
	p.server.Shutdown(false)
	late := p.open() // before it hears
	p.write(late, get)
	lateServer := p.accept()
	p.pump()
	if _, err := p.client.Open(); err != ErrGoingAway {
		t.Errorf("Open after GOAWAY: got %v; want %v", err, ErrGoingAway)
	}
	p.server.Shutdown(true)
	p.server.Shutdown(true)
	p.pump()
	for _, s := range []*Stream{server, lateServer} {
		p.write(s, ok)
		s.Close()
	}
	for _, s := range []*Stream{client, late} {
		p.expect(s, ok, io.EOF)
		s.Close()
	}
	p.sound()
	if !p.server.Closed() || !p.client.Closed() {
		t.Errorf("Closed: got server %t, client %t; want both", p.server.Closed(), p.client.Closed())
	}
}

// What is above the last id of GOAWAY was not looked at and may be repeated; what
// is not goes on.
func TestGoAwayRefuses(t *testing.T) {
	p := newPair(t, nil, nil)
	client, server := p.request(get)
	p.server.Shutdown(true)
	second, third := p.open(), p.open()
	events := 0
	second.OnEvent(func() { events++ })
	p.write(second, post+"5\r\nhello\r\n0\r\n\r\n")
	p.pump()
	if !second.Refused() || !third.Refused() || events == 0 || client.Refused() {
		t.Errorf("refused: got %t, %t, %t after %d events; want the second and third", client.Refused(), second.Refused(), third.Refused(), events)
	}
	if _, err := third.TryWrite([]byte(get)); codeOf(err) != "REFUSED_STREAM" {
		t.Errorf("write: got %v; want REFUSED_STREAM", err)
	}
	second.Close()
	third.Close()
	p.write(server, ok)
	server.Close()
	p.expect(client, ok, io.EOF)
	client.Close()
	p.sound()
}

func TestMostStreams(t *testing.T) {
	p := newPair(t, nil, &Limits{Streams: 2})
	var servers []*Stream
	early := []*Stream{p.open(), p.open(), p.open()} // before it knows the limit
	for _, s := range early {
		p.write(s, get)
	}
	for range 2 {
		servers = append(servers, p.accept())
	}
	p.pump()
	if !early[2].Refused() || len(p.accepted) > 0 {
		t.Fatalf("third stream: refused %t, %d accepted; want it refused", early[2].Refused(), len(p.accepted))
	}
	early[2].Close()
	if _, err := p.client.Open(); err != ErrAgain {
		t.Fatalf("Open: got %v; want %v", err, ErrAgain)
	}
	for i, s := range servers {
		p.write(s, ok)
		s.Close()
		p.expect(early[i], ok, io.EOF)
		early[i].Close()
	}
	p.exchange(get, ok, 100)
}

// When the connection is lost or ends in an error all streams hear of it.
func TestConnectionEnds(t *testing.T) {
	for name, end := range map[string]func(*pair){
		"abort":   func(p *pair) { p.client.Abort() },
		"garbage": func(p *pair) { _, _ = p.client.Receive([]byte(strings.Repeat("x", 100))) },
	} {
		p := newPair(t, nil, nil)
		first, _ := p.request(post)
		second := p.open()
		events := 0
		first.OnEvent(func() { events++; first.Close() })
		second.OnEvent(func() { events++; second.Close() })
		end(p)
		if events != 2 || !p.client.Closed() || !p.client.Idle() {
			t.Errorf("%s: got %d events, closed %t; want 2, true", name, events, p.client.Closed())
		}
		if _, err := p.client.Open(); err != ErrGoingAway {
			t.Errorf("%s: Open: got %v; want %v", name, err, ErrGoingAway)
		}
	}
}

func TestPing(t *testing.T) {
	p := newPair(t, nil, nil)
	p.pump()
	p.client.Ping()
	if !p.client.Awaiting() {
		t.Fatal("Awaiting: got false behind Ping; want true")
	}
	p.pump()
	if p.client.Awaiting() {
		t.Fatal("Awaiting: got true behind the answer; want false")
	}
}

func TestOnOutput(t *testing.T) {
	p := newPair(t, nil, nil)
	calls := 0
	p.client.OnOutput(func() { calls++ })
	p.pump()
	calls = 0
	p.client.Ping()
	p.client.Ping()
	if calls != 1 {
		t.Errorf("two pings: got %d calls; want 1", calls)
	}
	p.client.Sent(1)
	p.client.Ping()
	p.client.Sent(len(p.client.Output()))
	p.client.Ping()
	if calls != 2 {
		t.Errorf("after all was sent: got %d calls; want 2", calls)
	}
}
