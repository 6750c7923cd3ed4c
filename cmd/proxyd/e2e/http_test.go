package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// newSite starts a proxy with one worker before an origin.
func newSite(t *testing.T, o *origin) *proxy {
	t.Helper()
	p := newProxy(t)
	p.workers = 1
	p.write(site{servers: []string{o.address}})
	p.start()
	return p
}

func TestConnectionsAreKeptOnBothSides(t *testing.T) {
	o := newOrigin(t, "origin", "", nil, nil)
	p := newSite(t, o)
	c := connect(t, p.address)
	for i := range 50 {
		a, err := c.ask(http.MethodPost, fmt.Sprintf("/%d", i), "body")
		if err != nil || a.closing {
			t.Fatalf("request %d: got %v, %v; want it on the same connection", i, a, err)
		}
		a.want(t, http.StatusOK)
	}
	if n := o.connections.Load(); n != 1 {
		t.Errorf("connections to the origin: got %d; want 1", n)
	}
	a := c.get(t, "/", "Connection: close")
	if !a.closing || !c.closed(t) {
		t.Errorf("with Connection: close: want the connection closed")
	}
	p.get("/").want(t, http.StatusOK)
	if n := o.connections.Load(); n != 1 {
		t.Errorf("connections to the origin, after another client: got %d; want 1", n)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	p := newSite(t, newOrigin(t, "origin", "", nil, nil))
	c := connect(t, p.address)
	const n = 100
	var all strings.Builder
	for i := range n {
		switch i % 3 {
		case 0:
			all.WriteString(request(http.MethodGet, fmt.Sprintf("/%d", i), ""))
		case 1:
			all.WriteString(request(http.MethodPost, fmt.Sprintf("/%d", i), strings.Repeat("x", i*10)))
		case 2:
			all.WriteString(request(http.MethodPost, fmt.Sprintf("/%d", i), "", "Transfer-Encoding: chunked") + "1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n")
		}
	}
	if err := c.send(all.String()); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		a, err := c.receive(http.MethodGet)
		if err != nil {
			t.Fatalf("response %d: %v", i, err)
		}
		body := []string{"", strings.Repeat("x", i*10), "abc"}[i%3]
		if !strings.Contains(a.body, fmt.Sprintf(" /%d host=", i)) || !strings.HasSuffix(a.body, " body="+body) {
			t.Fatalf("response %d: got %q", i, a.body)
		}
	}
}

func TestResponsesWithoutABody(t *testing.T) {
	o := newOrigin(t, "origin", "", nil, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/head":
			w.Header().Set("Content-Length", "12345")
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/304":
			w.Header().Set("ETag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		default:
			fmt.Fprint(w, "body")
		}
	})
	c := connect(t, newSite(t, o).address)
	for _, test := range []struct {
		method, path string
		status       int
		length       int64
	}{
		{http.MethodHead, "/head", 200, 12345},
		{http.MethodGet, "/204", 204, 0},
		{http.MethodGet, "/304", 304, 0},
		{http.MethodHead, "/204", 204, 0},
		{http.MethodHead, "/", 200, 4},
	} {
		a, err := c.ask(test.method, test.path, "")
		if err != nil || a.status != test.status || a.body != "" || a.closing {
			t.Fatalf("%s %s: got %+v, %v; want %d and no body", test.method, test.path, a, err, test.status)
		}
		if test.method == http.MethodHead && test.status == 200 && a.length != test.length {
			t.Errorf("%s %s: got Content-Length %d; want %d", test.method, test.path, a.length, test.length)
		}
		// What is not a body of this response would be taken for the next.
		if a := c.get(t, "/"); a.body != "body" {
			t.Fatalf("after %s %s: got %q; want body", test.method, test.path, a.body)
		}
	}
	if n := o.connections.Load(); n != 1 {
		t.Errorf("connections to the origin: got %d; want 1", n)
	}
}

func TestChunkedBothWays(t *testing.T) {
	o := newOrigin(t, "origin", "", nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-After")
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%v %v %s %s,", r.TransferEncoding, err, r.Trailer.Get("X-Sum"), body)
		_ = http.NewResponseController(w).Flush()
		fmt.Fprint(w, "second chunk")
		w.Header().Set("X-After", "done")
	})
	c := connect(t, newSite(t, o).address)
	for range 3 {
		if err := c.send(request(http.MethodPost, "/", "", "Transfer-Encoding: chunked", "Trailer: X-Sum", "TE: trailers") +
			"5\r\nhello\r\n1;ext=\"a b\"\r\n \r\n5\r\nworld\r\n0\r\nX-Sum: 42\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		a, err := c.receive(http.MethodPost)
		if err != nil {
			t.Fatal(err)
		}
		if want := "[chunked] <nil> 42 hello world,second chunk"; a.body != want || !a.chunked {
			t.Errorf("got %q, chunked %v; want %q in chunks", a.body, a.chunked, want)
		}
		if a.trailer.Get("X-After") != "done" {
			t.Errorf("trailers: got %v; want X-After: done", a.trailer)
		}
	}
}

func TestInterimResponsesAreRelayed(t *testing.T) {
	o := newOrigin(t, "origin", "", nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		fmt.Fprint(w, "final")
	})
	c := connect(t, newSite(t, o).address)
	a := c.get(t, "/")
	a.want(t, http.StatusEarlyHints)
	if a.header.Get("Link") == "" {
		t.Errorf("103: got %v; want its Link", a.header)
	}
	if a, err := c.receive(http.MethodGet); err != nil || a.status != http.StatusOK || a.body != "final" {
		t.Errorf("got %+v, %v; want 200, final", a, err)
	}
}

func TestExpectContinue(t *testing.T) {
	o := newOrigin(t, "origin", "", nil, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		body, err := io.ReadAll(r.Body) // this makes net/http send 100
		fmt.Fprintf(w, "%s %v", body, err)
	})
	p := newSite(t, o)
	c := connect(t, p.address)
	for range 2 {
		if err := c.send(request(http.MethodPost, "/yes", "", "Content-Length: 5", "Expect: 100-continue")); err != nil {
			t.Fatal(err)
		}
		a, err := c.receive(http.MethodPost)
		if err != nil {
			t.Fatal(err)
		}
		a.want(t, http.StatusContinue)
		if err := c.send("hello"); err != nil {
			t.Fatal(err)
		}
		if a, err = c.receive(http.MethodPost); err != nil || a.body != "hello <nil>" {
			t.Errorf("got %+v, %v; want the body back", a, err)
		}
	}
	if err := c.send(request(http.MethodPost, "/no", "", "Content-Length: 5", "Expect: 100-continue")); err != nil {
		t.Fatal(err)
	}
	a, err := c.receive(http.MethodPost)
	if err != nil {
		t.Fatal(err)
	}
	a.want(t, http.StatusRequestEntityTooLarge)
	if !c.closed(t) {
		t.Errorf("a body that was not asked for: want the connection closed")
	}
	p.get("/yes").want(t, http.StatusOK)
}

func TestAClientThatGoesAwayCancelsItsRequest(t *testing.T) {
	slow := newSlowOrigin(t)
	cancelled := make(chan struct{}, 1)
	inner := slow.handler
	slow.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r)
		if r.Context().Err() != nil {
			cancelled <- struct{}{}
		}
	})
	p := newSite(t, slow.origin)
	for _, reset := range []bool{false, true} {
		c := connect(t, p.address)
		if err := c.send(request(http.MethodGet, "/", "")); err != nil {
			t.Fatal(err)
		}
		<-slow.began
		if reset {
			abort(c.Conn)
		} else {
			c.Close()
		}
		await(t, "cancellation", func() bool { return len(cancelled) > 0 })
		<-cancelled
	}
	close(slow.release)
	p.get("/").want(t, http.StatusOK)
}
