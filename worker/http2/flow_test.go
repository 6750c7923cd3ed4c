package http2

import (
	"fmt"
	"io"
	"testing"
)

// A sender is not let further than what its peer's owner has read allows.
func TestBackPressure(t *testing.T) {
	lim := &Limits{StreamWindow: 10000}
	p := newPair(t, lim, nil)
	client, server := p.request(get)
	events := 0
	server.OnEvent(func() { events++ })
	p.write(server, "HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n")
	body := []byte(long[:90000])
	sent := 0
	fill := func() {
		for sent < len(body) {
			n, err := server.TryWrite(body[sent:])
			if sent += n; err == ErrAgain {
				break
			}
		}
		p.pump()
	}
	fill()
	if sent != 10000 || server.Writable() || client.data.len() != 10000 {
		t.Fatalf("before a read: sent %d, writable %t, waiting %d; want 10000, false, 10000", sent, server.Writable(), client.data.len())
	}
	buf := make([]byte, 5100)
	read := 0
	for read < 5000 {
		n, err := client.TryRead(buf[:5000-read])
		if read += n; err != nil {
			t.Fatal(err)
		}
	}
	p.pump()
	if events != 0 {
		t.Fatalf("read of less than half: got %d events; want none", events)
	}
	if _, err := client.TryRead(buf); err != nil { // and the head was some of it
		t.Fatal(err)
	}
	p.pump()
	if events == 0 || !server.Writable() {
		t.Fatalf("read of half: got %d events, writable %t", events, server.Writable())
	}
	for sent < len(body) || client.data.len() > 0 {
		fill()
		if client.data.len() > 10000 {
			t.Fatalf("waiting: got %d bytes; want at most 10000", client.data.len())
		}
		if _, err := client.TryRead(buf); err != nil {
			t.Fatal(err)
		}
		p.pump()
	}
	if _, err := client.TryRead(buf); err != io.EOF {
		t.Fatalf("end: got %v; want EOF", err)
	}
	client.Close()
	server.Close()
	p.sound()
}

// Streams that share the window of a connection and the room for Output all go on
// once there is some.
func TestStreamsShareConnection(t *testing.T) {
	for _, stalled := range []bool{false, true} { // the window, or Output
		p := newPair(t, &Limits{StreamWindow: 1 << 20, ConnWindow: baseWindow}, nil)
		ends := make(map[*Stream]*end)
		woken := make(map[*Stream]bool)
		var clients, servers []*Stream
		for range 10 {
			c, s := p.request(get)
			s.OnEvent(func() { woken[s] = true })
			clients, servers = append(clients, c), append(servers, s)
			ends[s] = &end{s: s, step: 1 << 20, todo: fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long)}
			ends[c] = &end{s: c, step: 1 << 20}
		}
		if stalled {
			p.client.sendWindow = maxWindow
		}
		for _, s := range servers {
			ends[s].advance()
		}
		if n := len(p.server.Output()); n > outputFull+frameHeader*20 {
			t.Fatalf("Output: got %d bytes; want at most %d", n, outputFull)
		}
		for turn := 0; turn < 100; turn++ {
			p.pump()
			for _, c := range clients {
				ends[c].advance()
			}
			p.pump()
			list := woken
			woken = make(map[*Stream]bool)
			for s := range list {
				ends[s].advance()
			}
		}
		for i, c := range clients {
			if ends[c].err != io.EOF || len(ends[c].got) < len(long) {
				t.Fatalf("stream %d: read %d bytes, %v; want %d and EOF", i, len(ends[c].got), ends[c].err, len(long))
			}
			c.Close()
			servers[i].Close()
		}
		p.sound()
	}
}

// The end of a message needs no window.
func TestEndWithoutWindow(t *testing.T) {
	for _, message := range []string{"1\r\na\r\n0\r\n\r\n", "1\r\na\r\n0\r\nA: b\r\n\r\n"} {
		p := newPair(t, &Limits{StreamWindow: 1}, nil)
		client, server := p.request(get)
		p.write(server, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+message)
		p.pump()
		if !client.remoteDone {
			t.Errorf("%q: got no end", message)
		}
		client.Close()
		server.Close()
		p.sound()
	}
}

// SETTINGS can take window away from streams that are open, below zero.
func TestWindowShrinks(t *testing.T) {
	p := newPair(t, nil, nil)
	client, server := p.request(get)
	p.write(server, "HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"+long[:1000])
	p.pump()
	if err := p.server.setting(setting{settingWindow, 10}); err != nil {
		t.Fatal(err)
	}
	if err := p.server.resizeWindows(); err != nil {
		t.Fatal(err)
	}
	if _, err := server.TryWrite([]byte("x")); err != ErrAgain || server.sendWindow != 10-1000 {
		t.Fatalf("write: got %v with window %d; want %v, %d", err, server.sendWindow, ErrAgain, 10-1000)
	}
	if err := p.server.setting(setting{settingWindow, 1001}); err != nil {
		t.Fatal(err)
	}
	if err := p.server.resizeWindows(); err != nil || !server.Writable() {
		t.Fatalf("larger again: %v, writable %t", err, server.Writable())
	}
	if n, err := server.TryWrite([]byte("xy")); n != 1 || err != nil {
		t.Fatalf("write: got %d, %v; want 1", n, err)
	}
	client.Close()
	server.Close()
}
