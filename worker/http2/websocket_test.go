package http2

import (
	"io"
	"strings"
	"testing"

	"github.com/proxyd/proxyd/worker/http1"
)

const (
	handshake = "GET /chat HTTP/1.1\r\nHost: x.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: https://x.test\r\n\r\n"
	// RFC 6455 section 1.3 has the key and what answers it.
	handshakeAnswer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)

// openSocket sends a handshake and returns both ends and the request as the
// server reads it.
func openSocket(t *testing.T) (p *pair, client, server *Stream, r *http1.Request) {
	t.Helper()
	p = newPair(t, nil, nil)
	p.pump() // the client must know that it may
	if !p.client.Settled() || !p.client.WebSockets() {
		t.Fatal("WebSockets: got false; want true")
	}
	client, server = p.request(handshake)
	head, _ := p.read(server)
	r = new(http1.Request)
	if n, err := r.Parse([]byte(head), &testLimits); n != len(head) || err != nil || !r.WebSocket {
		t.Fatalf("request: got %q (%v); want a handshake", head, err)
	}
	if got := string(r.Header("origin")); got != "https://x.test" || string(r.Header("sec-websocket-key")) == "dGhlIHNhbXBsZSBub25jZQ==" {
		t.Fatalf("request: got %q; want its fields, and a key of our own", head)
	}
	return p, client, server, r
}

func answerTo(r *http1.Request) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		string(appendAccept(nil, r.Header("sec-websocket-key"))) + "\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
}

func TestWebSocket(t *testing.T) {
	p, client, server, r := openSocket(t)
	p.write(client, "early") // allowed, if odd
	p.write(server, answerTo(r)+"first")
	p.expect(client, handshakeAnswer+"sec-websocket-protocol: chat\r\n\r\nfirst", ErrAgain)
	p.write(client, " bytes")
	p.expect(server, "early bytes", ErrAgain)
	client.CloseWrite()
	p.expect(server, "", io.EOF)
	p.write(server, "last")
	server.CloseWrite()
	p.expect(client, "last", io.EOF)
	client.Close()
	server.Close()
	p.sound()
}

func TestWebSocketRefused(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno": "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno":        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", // 200 would open it
	} {
		p, client, server, _ := openSocket(t)
		p.write(server, answer)
		server.Close()
		p.expect(client, want, io.EOF)
		client.Close()
		p.sound()
	}
}

// What a client sends before it has its answer is of no message: it is read
// behind a 101 and never if there is none.
func TestWebSocketDataBeforeAnswer(t *testing.T) {
	for _, switches := range []bool{false, true} {
		p, client, server, r := openSocket(t)
		p.write(client, "GET /smuggled HTTP/1.1\r\nHost: x.test\r\n\r\n")
		client.CloseWrite()
		p.expect(server, "", ErrAgain)
		if server.Readable() {
			t.Error("Readable: got true before the answer; want false")
		}
		if switches {
			p.write(server, answerTo(r))
			p.expect(server, "GET /smuggled HTTP/1.1\r\nHost: x.test\r\n\r\n", io.EOF)
		} else {
			p.write(server, ok)
			p.expect(server, "", ErrAgain)
		}
		server.Close()
		client.Close()
		p.sound()
	}
}

func TestWebSocketMistakes(t *testing.T) {
	p, client, server, r := openSocket(t)
	if _, err := server.TryWrite([]byte(strings.Replace(answerTo(r), "=\r\n", "A\r\n", 1))); err != errSwitch {
		t.Errorf("wrong answer to the key: got %v; want %v", err, errSwitch)
	}
	server.Close()
	client.Close()
	p.sound()

	p = newPair(t, nil, nil) // the server's SETTINGS have not come
	early := p.open()
	if _, err := early.TryWrite([]byte(handshake)); err != ErrNoWebSocket {
		t.Errorf("handshake before SETTINGS: got %v; want %v", err, ErrNoWebSocket)
	}
	early.Close()
	p.sound()
}
