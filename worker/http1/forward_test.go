package http1

import (
	"net/netip"
	"testing"
)

func TestRequestForward(t *testing.T) {
	const (
		via  = "Via: 1.1 proxyd\r\n\r\n"
		mine = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: probe.test\r\n" + via
		line = "GET /k HTTP/1.1\r\n"
		head = line + "Host: probe.test\r\n"
	)
	ip, proto := []byte("192.0.2.7"), []byte("https")
	plain := Forward{ClientIP: ip, Proto: proto}
	trusted := Forward{ClientIP: ip, Proto: proto, KeepXFF: true}
	for _, test := range []struct {
		name, head string
		f          Forward
		want       string
	}{
		{"all kept", head + "a:1\r\nB:  2 \r\nA: 3\r\n\r\n", plain, head + "a:1\r\nB:  2 \r\nA: 3\r\n" + mine},
		{"blank line before", "\r\n" + head + "\r\n", plain, head + mine},
		{
			"for this hop", "GET /k HTTP/1.1\r\nConnection: keep-alive, X-Hop ,x-hop2\r\nX-Hop: 1\r\nHost: probe.test\r\n" +
				"Keep-Alive: 3\r\nProxy-Connection: x\r\nTE: trailers\r\nA: 1\r\nTrailer: T\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n" +
				"B: 2\r\nProxy-Authorization: p\r\nX-Hop2: 2\r\nX-Hop: 3\r\n\r\n",
			plain, head + "A: 1\r\nB: 2\r\n" + mine,
		},
		{
			"host replaced in its place", line + "A: 1\r\nHost: probe.test\r\nB: 2\r\n\r\n",
			Forward{Host: []byte("up.test"), ClientIP: ip, Proto: proto, Extra: []byte("E: e\r\n")},
			line + "A: 1\r\nHost: up.test\r\nB: 2\r\n" + mine[:len(mine)-len(via)] + "E: e\r\n" + via,
		},
		{"absolute", "GET http://probe.test/k HTTP/1.1\r\nHost: other\r\nA: 1\r\n\r\n", plain, head + "A: 1\r\n" + mine},
		{"absolute without path", "GET http://probe.test?q HTTP/1.1\r\nHost: other\r\n\r\n", plain, "GET /?q HTTP/1.1\r\nHost: probe.test\r\n" + mine},
		{
			"asterisk", "OPTIONS * HTTP/1.1\r\nHost: probe.test\r\nMax-Forwards: 5\r\nA: 1\r\n\r\n", plain,
			"OPTIONS * HTTP/1.1\r\nHost: probe.test\r\nA: 1\r\nMax-Forwards: 4\r\n" + mine,
		},
		{"absolute to asterisk", "OPTIONS http://probe.test HTTP/1.1\r\nHost: a\r\n\r\n", plain, "OPTIONS * HTTP/1.1\r\nHost: probe.test\r\n" + mine},
		{"other max-forwards", head + "Max-Forwards: 5\r\n\r\n", plain, head + "Max-Forwards: 5\r\n" + mine},
		{"1.2", "GET /k HTTP/1.2\r\nHost: probe.test\r\n\r\n", plain, head + mine},
		{
			"1.0", "POST /k HTTP/1.0\r\nA: 1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", plain,
			"POST /k HTTP/1.1\r\nA: 1\r\nContent-Length: 5\r\nHost: \r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nVia: 1.0 proxyd\r\n\r\n",
		},
		{
			"1.0 with a host to send", "GET /k HTTP/1.0\r\n\r\n",
			Forward{Host: []byte("up.test")},
			"GET /k HTTP/1.1\r\nHost: up.test\r\nVia: 1.0 proxyd\r\n\r\n",
		},
		{
			"chunked", "POST /k HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: CHUNKED\r\nExpect: 100-continue\r\nA: 1\r\n\r\n", plain,
			"POST /k HTTP/1.1\r\nHost: probe.test\r\nExpect: 100-continue\r\nA: 1\r\nTransfer-Encoding: chunked\r\n" + mine,
		},
		{"expect without a body", head + "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", plain, head + "Content-Length: 0\r\n" + mine},
		{
			"their x-forwarded", head + "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-proto: http\r\nX-FORWARDED-HOST: evil\r\nX-Forwarded-For: 2\r\n\r\n",
			plain, head + mine,
		},
		{
			"their x-forwarded, trusted", head + "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: \r\nX-Forwarded-For: 2\r\n\r\n",
			trusted, head + "X-Forwarded-Proto: http\r\nX-Forwarded-For: 1.1.1.1, 2, 192.0.2.7\r\nX-Forwarded-Host: probe.test\r\n" + via,
		},
		{"trusted without any", head + "\r\n", trusted, head + mine},
		{"via kept", head + "Via: 1.0 fred\r\n\r\n", Forward{}, head + "Via: 1.0 fred\r\nX-Forwarded-Host: probe.test\r\n" + via},
		{
			"another target", "GET /v1/k?q HTTP/1.1\r\nHost: probe.test\r\nA: 1\r\n\r\n",
			Forward{URI: []byte("/k?q")},
			"GET /k?q HTTP/1.1\r\nHost: probe.test\r\nA: 1\r\nX-Forwarded-Host: probe.test\r\n" + via,
		},
		{
			"another target for absolute-form", "GET http://probe.test/v1 HTTP/1.1\r\nHost: other\r\n\r\n",
			Forward{URI: []byte("/")},
			"GET / HTTP/1.1\r\nHost: probe.test\r\nX-Forwarded-Host: probe.test\r\n" + via,
		},
		{
			"another name", head + "Via: 1.1 proxyd\r\n\r\n",
			Forward{Pseudonym: "edge-1"},
			head + "Via: 1.1 proxyd\r\nX-Forwarded-Host: probe.test\r\nVia: 1.1 edge-1\r\n\r\n",
		},
		{"another name to 1.0", "GET /k HTTP/1.0\r\n\r\n", Forward{Pseudonym: "edge-1"}, line + "Host: \r\nVia: 1.0 edge-1\r\n\r\n"},
	} {
		lim := testLimits
		lim.Pseudonym = test.f.Pseudonym
		var r Request
		if n, err := r.Parse([]byte(test.head), &lim); n != len(test.head) {
			t.Fatalf("%s: %d, %v", test.name, n, err)
		}
		if got := string(r.AppendForward([]byte("before"), &test.f)); got != "before"+test.want {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got[len("before"):], test.want)
		}
	}
}

func TestAnswer(t *testing.T) {
	for _, test := range []struct {
		a    Answer
		want string
	}{
		{
			Answer{Status: 429, Date: testDate, Extra: []byte("Retry-After: 1\r\n")},
			"HTTP/1.1 429 Too Many Requests\r\n" + string(testDate) + "Retry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n" +
				"Content-Length: 22\r\n\r\n429 Too Many Requests\n",
		},
		{
			Answer{Status: 405, Close: true, HeadOnly: true},
			"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\nContent-Type: text/plain; charset=utf-8\r\n" +
				"Content-Length: 23\r\nConnection: close\r\n\r\n",
		},
		{
			Answer{Status: 599, KeepAlive: true},
			"HTTP/1.1 599 Status\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 11\r\nConnection: keep-alive\r\n\r\n599 Status\n",
		},
		{
			Answer{Status: 200, Body: []byte("{}"), ContentType: "application/json"},
			"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		},
		{
			Answer{Status: 200, Body: []byte("{}"), ContentType: "application/json", HeadOnly: true},
			"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n",
		},
		{Answer{Status: 200, Body: []byte{}}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{
			Answer{Status: 308, Extra: []byte("Location: https://a.test/\r\n"), Body: []byte{}},
			"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://a.test/\r\nContent-Length: 0\r\n\r\n",
		},
		{Answer{Status: 204, Date: testDate, Close: true}, "HTTP/1.1 204 No Content\r\n" + string(testDate) + "Connection: close\r\n\r\n"},
		{Answer{Status: 204, Body: []byte("x"), ContentType: "a/b"}, "HTTP/1.1 204 No Content\r\n\r\n"},
		{Answer{Status: 304, Body: []byte("x"), KeepAlive: true}, "HTTP/1.1 304 Not Modified\r\nConnection: keep-alive\r\n\r\n"},
		{
			Answer{
				Status: 405, Date: testDate, Extra: []byte("Allow: GET\r\nContent-Type: a/b\r\n"), Body: []byte("x"), ContentType: "text/plain",
				Edit: NewHeaderEdit([]string{"date", "allow", "content-type", "content-length"}),
			},
			"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Type: a/b\r\nContent-Length: 1\r\n\r\nx",
		},
		{Answer{Status: 205, Body: []byte("x"), ContentType: "a/b"}, "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"},
	} {
		if got := string(test.a.Append([]byte("before"))); got != "before"+test.want {
			t.Errorf("%d:\n got %q\nwant %q", test.a.Status, got[len("before"):], test.want)
		}
	}
}

// Nothing on the way of a message allocates once buffers have grown.
func TestAllocations(t *testing.T) {
	var req Request
	var resp Response
	var c Chunked
	dst := make([]byte, 0, 8192)
	const hop = "POST http://a/x?q=1 HTTP/1.1\r\nHost: b\r\nConnection: X-A-Name-That-Is-Longer-Than-Thirty-Two-Bytes\r\n" +
		"X-A-Name-That-Is-Longer-Than-Thirty-Two-Bytes: 1\r\nX-Forwarded-For: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
	browser, odd, response, refused := []byte(browserHead), []byte(hop), []byte(responseHead), []byte("G(T")
	body := []byte("5;x=y\r\nhello\r\n0\r\nX-T: v\r\nContent-Type: x\r\n\r\n")
	f, o := testForward, ForwardResponse{Date: testDate, Chunked: true}
	f.KeepXFF = true
	f.Edit = NewHeaderEdit([]string{"accept-language", "cookie", "x-none"})
	f.Pseudonym = "edge-1"
	o.Edit = NewHeaderEdit([]string{"server", "date"})
	name, value, prefix := []byte("X-A"), []byte("a value"), []byte("/articles")
	addrs := make([]netip.Addr, 0, MaxForwardedFor)
	refusal := Answer{Status: 429, Date: testDate}
	own := Answer{Status: 200, Body: value, ContentType: "text/plain"}
	run := func() {
		for _, head := range [][]byte{browser, odd} {
			if n, err := req.Parse(head, &testLimits); n != len(head) {
				t.Fatal(n, err)
			}
			f.URI = StripPrefix(req.URI, prefix)
			dst = req.AppendForward(dst[:0], &f)
			dst, _ = AppendField(dst, name, value)
			addrs = req.ForwardedFor(addrs[:0])
			req.ForwardedProto()
			req.Header("user-agent")
			req.Query("q")
			req.Cookie("theme")
		}
		if n, err := resp.Parse(response, &testLimits); n != len(response) {
			t.Fatal(n, err)
		}
		dst = resp.AppendForward(dst[:0], &o)
		dst = own.Append(refusal.Append(dst[:0]))
		c.Reset()
		for in, done := body, false; !done; {
			_, n, d, err := c.Next(in)
			if err != nil {
				t.Fatal(err)
			}
			in, done = in[n:], d
		}
		dst = AppendLastChunk(AppendChunkHeader(dst[:0], 5), c.Trailers())
		if n, err := req.Parse(odd[:3], &testLimits); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		if _, err := req.Parse(refused, &testLimits); err == nil {
			t.Fatal("accepted")
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("got %v allocations; want 0", n)
	}
}
