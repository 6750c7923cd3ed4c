package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"testing"
	"time"
)

// A server that is stuck for half of the time does not slow the load down, and
// the requests that wait count from when they were due.
func TestLoadIsOpen(t *testing.T) {
	f := newFleet(t)
	c, err := newCaller(f.servers[0].address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	played := make(chan error, 1)
	go func() {
		played <- f.play(script{{0, 0, condition{stuck, quick}}, {400 * time.Millisecond, 0, healthy}}, nil)
	}()
	got, err := c.call(t.Context(), 250, 800*time.Millisecond)
	if err := errors.Join(err, <-played); err != nil {
		t.Fatal(err)
	}
	if got.requests != 200 || got.failed() != 0 || f.asked.Load() != 200 {
		t.Errorf("got %d requests, %v failed, %d at the server; want 200, none, 200", got.requests, got.failures, f.asked.Load())
	}
	if first := got.latencies.percentile(80); first < 100*time.Millisecond {
		t.Errorf("got %v for the fifth that waited longest; want 200ms or so", first)
	}
}

func TestLoadEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := new(caller).call(ctx, 1, time.Hour); !errors.Is(err, why) {
		t.Errorf("got %v; want %v", err, why)
	}
}

func TestKindsOfFailures(t *testing.T) {
	for text, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":   "",
		"HTTP/1.1 504 Late\r\nContent-Length: 2\r\n\r\nno": "504",
		"HTTP/1.1 503 No\r\n\r\n":                          "503",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok":   "cut",
		"HTTP/1.1 200 OK\r\nContent-":                      "cut",
		"HTTP/1.1 200 OK\r\n\r\n":                          "nonsense",
		"SSH-2.0\r\n":                                      "nonsense",
		"":                                                 "closed",
	} {
		port := listenOn(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 200))
			fmt.Fprint(c, text)
		})
		c := &caller{address: fmt.Sprintf("127.0.0.1:%d", port)}
		if err := c.exchange(time.Now().Add(startPatience)); failureOf(err) != want {
			t.Errorf("%q: got %q, %v; want %q", text, failureOf(err), err, want)
		}
		c.close()
	}
}

func TestKeptConnectionsTakeTurns(t *testing.T) {
	f := newFleet(t)
	c, err := newCaller(f.servers[0].address, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	before := append([]*kept(nil), c.idle...)
	if err := c.exchange(time.Now().Add(startPatience)); err != nil {
		t.Fatal(err)
	}
	if want := append(before[1:], before[0]); !reflect.DeepEqual(c.idle, want) {
		t.Error("got another order; want the connection that was used to be the last")
	}
}
