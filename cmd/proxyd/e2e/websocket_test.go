package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// eachServer runs test before each of the servers.
func eachServer(t *testing.T, more string, test func(*testing.T, *socketSite)) {
	t.Helper()
	for _, server := range socketServers {
		t.Run(server.name, func(t *testing.T) { test(t, newSocketSite(t, server, more)) })
	}
}

// text returns n letters.
func text(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return b
}

// Messages come back whole, however they are cut into frames and the frames
// into segments.
func TestWebSocketFragments(t *testing.T) {
	tests := []struct {
		name  string
		op    byte
		sizes []int // of the frames
		piece int   // bytes written at once; 0: all
	}{
		{"empty", opText, []int{0}, 0},
		{"one byte", opBinary, []int{1}, 1},
		{"byte by byte", opText, []int{1, 1, 1, 1, 1}, 1},
		{"empty ones between", opText, []int{0, 7, 0, 0, 11, 0}, 3},
		{"lengths that change their form", opBinary, []int{125, 126, 127, 65535, 65536, 65537}, 0},
		{"odd pieces", opText, []int{13, 997, 4099, 32771}, 1021},
		{"a little over the buffers", opBinary, []int{16385, 32769, 3}, 16383},
		{"many", opText, make([]int, 500), 17},
	}
	for i := range tests[len(tests)-1].sizes {
		tests[len(tests)-1].sizes[i] = i % 7
	}
	eachServer(t, "", func(t *testing.T, site *socketSite) {
		s := openSocket(t, site.address, "/echo")
		for _, test := range tests {
			var frames []frame
			var want []byte
			for i, n := range test.sizes {
				f := frame{op: opContinue, final: i == len(test.sizes)-1, payload: text(n)}
				if i == 0 {
					f.op = test.op
				}
				frames = append(frames, f)
				if i%50 == 0 { // servers take more for a flood
					frames = append(frames, frame{opPing, true, []byte("between")})
				}
				want = append(want, f.payload...)
			}
			s.pongs = 0
			s.send(t, test.piece, frames...)
			if op, got := s.message(t); op != test.op || !bytes.Equal(got, want) {
				t.Errorf("%s: got kind %d, %d bytes; want kind %d, the same %d bytes", test.name, op, len(got), test.op, len(want))
			}
			s.echo(t, "behind it")
			if s.pongs == 0 {
				t.Errorf("%s: got no pong; want the pings inside a message answered", test.name)
			}
		}
		site.untouched(t, s.recorded)
	})
}

// Pings and pongs go both ways, alone and with the largest payload.
func TestWebSocketPings(t *testing.T) {
	eachServer(t, "", func(t *testing.T, site *socketSite) {
		s := openSocket(t, site.address, "/ping")
		if _, got := s.message(t); string(got) != "pongs" {
			t.Errorf("after the server's pings: got %q; want pongs", got)
		}
		site.untouched(t, s.recorded)

		s = openSocket(t, site.address, "/echo")
		for _, n := range []int{0, 1, 125} {
			s.send(t, 0, frame{opPing, true, text(n)})
			_ = s.SetDeadline(time.Now().Add(patience))
			f, err := readFrame(s.r)
			if err != nil || f.op != opPong || !bytes.Equal(f.payload, text(n)) {
				t.Errorf("ping of %d bytes: got %+v, %v; want its pong", n, f, err)
			}
		}
		site.untouched(t, s.recorded)
	})
}

// Whoever closes, the other learns code and reason, and the connection ends on
// both sides.
func TestWebSocketCloses(t *testing.T) {
	tests := []struct {
		code   int
		reason string
	}{
		{1000, ""},
		{1001, "going away"},
		{1011, "überlastet"},
		{3000, "registered"},
		{4999, strings.Repeat("r", 123)},
	}
	eachServer(t, "", func(t *testing.T, site *socketSite) {
		for i, test := range tests {
			id := fmt.Sprintf("client%d", i)
			s := openSocket(t, site.address, "/echo?id="+id)
			s.echo(t, "before")
			s.send(t, 0, closing(test.code, test.reason))
			if f := s.next(t); f.op != opClose || !bytes.HasPrefix(f.payload, closing(test.code, "").payload) {
				t.Errorf("answer to the close: got %+v; want code %d", f, test.code)
			}
			if !s.closed(t) {
				t.Error("closed by the client: want the end of the connection")
			}
			s.Close()
			site.ended(t, id, fmt.Sprintf("%d %s", test.code, test.reason))
			site.untouched(t, s.recorded)

			s = openSocket(t, site.address, "/close?"+url.Values{"code": {fmt.Sprint(test.code)}, "reason": {test.reason}}.Encode())
			f := s.next(t)
			if want := closing(test.code, test.reason); f.op != opClose || !bytes.Equal(f.payload, want.payload) {
				t.Errorf("closed by the server: got %d, %q; want %q", f.op, f.payload, want.payload)
			}
			s.send(t, 0, f)
			if !s.closed(t) {
				t.Error("closed by the server: want the end of the connection")
			}
			site.untouched(t, s.recorded)
		}
	})
}

// The end of one side of the connection is passed on, and what the other side
// still sends arrives whole.
func TestWebSocketHalfCloses(t *testing.T) {
	eachServer(t, "", func(t *testing.T, site *socketSite) {
		s := openSocket(t, site.address, "/echo?id=client")
		want := text(1 << 20)
		s.send(t, 0, frame{opBinary, true, want})
		if err := s.recorded.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, got := s.message(t); !bytes.Equal(got, want) {
			t.Errorf("after the client's end: got %d bytes; want the echo of %d", len(got), len(want))
		}
		site.ended(t, "client", "1006 ")
		site.untouched(t, s.recorded)

		s = openSocket(t, site.address, "/half?id=server")
		if _, got := s.message(t); string(got) != "last words" {
			t.Errorf("got %q; want the server's last words", got)
		}
		if !s.closed(t) {
			t.Error("want the end of the server's side")
		}
		s.send(t, 0, frame{opText, true, []byte("you too")})
		site.ended(t, "server", "heard you too")
		site.untouched(t, s.recorded)
	})
}

// What a server sends together with its 101, and a client together with its
// handshake, arrives.
func TestWebSocketFirstBytes(t *testing.T) {
	eachServer(t, "", func(t *testing.T, site *socketSite) {
		for _, n := range []int{0, 1, 125, 4096, 100_000} {
			s := openSocket(t, site.address, "/greet", frame{opBinary, true, text(n)})
			if _, got := s.message(t); string(got) != "first" {
				t.Errorf("got %q; want the server's first message", got)
			}
			if _, got := s.message(t); !bytes.Equal(got, text(n)) {
				t.Errorf("sent with the handshake: got %d bytes back; want %d", len(got), n)
			}
			site.untouched(t, s.recorded)
		}
	})
}

// Messages of 16 MiB come back, and compression is the ends' own affair.
func TestWebSocketLargeMessages(t *testing.T) {
	eachServer(t, "", func(t *testing.T, site *socketSite) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		random := make([]byte, 16<<20)
		_, _ = rand.NewChaCha8([32]byte{}).Read(random) // never fails
		for _, test := range []struct {
			name    string
			kind    websocket.MessageType
			message []byte
			mode    websocket.CompressionMode
		}{
			{"binary", websocket.MessageBinary, random, websocket.CompressionDisabled},
			{"text", websocket.MessageText, text(16 << 20), websocket.CompressionDisabled},
			{"compressed", websocket.MessageText, text(1 << 20), websocket.CompressionContextTakeover},
		} {
			c, r := site.dialSocket(ctx, t, "/echo", test.mode)
			began := time.Now()
			if err := c.Write(ctx, test.kind, test.message); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			kind, got, err := c.Read(ctx)
			if err != nil || kind != test.kind || !bytes.Equal(got, test.message) {
				t.Errorf("%s: got %v, %d bytes, %v; want %v, the same %d bytes", test.name, kind, len(got), err, test.kind, len(test.message))
			}
			t.Logf("%s: %d KiB there and back in %v", test.name, len(got)>>10, time.Since(began).Round(time.Millisecond))
			if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
				t.Errorf("%s: close: %v", test.name, err)
			}
			site.untouched(t, r)
		}
	})
}

// stream_timeout ends a tunnel that is silent, and no other: a ping now and then
// keeps one for as long as it comes.
func TestWebSocketSilence(t *testing.T) {
	long(t)
	const limit = time.Second
	eachServer(t, fmt.Sprintf("stream_timeout = %q", limit), func(t *testing.T, site *socketSite) {
		silent := openSocket(t, site.address, "/echo?id=silent")
		silent.echo(t, "the last for long")
		began := time.Now()
		alive := openSocket(t, site.address, "/echo")
		ended := make(chan time.Duration, 1)
		go func() {
			_, _ = silent.r.ReadByte() // the end, or what the check below misses
			ended <- time.Since(began)
		}()
		ticker := time.NewTicker(limit / 4)
		defer ticker.Stop()
		for range 12 {
			<-ticker.C
			alive.send(t, 0, frame{opPing, true, []byte("still here")})
		}
		if took := <-ended; took < limit*9/10 || took > limit+3*time.Second {
			t.Errorf("the silent one ended after %v; want %v", took, limit)
		}
		site.ended(t, "silent", "1006 ")
		alive.echo(t, "after three times as long")
		if alive.pongs != 12 {
			t.Errorf("got %d pongs; want 12", alive.pongs)
		}
	})
}
