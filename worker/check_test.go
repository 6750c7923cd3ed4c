package worker

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/lb"
)

// serveHealth answers probes by HTTP with that status, and by gRPC with the state of
// the service: 1 is SERVING, 2 NOT_SERVING.
func serveHealth(t *testing.T, secure bool, status int, state byte) (address string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/grpc.health.v1.Health/Check" && r.ProtoMajor == 2 {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write([]byte{0, 0, 0, 0, 2, 1 << 3, state}) // a message of two bytes: field 1
			w.Header().Set("Grpc-Status", "0")
			return
		}
		if r.URL.Path != "/healthz" || r.Host != "health.test" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(status)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	if secure {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// An upstream's health block becomes the probe that it asks for, with TLS if the
// upstream has it.
func TestChecks(t *testing.T) {
	const http200, expect = `health "http" { path = "/healthz" }`, `health "http" {
  path   = "/healthz"
  expect = response.status == 418
}`
	for _, c := range []struct {
		health string
		status int
		state  byte
		want   string // "": well
	}{
		{`health "tcp" {}`, 500, 2, ""},
		{http200, 200, 1, ""},
		{http200, 302, 1, ""},
		{http200, 503, 1, "503"},
		{expect, 418, 1, ""},
		{expect, 200, 1, "200"},
		{`health "grpc" {}`, 200, 1, ""},
		{`health "grpc" {}`, 200, 2, "NOT_SERVING"},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%.13s %d %d %v", c.health, c.status, c.state, secure), func(t *testing.T) {
				more := "host = \"health.test\"\n" + c.health
				if secure {
					more += "\ntls {\n verify = false\n}"
				}
				address := serveHealth(t, secure, c.status, c.state)
				p := startProxy(t, `upstream = "up"`, balanced(more, address))
				ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
				defer stop()
				err := p.current.upstreams[0].check().Probe(ctx, address)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("got %v; want %q", err, c.want)
				}
			})
		}
	}
}

// A server counts as up before its first probe where the file says so.
func TestCheckInitial(t *testing.T) {
	address := startOrigin(t, answers(okResponse))
	for text, want := range map[string]lb.State{`health "tcp" {}`: lb.Unknown, "health \"tcp\" {\n initial = \"up\"\n}": lb.Up} {
		p := startProxy(t, `upstream = "up"`, balanced(text, address))
		if got := p.current.upstreams[0].check().Initial; got != want {
			t.Errorf("%s: initial state %v; want %v", text, got, want)
		}
	}
}
