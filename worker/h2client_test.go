package worker

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/http2"
)

// listensH2C makes the listener one that speaks HTTP/2 without TLS.
func listensH2C(route string) string {
	return route + "\n}\nh2c = true\nlimits = {\n headers = 100"
}

// newHTTP2Client returns a client that speaks HTTP/2 only: over TLS if config is not
// nil.
func newHTTP2Client(t testing.TB, config *tls.Config) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(config != nil)
	protocols.SetUnencryptedHTTP2(config == nil)
	tr := &http.Transport{Protocols: protocols, TLSClientConfig: config}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// fetch sends a request and returns the response with its body read.
func fetch(t testing.TB, c *http.Client, method, url string, body io.Reader, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: body after %d bytes: %v", method, url, len(got), err)
	}
	return resp, string(got)
}

// tricky is a handler of responses of all shapes.
func tricky(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		w.Header().Set("Trailer", "X-Sum")
		_ = http.NewResponseController(w).EnableFullDuplex() // which HTTP/2 always is
		n, _ := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", fmt.Sprint(n, r.Trailer.Get("X-Sent")))
	case "/hints":
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		fmt.Fprint(w, "after hints")
	case "/early":
		w.WriteHeader(403) // and the body is not read
	case "/304":
		w.WriteHeader(304)
	case "/big":
		_, _ = w.Write(make([]byte, 5<<20))
	case "/cut":
		_, _ = w.Write(make([]byte, 100<<10))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.Header.Get("Via"), r.Header.Get("X-Forwarded-Proto"))
	}
}

// startTricky runs an origin that speaks HTTP/1.1, or HTTP/2 without TLS.
func startTricky(t testing.TB) string {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(tricky), Protocols: protocols}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

// checkShapes sends requests of all shapes to base. trailer is what the server makes
// of one of the request, that it was not told to expect.
func checkShapes(t *testing.T, c *http.Client, base, hello, trailer string) {
	t.Helper()
	if resp, got := fetch(t, c, "GET", base+"/", nil); got != hello || resp.ProtoMajor != 2 {
		t.Errorf("hello: got %q by %s; want %q by HTTP/2", got, resp.Proto, hello)
	}
	for _, n := range []int{0, 1, 100 << 10, 3 << 20} {
		body := bytes.Repeat([]byte("x"), n)
		if resp, got := fetch(t, c, "POST", base+"/echo", bytes.NewReader(body)); got != string(body) || resp.Trailer.Get("X-Sum") != fmt.Sprint(n) {
			t.Errorf("echo of %d bytes: got %d, trailers %v", n, len(got), resp.Trailer)
		}
	}
	req, err := http.NewRequest("POST", base+"/echo", io.MultiReader(strings.NewReader("no length"))) // so it goes by chunks
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"X-Sent": {"late"}}
	if resp, err := c.Do(req); err != nil {
		t.Errorf("trailers: %v", err)
	} else {
		if got, err := io.ReadAll(resp.Body); string(got) != "no length" || err != nil || resp.Trailer.Get("X-Sum") != trailer {
			t.Errorf("trailers: got %q, %v, %v; want them passed both ways", got, err, resp.Trailer)
		}
		resp.Body.Close()
	}
	if _, got := fetch(t, c, "GET", base+"/hints", nil); got != "after hints" {
		t.Errorf("behind 103: got %q", got)
	}
	for path, want := range map[string]int{"/304": 304, "/nowhere": 200} {
		if resp, got := fetch(t, c, "HEAD", base+path, nil); resp.StatusCode != want || got != "" {
			t.Errorf("HEAD %s: got %d %q; want %d", path, resp.StatusCode, got, want)
		}
	}
	if _, got := fetch(t, c, "GET", base+"/big", nil); len(got) != 5<<20 {
		t.Errorf("big: got %d bytes", len(got))
	}
	if resp, err := c.Get(base + "/cut"); err != nil {
		t.Errorf("cut: %v", err)
	} else {
		if n, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Errorf("cut: got a clean end after %d bytes; want an error", n)
		}
		resp.Body.Close()
	}
	if resp, _ := fetch(t, c, "POST", base+"/early", bytes.NewReader(make([]byte, 1<<20))); resp.StatusCode != 403 {
		t.Errorf("early: got %d; want 403", resp.StatusCode)
	}
}

func TestHTTP2Client(t *testing.T) {
	a := newAuthority(t)
	rest := upstreamOf(startTricky(t))
	for scheme, config := range map[string]*tls.Config{"http": nil, "https": a.client()} {
		t.Run(scheme, func(t *testing.T) {
			route := listensH2C(`upstream = "up"`)
			if config != nil {
				route = withCA(a.listens("", ""), "")
			}
			p := startProxy(t, route, rest)
			c := newHTTP2Client(t, config)
			base := scheme + "://" + p.addr
			checkShapes(t, c, base, fmt.Sprintf("GET %s 2.0 proxyd %s", p.addr, scheme), "9late")
			checkMany(t, c, base)
			if got := p.shared.Counters[shm.Accepted].Load(); got != 1 {
				t.Errorf("connections: got %d; want 1", got)
			}
			p.await(t, "the connection is parked", func() bool {
				for _, l := range p.listeners {
					return l.idle.Len() == 1
				}
				return false
			})
			fetch(t, c, "GET", base+"/", nil) // and it goes on from there
			if t.Failed() || strings.Contains(p.log.String(), "bug") {
				t.Error(p.log)
			}
		})
	}
}

// A draining worker lets the requests end that have come, and those on their way,
// and then the connection.
func TestHTTP2Drains(t *testing.T) {
	release := make(chan struct{})
	came := make(chan struct{}, 1)
	p := startProxy(t, listensH2C(`upstream = "up"`), upstreamOf(startOrigin(t, reads(func(*http.Request, string) string {
		came <- struct{}{}
		<-release
		return okResponse
	}))))
	c := newHTTP2Client(t, nil)
	answered := make(chan error, 1)
	go func() {
		resp, err := c.Get("http://" + p.addr)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		answered <- err
	}()
	<-came
	drained := make(chan struct{})
	p.onLoop(func() { p.drain(func() { close(drained) }) })
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("a request under way: got %v; want its response", err)
	}
	select {
	case <-drained:
	case <-time.After(10 * time.Second):
		t.Error("the worker has not drained")
	}
}

// After as many requests as the listener allows, the connection ends and none is
// lost.
func TestHTTP2RequestsPerConnection(t *testing.T) {
	p := startProxy(t, listensH2C(`upstream = "up"`)+"\nrequests_per_connection = 3", upstreamOf(startOrigin(t, answers(okResponse))))
	c := newHTTP2Client(t, nil)
	for range 12 {
		fetch(t, c, "GET", "http://"+p.addr+"/", nil)
	}
	if got := p.shared.Counters[shm.Accepted].Load(); got < 3 || got > 5 {
		t.Errorf("connections for 12 requests: got %d; want about 4", got)
	}
}

// Who leaves a header block unfinished is not waited for, and whoever means HTTP/2
// and does it wrong hears so in HTTP/2.
func TestHTTP2Unfinished(t *testing.T) {
	p := startProxy(t, listensH2C(`upstream = "up"`), upstreamOf("127.0.0.1:1"))
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for name, raw := range map[string]string{
		"preface":      http2.Preface[:10],
		"settings":     http2.Preface,
		"header block": http2.Preface + settings + "\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82",
		"no preface":   "INVALID PREFACE\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := p.dial(t)
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(c, raw); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if err != nil || bytes.HasPrefix(got, []byte("HTTP")) {
				t.Errorf("got %q, %v; want frames and the end", got, err)
			}
		})
	}
}

// HTTP/1 is served beside it.
func TestHTTP1BesideH2C(t *testing.T) {
	p := startProxy(t, listensH2C(`upstream = "up"`), upstreamOf(startOrigin(t, answers(okResponse))))
	for _, request := range []string{getRequest, strings.Replace(getRequest, "GET", "PUT", 1), strings.Replace(getRequest, "GET", "PROPFIND", 1)} {
		c := p.dial(t)
		if _, err := io.WriteString(c, request[:2]); err != nil {
			t.Fatal(err)
		}
		p.await(t, "the beginning was read", func() bool { return len(p.reading) == 1 })
		gets(t, c, request[2:])
	}
}

// An asker is a client of HTTP/2 that allocates next to nothing.
type asker struct {
	*http2.Conn
	nc   net.Conn
	b    []byte
	have int // b[:have] is received
}

// ask sends a request and reads the response.
func (c *asker) ask(t testing.TB) {
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.TryWrite([]byte(getRequest)); err != nil {
		t.Fatal(err)
	}
	for {
		if out := c.Output(); len(out) > 0 {
			if _, err := c.nc.Write(out); err != nil {
				t.Fatal(err)
			}
			c.Sent(len(out))
		}
		for err = nil; err == nil; {
			_, err = s.TryRead(c.b[16<<10:])
		}
		if err == io.EOF {
			return
		}
		n, err := c.nc.Read(c.b[c.have : 16<<10])
		if err != nil {
			t.Fatal(err)
		}
		c.have += n
		if n, err = c.Receive(c.b[:c.have]); err != nil {
			t.Fatal(err)
		}
		c.have = copy(c.b, c.b[n:c.have])
	}
}

// A request over HTTP/2 allocates nothing in the steady state but what HPACK makes
// of the fields: nor does one that goes to the server over HTTP/2.
func TestForwardHTTP2Allocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, c := range map[string]struct {
		rest string
		most uint64
	}{
		"from clients":   {upstreamOf(startOrigin(t, answers(okResponse))), 12},
		"and to servers": {speaking("h2c", upstreamOf(leaving(t, 0, nil))), 30}, // the server's are among them
	} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, listensH2C(`upstream = "up"`), c.rest)
			client := &asker{Conn: http2.NewClient(nil, "http"), nc: p.dial(t), b: make([]byte, 32<<10)}
			for range 200 {
				client.ask(t) // fill the pools
			}
			const requests = 2000
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before) // not testing.AllocsPerRun: on one processor the loop is slow to let go
			for range requests {
				client.ask(t)
			}
			runtime.ReadMemStats(&after)
			if got := (after.Mallocs - before.Mallocs) / requests; got > c.most {
				t.Errorf("allocations for a request, the test's included: got %v; want at most %v", got, c.most)
			}
		})
	}
}

func BenchmarkForwardHTTP2(b *testing.B) {
	p := startProxy(b, listensH2C("upstream = \"up\"\nrate_limit = [\"per_app\"]"), upstreamOf(startOrigin(b, answers(okResponse)))+limitByApp)
	client := &asker{Conn: http2.NewClient(nil, "http"), nc: p.dial(b), b: make([]byte, 32<<10)}
	for range 100 {
		client.ask(b)
	}
	b.ReportAllocs()
	for b.Loop() {
		client.ask(b)
	}
}

// A client that makes room for a response and then does not read keeps neither the
// connection nor its stream: for as long as the listener lets a write wait.
func TestHTTP2ClientStalls(t *testing.T) {
	for name, window := range map[string]int{"the socket": 1 << 30, "the window": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, listensH2C(`upstream = "up"`), upstreamOf(startTricky(t)))
			p.onLoop(func() {
				for _, v := range p.current.services {
					v.config.Timeouts.Write = time.Second
				}
			})
			client := http2.NewClient(&http2.Limits{StreamWindow: max(window, 1), ConnWindow: window}, "http")
			var out []byte
			for range 20 {
				s, err := client.Open()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.TryWrite([]byte("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
					t.Fatal(err)
				}
			}
			out = append(out, client.Output()...)
			if _, err := p.dial(t).Write(out); err != nil {
				t.Fatal(err)
			}
			p.await(t, "the requests are there", func() bool { return p.under() == 20 })
			p.await(t, "they are given up", func() bool { return p.under() == 0 })
		})
	}
}
