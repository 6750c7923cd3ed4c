package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"
)

// dial waits for port to be listened on; the test ends with an error if it is not.
func dial(t *testing.T, port int) net.Conn {
	t.Helper()
	for late := time.Now().Add(startPatience); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(startPatience))
			t.Cleanup(func() { c.Close() })
			return c
		}
		if time.Now().After(late) {
			t.Fatal(err)
		}
	}
}

func port(t *testing.T) int {
	t.Helper()
	p, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// listenOn serves each connection with serve until the test ends.
func listenOn(t *testing.T, serve func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(startPatience))
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func TestRelayCopiesBothWays(t *testing.T) {
	upstream := listenOn(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	at := port(t)
	startChild(t, "relay", strconv.Itoa(at), strconv.Itoa(upstream))
	c := dial(t, at)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<14) // more than sockets hold
	go func() { _, _ = c.Write(want) }()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("echo through the relay: got other bytes, %v", err)
	}
}

func TestRelayEndsBothWhenOneEnds(t *testing.T) {
	upstream := listenOn(t, func(c net.Conn) { fmt.Fprint(c, "bye") })
	at := port(t)
	startChild(t, "relay", strconv.Itoa(at), strconv.Itoa(upstream))
	if got, err := io.ReadAll(dial(t, at)); err != nil || string(got) != "bye" {
		t.Errorf("got %q, %v; want bye and the end", got, err)
	}
}

func TestRelayWithoutUpstreamEndsTheClient(t *testing.T) {
	at := port(t)
	startChild(t, "relay", strconv.Itoa(at), strconv.Itoa(port(t)))
	if got, err := io.ReadAll(dial(t, at)); len(got) > 0 {
		t.Errorf("got %q, %v; want the end", got, err)
	}
}
