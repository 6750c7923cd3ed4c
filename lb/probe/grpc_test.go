package probe

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// framed puts the prefix of a message before fields.
func framed(fields ...byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(fields))), fields...)
}

// healthService answers as grpc-go's health server does: body, then the status
// in the trailers.
func healthService(status string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		h := w.Header()
		h.Set("Content-Type", "application/grpc")
		h.Set("Trailer", "Grpc-Status")
		_, _ = w.Write(body)
		h.Set("Grpc-Status", status)
	}
}

// trailersOnly answers a call that came to nothing, in one head.
func trailersOnly(status, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/grpc")
		h.Set("Grpc-Status", status)
		h.Set("Grpc-Message", message)
	}
}

func TestGRPCAnswers(t *testing.T) {
	for _, c := range []struct {
		name       string
		serve      http.HandlerFunc
		want, text string // the reason; text "" stands for the same
	}{
		{"serving", healthService("0", framed(8, 1)), "", ""},
		{"not serving", healthService("0", framed(8, 2)), "gRPC health NOT_SERVING", ""},
		{"unknown", healthService("0", framed()), "gRPC health UNKNOWN", ""},
		{"unheard-of", healthService("0", framed(8, 77)), "gRPC health 77", ""},
		{"no such service", trailersOnly("5", "unknown service"), "gRPC status NOT_FOUND", `gRPC status NOT_FOUND: "unknown service"`},
		{
			"no health service", trailersOnly("12", "unknown service grpc.health.v1%2EHealth"),
			"gRPC status UNIMPLEMENTED", `gRPC status UNIMPLEMENTED: "unknown service grpc.health.v1.Health"`,
		},
		{"coloured message", trailersOnly("2", "%1b[31m%0aup"), "gRPC status UNKNOWN", `gRPC status UNKNOWN: "\x1b[31m\nup"`},
		{
			"long message", trailersOnly("14", strings.Repeat("x", 10000)), "gRPC status UNAVAILABLE",
			`gRPC status UNAVAILABLE: "` + strings.Repeat("x", 160) + `..."`,
		},
		{"fails after the message", healthService("13", framed(8, 1)), "gRPC status INTERNAL", ""},
		{"status of the future", healthService("999", framed(8, 1)), "gRPC status 999", ""},
		{"status that is none", healthService("zero", framed(8, 1)), "bad response", `bad response: grpc-status "zero"`},
		{"no status", healthService("", framed(8, 1)), "bad response", "bad response: no grpc-status"},
		{"no message", healthService("0", nil), "bad response", "bad response: no message"},
		{"too much", healthService("0", make([]byte, 1<<20)), "bad response", "bad response: over 4096 bytes"},
		{"not found", http.NotFound, "HTTP status 404", ""},
		{
			"a page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
			"bad response", `bad response: content-type "text/html; charset=utf-8"`,
		},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer in time", ""},
		{"hangs after the message", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write(framed(8, 1))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "no answer in time", ""},
		{
			"breaks off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "bad response",
			"bad response: stream error: stream ID 1; INTERNAL_ERROR; received from peer",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			limit := 20 * time.Second
			if c.want == "no answer in time" {
				limit = 200 * time.Millisecond
			}
			if c.text == "" {
				c.text = c.want
			}
			text, why := verdict(t, limit, (&GRPC{}).Probe, serveHTTP(t, "tcp", "127.0.0.1:0", nil, c.serve))
			if why != c.want || text != c.text {
				t.Errorf("got %q, reason %q; want %q, reason %q", text, why, c.text, c.want)
			}
		})
	}
}

func TestGRPCAsksWhatItWasToldTo(t *testing.T) {
	ours := newAuthority(t)
	path := filepath.Join(t.TempDir(), "grpc.sock")
	for _, c := range []struct {
		network, listen string
		probe           GRPC
		want            string // host and message
	}{
		{"tcp", "127.0.0.1:0", GRPC{}, `address ""`},
		{"tcp", "127.0.0.1:0", GRPC{Service: "a.b.C", Host: "one.test"}, `one.test "\n\x05a.b.C"`},
		{
			"tcp", "127.0.0.1:0",
			GRPC{Service: strings.Repeat("s", 300), Host: "one.test", TLS: ours.client()},
			`one.test "\n\xac\x02` + strings.Repeat("s", 300) + `"`,
		},
		{"unix", path, GRPC{Service: "x"}, `localhost "\n\x01x"`},
	} {
		asked := make(chan string, 1)
		serve := healthService("0", framed(8, 1))
		var config *tls.Config
		if c.probe.TLS != nil {
			config = ours.server(t, "one.test", time.Now().Add(time.Hour))
		}
		address := serveHTTP(t, c.network, c.listen, config, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			length := int(binary.BigEndian.Uint32(body[1:5]))
			asked <- fmt.Sprintf("%s %s %s %s %s %s %d %d %v %q", r.Method, r.URL.Path, r.Proto, r.Header.Get("Content-Type"),
				r.Header.Get("Te"), r.Host, body[0], length-len(body[5:]), r.Header.Get("Grpc-Timeout") != "", body[5:])
			serve(w, r)
		})
		if text, _ := verdict(t, 5*time.Second, c.probe.Probe, address); text != "" {
			t.Fatalf("%s: got %q; want it to pass", address, text)
		}
		host, message, _ := strings.Cut(strings.Replace(c.want, "address", address, 1), " ")
		want := "POST /grpc.health.v1.Health/Check HTTP/2.0 application/grpc trailers " + host + " 0 0 true " + message
		if got := <-asked; got != want {
			t.Errorf("server was asked\n%s; want\n%s", got, want)
		}
	}
}

func TestGRPCOfATLSServerWithoutHTTP2(t *testing.T) {
	ours := newAuthority(t)
	config := func(protocols ...string) *tls.Config {
		c := ours.server(t, "one.test", time.Now().Add(time.Hour))
		c.NextProtos = protocols
		return c
	}
	for _, c := range []struct {
		name   string
		config *tls.Config
		want   string
	}{
		{"of HTTP/1.1", config("http/1.1"), "TLS handshake failed"}, // with an alert for it
		{"without ALPN", config(), "no HTTP/2"},
	} {
		l := serveConns(t, "tcp", "127.0.0.1:0", func(conn net.Conn) { _, _ = io.Copy(io.Discard, tls.Server(conn, c.config)) })
		p := GRPC{Host: "one.test", TLS: ours.client()}
		if text, why := verdict(t, 20*time.Second, p.Probe, l.Addr().String()); why != c.want {
			t.Errorf("%s: got %q, reason %q; want reason %q", c.name, text, why, c.want)
		}
	}
}
