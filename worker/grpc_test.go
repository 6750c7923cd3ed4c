package worker

import (
	"bufio"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestGRPCTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "40m": 40 * time.Millisecond, "5u": 5 * time.Microsecond, "6n": 6,
		"0m": 1, "99999999H": maxGRPCTimeout, "99999999S": maxGRPCTimeout, "9999999S": 9999999 * time.Second, "": 0, "S": 0, "1": 0, "-1S": 0, "1s": 0, "123456789S": 0, "1 S": 0,
	} {
		if got := grpcTimeout([]byte(text)); got != want {
			t.Errorf("%q: got %v; want %v", text, got, want)
		}
	}
}

func FuzzGRPCTimeout(f *testing.F) {
	f.Add([]byte("1H"))
	f.Add([]byte("99999999n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d := grpcTimeout(b); d < 0 || d > maxGRPCTimeout || d > 0 && (len(b) < 2 || len(b) > 9) {
			t.Errorf("%q: got %v", b, d)
		}
	})
}

// Our own errors are those of gRPC to who calls it.
func TestGRPCErrors(t *testing.T) {
	slow := startOrigin(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		silent(c)
	})
	p := startProxy(t, `
paths    = ["/slow/*"]
upstream = "up"
}
route "gone" {
paths    = ["/gone/*"]
upstream = "none"
}
route "limited" {
paths      = ["/limited/*"]
rate_limit = ["none"]
upstream   = "none"
}
h2c = true
limits = {
body = 100`, upstreamOf(slow)+`
upstream "none" { servers = ["127.0.0.1:1"] }
rate_limit "none" {
  key  = "all"
  rate = "1/h"
}
`)
	c := newHTTP2Client(t, nil)
	for _, test := range []struct{ path, timeout, status, message string }{
		{"/nowhere", "", "12", "Not Found"},
		{"/gone/x", "", "14", "Bad Gateway"},
		{"/limited/x", "", "14", "Bad Gateway"},
		{"/limited/x", "", "14", "Too Many Requests"},
		{"/slow/x", "", "14", "Gateway Timeout"}, // by first_byte
		{"/slow/x", "100m", "4", "Gateway Timeout"},
	} {
		fields := []string{"Content-Type", "application/grpc+proto", "TE", "trailers"}
		if test.timeout != "" {
			fields = append(fields, "Grpc-Timeout", test.timeout)
		}
		began := time.Now()
		resp, body := fetch(t, c, "POST", "http://"+p.addr+test.path, nil, fields...)
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/grpc" || body != "" ||
			resp.Header.Get("Grpc-Status") != test.status || resp.Header.Get("Grpc-Message") != test.message {
			t.Errorf("%s: got %d %v %q; want grpc-status %s, %s", test.path, resp.StatusCode, resp.Header, body, test.status, test.message)
		}
		if took := time.Since(began); test.timeout != "" && took > time.Second {
			t.Errorf("%s: took %v; want %s", test.path, took, test.timeout)
		}
	}
	if resp, _ := fetch(t, c, "POST", "http://"+p.addr+"/nowhere", nil, "Content-Type", "application/grpcx"); resp.StatusCode != 404 {
		t.Errorf("of a type that is not gRPC's: got %d; want 404", resp.StatusCode)
	}
}
