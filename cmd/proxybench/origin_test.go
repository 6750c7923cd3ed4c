package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
)

func TestHeadsAreFoundHoweverCut(t *testing.T) {
	const stream = "GET / HTTP/1.1\r\nA: b\r\n\r\nGET /\r\r\n\r\n" // two
	for cut := range len(stream) {
		var h headEnd
		if got := h.count([]byte(stream[:cut])) + h.count([]byte(stream[cut:])); got != 2 {
			t.Errorf("cut after %d bytes: got %d heads; want 2", cut, got)
		}
	}
}

func TestOriginAnswersEachRequestOnBothPorts(t *testing.T) {
	const body, requests = 300_000, 20 // more than a socket takes at once
	a, b := port(t), port(t)
	startChild(t, "origin", strconv.Itoa(body), strconv.Itoa(a), strconv.Itoa(b))
	want := bytes.Repeat(makeResponse(body), requests)
	for _, at := range []int{a, b} {
		c := dial(t, at)
		fmt.Fprint(c, strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", requests))
		got := make([]byte, len(want))
		if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("port %d: got %d bytes, %v; want %d responses of %d", at, n, err, requests, len(want)/requests)
		}
	}
}
