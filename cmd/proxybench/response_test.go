package main

import (
	"strings"
	"testing"
)

const okResponse = "HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 5\r\n\r\nhello"

func TestResponseInTwoPieces(t *testing.T) {
	var r response // one for all: each leaves it as it found it
	for cut := range len(okResponse) {
		if complete, err := r.take([]byte(okResponse[:cut]), 5); complete || err != nil {
			t.Fatalf("after %d bytes: got %t, %v; want more to come", cut, complete, err)
		}
		if complete, err := r.take([]byte(okResponse[cut:]), 5); !complete || err != nil {
			t.Fatalf("cut after %d bytes: got %t, %v; want it complete", cut, complete, err)
		}
	}
}

func TestResponseWithoutBody(t *testing.T) {
	var r response
	if complete, err := r.take([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 0); !complete || err != nil {
		t.Errorf("got %t, %v; want it complete", complete, err)
	}
}

func TestResponsesThatAreFailures(t *testing.T) {
	for text, want := range map[string]string{
		"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello": "502",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell":           "want 5",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello":          "want 5",
		"HTTP/1.1 200 OK\r\n\r\nhello":                               "without Content-Length",
		okResponse + "!":                                             "more bytes",
		strings.Repeat("x", maxHead+1):                               "without end",
		"\r\n\r\n":                                                   "want 200",
	} {
		var r response
		if complete, err := r.take([]byte(text), 5); complete || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: got %t, %v; want an error with %q", text, complete, err, want)
		}
	}
}

// However a response is cut, it comes to the same.
func FuzzResponse(f *testing.F) {
	f.Add([]byte(okResponse), 20)
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"), 18)
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello world"), 40)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		var whole, pieces response
		want, wantErr := whole.take(text, 5)
		if cut < 0 || cut > len(text) || len(text) > maxHead {
			return
		}
		got, err := pieces.take(text[:cut], 5)
		if !got && err == nil {
			got, err = pieces.take(text[cut:], 5)
		} else if cut < len(text) { // complete already: any byte more is too much
			got, err = false, errTooMuch
		}
		if got != want || (err == nil) != (wantErr == nil) {
			t.Errorf("%q cut at %d: got %t, %v; want %t, %v", text, cut, got, err, want, wantErr)
		}
	})
}
