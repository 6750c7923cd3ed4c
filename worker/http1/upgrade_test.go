package http1

import (
	"strings"
	"testing"
)

const opening = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

// Only a complete WebSocket handshake keeps its Upgrade.
func TestRequestWebSocket(t *testing.T) {
	for _, test := range []struct {
		old, changed string
		want         bool
	}{
		{"", "", true},
		{"Upgrade: websocket", "uPGRADE: WebSocket", true},
		{"keep-alive, Upgrade", "keep-alive", false},
		{"Upgrade: websocket", "Upgrade: websocket, h2c", false},
		{"Upgrade: websocket", "Upgrade: h2c", false},
		{"Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: websocket", false},
		{"Sec-WebSocket-Key", "X-Key", false},
		{"ub25jZ", "", false},
		{"Sec-WebSocket-Version: 13", "Sec-WebSocket-Version:", false},
		{"GET", "POST", false},
		{"HTTP/1.1", "HTTP/1.0", false},
		{"Host: a", "Host: a\r\nContent-Length: 1", false},
	} {
		head := strings.Replace(opening, test.old, test.changed, 1)
		var r Request
		if n, err := r.Parse([]byte(head), &Limits{HeadBytes: 1000, Fields: 20, TargetBytes: 100}); n == 0 || err != nil {
			t.Fatalf("Parse(%q): got %d, %v", head, n, err)
		}
		if r.WebSocket != test.want {
			t.Errorf("%q: got WebSocket %t; want %t", head, r.WebSocket, test.want)
		}
		out := string(r.AppendForward(nil, &Forward{}))
		if got := strings.Count(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n"); got == 1 != r.WebSocket || strings.Count(strings.ToLower(out), "upgrade:") != got {
			t.Errorf("%q: forwarded as %q", head, out)
		}
	}
}

func TestResponseWebSocket(t *testing.T) {
	const head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
	for _, test := range []struct {
		old, changed string
		want         bool
	}{
		{"", "", true},
		{"101", "200", false},
		{"websocket", "h2c", false},
		{"Connection: upgrade", "Connection: close", false},
	} {
		head := strings.Replace(head, test.old, test.changed, 1)
		var r Response
		if n, err := r.Parse([]byte(head), &Limits{HeadBytes: 1000, Fields: 20}); n == 0 || err != nil {
			t.Fatalf("Parse(%q): got %d, %v", head, n, err)
		}
		if r.WebSocket != test.want {
			t.Errorf("%q: got WebSocket %t; want %t", head, r.WebSocket, test.want)
		}
	}
	var r Response
	if _, err := r.Parse([]byte(head), &Limits{HeadBytes: 1000, Fields: 20}); err != nil {
		t.Fatal(err)
	}
	const want = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	if got := string(r.AppendForward(nil, &ForwardResponse{})); got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}
