package worker

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

const (
	handshake = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// switches returns an origin that answers a handshake by 101 and the text first,
// and hands the connection to then.
func switches(t *testing.T, first string, then func(r *bufio.Reader, c net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if got := req.Header.Get("Upgrade"); got != "websocket" {
			t.Errorf("server got Upgrade %q; want websocket", got)
		}
		sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		accept := base64.StdEncoding.EncodeToString(sum[:])
		if _, err := io.WriteString(c, strings.Replace(switching, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", accept, 1)+first); err == nil {
			then(r, c)
		}
	}
}

// open sends a handshake and early through p, and returns the connection once
// the 101 has come.
func (p *proxy) open(t *testing.T, early string) (*bufio.Reader, *net.TCPConn) {
	t.Helper()
	c := p.dial(t).(*net.TCPConn)
	if _, err := io.WriteString(c, handshake+early); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-WebSocket-Accept") == "" {
		t.Fatalf("got %v; want the server's 101 with its fields", resp)
	}
	return r, c
}

// What comes with the heads goes first; an end is passed on and the other side
// may still send.
func TestTunnel(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, switches(t, "welcome ", func(r *bufio.Reader, c net.Conn) {
		all, err := io.ReadAll(r) // to the client's FIN
		fmt.Fprintf(c, "%s %v", all, err)
	}))))
	r, c := p.open(t, "early ")
	if _, err := io.WriteString(c, "late"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if want := "welcome early late <nil>"; string(got) != want || err != nil {
		t.Errorf("client read %q, %v; want %q", got, err, want)
	}
}

// 16 MiB go both ways at once, byte for byte.
func TestTunnelIsTransparent(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, switches(t, "", func(r *bufio.Reader, c net.Conn) {
		_, _ = io.Copy(c, r)
	}))))
	r, c := p.open(t, "")
	sent := make([]byte, 16<<20)
	if _, err := rand.Read(sent); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = c.Write(sent) // what is missing, the other end misses
		_ = c.CloseWrite()
	}()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes back, %v; want the %d that were sent", len(got), err, len(sent))
	}
}

// A tunnel lives through a reload that takes its upstream away.
func TestTunnelOutlivesReload(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, switches(t, "", func(r *bufio.Reader, c net.Conn) {
		_, _ = io.Copy(c, r)
	}))))
	r, c := p.open(t, "")
	p.configure(t, nil, `upstream = "up"`, upstreamOf(startOrigin(t, answers(okResponse))))
	if _, err := io.WriteString(c, "still here\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.ReadString('\n'); got != "still here\n" {
		t.Errorf("got %q, %v; want the echo", got, err)
	}
}

// A server that breaks off takes the client's side with it, and the other way
// round.
func TestTunnelBreaks(t *testing.T) {
	ended := make(chan error, 1)
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, switches(t, "", func(r *bufio.Reader, c net.Conn) {
		if line, _ := r.ReadString('\n'); line == "die\n" {
			_ = c.(*net.TCPConn).SetLinger(0)
			return
		}
		_, err := r.ReadByte()
		ended <- err
	}))))
	r, c := p.open(t, "die\n")
	if n, err := r.ReadByte(); err == nil {
		t.Errorf("client read %q from a server that is gone; want the end", n)
	}
	c.Close()

	_, c = p.open(t, "live\n")
	_ = c.SetLinger(0)
	c.Close()
	if err := <-ended; err == nil {
		t.Error("server read a byte from a client that is gone; want the end")
	}
}

// Only a complete handshake is passed on, and 101 only to one.
func TestNoTunnel(t *testing.T) {
	asked := make(chan http.Header, 1)
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, func(c net.Conn) {
		if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			asked <- req.Header
			_, _ = io.WriteString(c, switching)
		}
	})))
	for name, request := range map[string]string{
		"no key":         strings.Replace(handshake, "Sec-WebSocket-Key", "X-Key", 1),
		"no option":      strings.Replace(handshake, "keep-alive, Upgrade", "keep-alive", 1),
		"other protocol": strings.Replace(handshake, "Upgrade: websocket", "Upgrade: h2c", 1),
		"two protocols":  strings.Replace(handshake, "Upgrade: websocket", "Upgrade: websocket, h2c", 1),
		"HTTP/1.0":       strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1),
		"POST":           strings.Replace(handshake, "GET", "POST", 1),
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := func() (*http.Response, error) {
				c := p.dial(t)
				if _, err := io.WriteString(c, request); err != nil {
					return nil, err
				}
				return http.ReadResponse(bufio.NewReader(c), nil)
			}()
			if err != nil || resp.StatusCode != 502 {
				t.Errorf("got %v, %v; want 502", resp, err)
			}
			if got := (<-asked).Get("Upgrade"); got != "" {
				t.Errorf("server got Upgrade %q; want none", got)
			}
		})
	}
}
