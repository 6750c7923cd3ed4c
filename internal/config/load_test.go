package config

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manyRoutes is a file with n routes, each with a host and a path of its own.
func manyRoutes(n int) string {
	var b strings.Builder
	b.WriteString("listener \"web\" {\n  address = \":8080\"\n")
	for i := range n {
		fmt.Fprintf(&b, `
  route "service_%d" {
    hosts      = ["service-%d.example.com"]
    paths      = ["/v1/service-%d/*"]
    rate_limit = ["per_app"]
    request_headers {
      set = { "x-service" = "%d" }
    }
    upstream = "app_%d"
  }
`, i, i, i, i, i%100)
	}
	b.WriteString("}\nrate_limit \"per_app\" {\n  key  = request.header[\"appid\"]\n  rate = \"10/s\"\n}\n")
	for i := range 100 {
		fmt.Fprintf(&b, "upstream \"app_%d\" {\n  servers = [\"10.0.0.%d:80\"]\n}\n", i, i+1)
	}
	return b.String()
}

// processTime is what the process has used of its CPUs. Unlike the time on the
// wall it does not depend on what else the machine does.
func processTime(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestManyRoutes(t *testing.T) {
	const routes = 10_000
	quarter, text := manyRoutes(routes/4), manyRoutes(routes)
	before := processTime(t)
	if _, _, err := load(t, quarter); err != nil {
		t.Fatal(err)
	}
	start := processTime(t)
	b, c, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	loaded := processTime(t)
	decoded, err := DecodeBundle(b.Encode())
	if err != nil {
		t.Fatal(err)
	}
	coded := processTime(t)
	again, err := decoded.Parse()
	if err != nil {
		t.Fatal(err)
	}
	end := processTime(t)
	t.Logf("%d KiB, CPU time: load %v, encode and decode %v, parse %v", len(text)>>10, loaded-start, coded-loaded, end-coded)
	if small, large := start-before, loaded-start; large > 12*small {
		t.Errorf("%d routes took %v, a quarter of them %v; want four times as long, not the square of that", routes, large, small)
	}
	for _, c := range []*Config{c, again} {
		if n := len(c.Listeners[0].Routes); n != routes {
			t.Fatalf("got %d routes; want %d", n, routes)
		}
		last := c.Listeners[0].Routes[routes-1]
		if last.Hosts[0] != "service-9999.example.com" || last.Paths[0].Text != "/v1/service-9999/" || last.Upstream != c.UpstreamOf["app_99"] {
			t.Errorf("got %+v as the last route", last)
		}
	}
}

func TestTooManyRoutes(t *testing.T) {
	text := "listener \"web\" {\n address = \":80\"\n" + strings.Repeat("route \"a\" {\n}\n", maxRoutes+2) + "}\n"
	_, _, err := load(t, text)
	if err == nil || !strings.Contains(err.Error(), "more are not shown") {
		t.Errorf("got %.200v; want mistakes, a bounded number of them", err)
	}
}

func BenchmarkLoad(b *testing.B) {
	text := manyRoutes(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := load(b, text); err != nil {
			b.Fatal(err)
		}
	}
}
