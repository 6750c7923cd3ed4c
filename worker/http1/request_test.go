package http1

import (
	"errors"
	"strings"
	"testing"
)

// statusOf returns the status of a refusal, 0 without one.
func statusOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// parsePieces gives head to parse in growing pieces, each in a buffer of its own,
// and returns what the last call said. A wrong answer on the way ends it.
func parsePieces(head string, step int, parse func([]byte) (int, error)) (int, error) {
	for end := step; ; end += step {
		end = min(end, len(head))
		n, err := parse([]byte(head[:end]))
		if n != 0 || err != nil || end == len(head) {
			return n, err
		}
	}
}

const (
	get  = "GET /k HTTP/1.1\r\nHost: probe.test\r\n"
	post = "POST /k HTTP/1.1\r\nHost: probe.test\r\n"
)

func TestRequestRefused(t *testing.T) {
	line := func(l string) string { return l + "\r\nHost: probe.test\r\n\r\n" }
	host := func(h string) string { return "GET /k HTTP/1.1\r\nHost: " + h + "\r\n\r\n" }
	tests := []struct {
		head   string
		status int
	}{
		{"\n" + get + "\r\n", 400},
		{"\r\n\r\n\r\n" + get + "\r\n", 400},
		{"\rGET", 400},
		{"\x16\x03\x01\x02\x00\x01\x00", 400}, // TLS

		{line(" GET /k HTTP/1.1"), 400},
		{line("GE(T /k HTTP/1.1"), 400},
		{line("GE\x00T /k HTTP/1.1"), 400},
		{line(" /k HTTP/1.1"), 400},
		{line(strings.Repeat("A", 150000) + " /k HTTP/1.1"), 501},
		{line("GET /k/a b HTTP/1.1"), 400},
		{line("GET /k"), 400},
		{line("GET"), 400},
		{line("GET  /k HTTP/1.1"), 400},
		{line("GET\t/k HTTP/1.1"), 400},
		{line("GET /k\tHTTP/1.1"), 400},
		{line("GET /k\rHTTP/1.1"), 400},
		{line("GET /k HTTP/1.1 "), 400},
		{"GET /k HTTP/1.1\nHost: a\n\n", 400},
		{line("CONNECT example.test:443 HTTP/1.1"), 405},
		{line("CONNECT example.test HTTP/1.1"), 405},

		{line("GET /k HTTP/2.0"), 505},
		{line("GET /k HTTP/9.9"), 505},
		{line("GET /k HTTP/0.9"), 505},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{line("GET /k http/1.1"), 400},
		{line("GET /k HTTP/1"), 400},
		{line("GET /k HTTP/1."), 400},
		{line("GET /k HTTP/11"), 400},
		{line("GET /k HTTP/1.10"), 400},
		{line("GET /k HTTP/1.#"), 400},
		{line("GET /k HTTP/#.1"), 400},
		{line("GET /k HTTP/1,1"), 400},
		{line("GET /k HTTP/ 1.1"), 400},
		{line("GET /k HTTQ/1.1"), 400},
		{line("GET /k HTTP/-1.1"), 400},
		{line("GET /k HTTP/1.1x"), 400},
		{line("GET /k HTTP/+1.1"), 400},

		{line("GET probe.test:80 HTTP/1.1"), 400},
		{line("GET foo HTTP/1.1"), 400},
		{line("GET * HTTP/1.1"), 400},
		{line("OPTIONS *x HTTP/1.1"), 400},
		{line("GET /a\x00b HTTP/1.1"), 400},
		{line("GET /a\x01b HTTP/1.1"), 400},
		{line("GET /a\x7fb HTTP/1.1"), 400},
		{line("GET /k#frag HTTP/1.1"), 400},
		{line("GET http://user:pw@probe.test/k HTTP/1.1"), 400},
		{line("GET http:///k HTTP/1.1"), 400},
		{line("GET http://?k HTTP/1.1"), 400},
		{line("GET http:/k HTTP/1.1"), 400},
		{line("GET ftp://probe.test/k HTTP/1.1"), 400},
		{line("GET http://probe.test:99999/k HTTP/1.1"), 400},
		{line("GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1"), 414},
		{line("GET /" + strings.Repeat("a", 300000) + " HTTP/1.1"), 414},

		{"GET /k HTTP/1.1\r\n\r\n", 400},
		{"GET http://a/k HTTP/1.1\r\n\r\n", 400},
		{get + "Host: evil.test\r\n\r\n", 400},
		{get + "Host: probe.test\r\n\r\n", 400},
		{"GET /k HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400},
		{"GET /k HTTP/1.0\r\nHost: a b\r\n\r\n", 400},
		{host(""), 400},
		{host("a b"), 400},
		{host("a/b"), 400},
		{host("u@h"), 400},
		{host("[::1"), 400},
		{host("[]"), 400},
		{host("[::1]x"), 400},
		{host("[::g]"), 400},
		{host("h:abc"), 400},
		{host(`a\b`), 400},
		{host("a?b"), 400},
		{host("a#b"), 400},
		{host("<x>"), 400},
		{host("h:80:80"), 400},
		{host("h:65536"), 400},
		{host("h:99999999999999999999"), 400},
		{host(":80"), 400},
		{host("h\xe9"), 400},

		{get + "X-A : b\r\n\r\n", 400},
		{get + "X-A\t: b\r\n\r\n", 400},
		{get + "X A: b\r\n\r\n", 400},
		{get + ": b\r\n\r\n", 400},
		{get + "nocolon\r\n\r\n", 400},
		{get + "X(a: b\r\n\r\n", 400},
		{get + "X\xe9: b\r\n\r\n", 400},
		{get + "X\x00a: b\r\n\r\n", 400},
		{get + "X\x0ba: b\r\n\r\n", 400},
		{get + "X\x7fa: b\r\n\r\n", 400},
		{get + "X-A: a\x00b\r\n\r\n", 400},
		{get + "X-A: a\x7fb\r\n\r\n", 400},
		{get + "X-A: a\x1fb\r\n\r\n", 400},
		{get + "X-A: a\rb\r\n\r\n", 400},
		{get + "X-A: a\r\r\n\r\n", 400},
		{get + "X-A: a\nX-B: b\r\n\r\n", 400},
		{get + "X-A: a\r\n b\r\n\r\n", 400},
		{get + "X-A: a\r\n\tb\r\n\r\n", 400},
		{"GET /k HTTP/1.1\r\n X-Evil: 1\r\nHost: a\r\n\r\n", 400},
		{get + "X-A: b\r\n\n", 400},
		{get + "X-A: b\r\n\rx", 400},
		{post + "Transfer-Encoding\x0b: chunked\r\n\r\n", 400},

		{get + "Connection: Host\r\n\r\n", 400},
		{get + "Connection: content-length\r\n\r\n", 400},
		{get + "Connection: close, Transfer-Encoding\r\n\r\n", 400},
		{get + "Connection: X-Forwarded-For\r\n\r\n", 400},
		{get + "Connection: x-forwarded-port\r\n\r\n", 400},
		{get + "Connection: Via\r\n\r\n", 400},
		{get + "Connection: :authority\r\n\r\n", 400},
		{get + "Connection: a b\r\n\r\n", 400},
		{get + "Connection:" + strings.Repeat(",", 33) + "\r\n\r\n", 400},

		{post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
		{post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
		{post + "Content-Length: 0\r\nContent-Length: 40\r\n\r\n", 400},
		{post + "Content-Length: 5, 5\r\n\r\n", 400},
		{post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
		{post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{post + "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{post + "Transfer-Encoding: gzip, br , Chunked\r\n\r\n", 501},
		{post + "Transfer-Encoding:\r\n chunked\r\n\r\n", 400},
		{"POST /k HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},

		{post + "Expect: 200-ok\r\nContent-Length: 5\r\n\r\n", 417},
		{post + "Expect:\r\n\r\n", 417},
		{get + "Via: 1.1 proxyd\r\n\r\n", 508},
		{get + "Via: 1.0 fred, HTTP/1.1 \tProxyD (mine)\r\n\r\n", 508},
		{"OPTIONS /k HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n", 400},
		{"OPTIONS /k HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\nMax-Forwards: 2\r\n\r\n", 400},
		{"TRACE /k HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", 400},

		{get + "X-A: " + strings.Repeat("a", 400000) + "\r\n\r\n", 431},
		{get + strings.Repeat("X-A: aaaaaaaaaa\r\n", 50000) + "\r\n", 431},
		{get + strings.Repeat("a: b\r\n", 126) + "c", 0},
		{get + strings.Repeat("a: b\r\n", 127) + "c: d\r\n", 431},
	}
	for _, v := range []string{
		"+5", "-5", "5 5", "0x5", "5a", "5.0", "", "5,", ",5", `"5"`, "5;", "\x0b5", "99999999999999999999",
		"18446744073709551621", "9223372036854775808", "9999999999999999999", "1_0", "\xb2",
	} {
		tests = append(tests, struct {
			head   string
			status int
		}{post + "Content-Length: " + v + "\r\n\r\n", 400})
	}
	for _, v := range []string{
		"xchunked", "chunkedx", "chun ked", `"chunked"`, "\x0bchunked", "chunked\x0b", "chunked\x00", "identity",
		"chunked, identity", "chunked, gzip", "gzip", "chunked, chunked", "chunked;q=1", "", ",", "chunked,", ",chunked",
		"chunked chunked", "\xffchunked", "cow",
	} {
		tests = append(tests, struct {
			head   string
			status int
		}{post + "Transfer-Encoding: " + v + "\r\n\r\n", 400})
	}
	for _, test := range tests {
		for _, step := range []int{len(test.head), 1, 7} {
			if step == 1 && len(test.head) > 20000 {
				step = 1000
			}
			var r Request
			n, err := parsePieces(test.head, step, func(b []byte) (int, error) { return r.Parse(b, &testLimits) })
			got := statusOf(err)
			if got != test.status || n != 0 {
				t.Errorf("%.90q by %d: got %d bytes, status %d (%v); want status %d", test.head, step, n, got, err, test.status)
			}
		}
	}
}

func TestRequestAccepted(t *testing.T) {
	type want struct {
		method, host, uri, path, query string
		minor                          int
		form                           Form
		length                         int64
		chunked, close, expect         bool
		maxForwards                    int64
	}
	plain := want{method: "GET", host: "probe.test", uri: "/k", path: "/k", minor: 1, length: -1, maxForwards: -1}
	with := func(f func(*want)) want { w := plain; f(&w); return w }
	tests := []struct {
		head string
		want want
	}{
		{get + "\r\n", plain},
		{"\r\n" + get + "\r\n", plain},
		{"\r\n\r\n" + get + "\r\n", plain},
		{get + "X-A:\r\nX-B: \t v \t\r\nX-C: \xe9\xff\r\nX-D: a\tb\r\n\r\n", plain},
		{"GET /k HTTP/1.2\r\nHost: probe.test\r\n\r\n", plain},
		{"get /k HTTP/1.1\r\nHost: probe.test\r\n\r\n", with(func(w *want) { w.method = "get" })},
		{"GET /k?a=b&c=%20d?e;f HTTP/1.1\r\nHost: probe.test\r\n\r\n", with(func(w *want) { w.uri, w.query = "/k?a=b&c=%20d?e;f", "a=b&c=%20d?e;f" })},
		{"GET //evil.test/k? HTTP/1.1\r\nHost: probe.test\r\n\r\n", with(func(w *want) { w.uri, w.path = "//evil.test/k?", "//evil.test/k" })},
		{"GET /<\"\\>\xe4 HTTP/1.1\r\nHost: probe.test\r\n\r\n", with(func(w *want) { w.uri, w.path = "/<\"\\>\xe4", "/<\"\\>\xe4" })},
		{"GET http://real.test/k?q HTTP/1.1\r\nHost: probe.test\r\n\r\n", with(func(w *want) {
			w.form, w.host, w.uri, w.query = AbsoluteForm, "real.test", "/k?q", "q"
		})},
		{"GET HTTPS://real.test:8443 HTTP/1.1\r\nHost: probe.test\r\n\r\n", with(func(w *want) {
			w.form, w.host, w.uri, w.path = AbsoluteForm, "real.test:8443", "/", "/"
		})},
		{"GET http://real.test?q HTTP/1.0\r\n\r\n", with(func(w *want) {
			w.form, w.host, w.uri, w.path, w.query, w.minor, w.close = AbsoluteForm, "real.test", "/?q", "/", "q", 0, true
		})},
		{"OPTIONS * HTTP/1.1\r\nHost: probe.test\r\n\r\n", with(func(w *want) { w.method, w.form, w.uri, w.path = "OPTIONS", AsteriskForm, "*", "*" })},
		{"OPTIONS http://probe.test HTTP/1.1\r\nHost: probe.test\r\nMax-Forwards: 5\r\n\r\n", with(func(w *want) {
			w.method, w.form, w.uri, w.path, w.maxForwards = "OPTIONS", AbsoluteForm, "*", "*", 5
		})},
		{"GET /k HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\nMax-Forwards: x\r\n\r\n", with(func(w *want) { w.host = "[2001:db8::1]:8080" })},
		{"GET /k HTTP/1.1\r\nHost: h:\r\n\r\n", with(func(w *want) { w.host = "h:" })},
		{"GET /k HTTP/1.0\r\n\r\n", with(func(w *want) { w.host, w.minor, w.close = "", 0, true })},
		{"GET /k HTTP/1.0\r\nHost:\r\nConnection: Keep-Alive\r\n\r\n", with(func(w *want) { w.host, w.minor = "", 0 })},
		{get + "Connection: keep-alive, Close\r\n\r\n", with(func(w *want) { w.close = true })},
		{get + "Connection: , TE,, upgrade\r\nConnection:\r\n\r\n", plain},
		{get + "Via: 1.0 fred, 1.1 proxyd2, 1.1 p.example (proxyd)\r\n\r\n", plain},
		{post + "Content-Length: 0\r\n\r\n", with(func(w *want) { w.method, w.length = "POST", 0 })},
		{post + "Content-Length: 9223372036854775807\r\n\r\n", with(func(w *want) { w.method, w.length = "POST", 1<<63-1 })},
		{post + "Expect: 100-Continue\r\ncontent-length: 005 \r\n\r\n", with(func(w *want) { w.method, w.length, w.expect = "POST", 5, true })},
		{post + "Expect: 100-continue\r\n\r\n", with(func(w *want) { w.method = "POST" })},
		{post + "transfer-encoding:ChUnKeD\r\n\r\n", with(func(w *want) { w.method, w.chunked = "POST", true })},
		{"POST /k HTTP/1.0\r\nHost: probe.test\r\nExpect: x\r\nContent-Length: 5\r\n\r\n", with(func(w *want) {
			w.method, w.minor, w.length, w.close = "POST", 0, 5, true
		})},
		{"GET /k?" + strings.Repeat("a", 8<<10-3) + " HTTP/1.1\r\nHost: probe.test\r\n\r\n", with(func(w *want) {
			w.query = strings.Repeat("a", 8<<10-3)
			w.uri = "/k?" + w.query
		})},
	}
	var r Request // one for all: nothing of a message may show in the next
	for _, test := range tests {
		for _, step := range []int{1, 5, len(test.head) + 1} {
			n, err := parsePieces(test.head+"rest", step, func(b []byte) (int, error) { return r.Parse(b, &testLimits) })
			if n != len(test.head) || err != nil {
				t.Errorf("%.90q by %d: got %d, %v; want %d", test.head, step, n, err, len(test.head))
				continue
			}
			got := want{
				string(r.Method), string(r.Host), string(r.URI), string(r.Path), string(r.RawQuery), r.Minor, r.Form,
				r.ContentLength, r.Chunked, r.Close, r.ExpectContinue, r.MaxForwards,
			}
			if got != test.want {
				t.Errorf("%.90q by %d:\n got %+v\nwant %+v", test.head, step, got, test.want)
			}
		}
	}
}

// A head exactly as large as the limit passes, one byte more does not.
func TestRequestHeadLimit(t *testing.T) {
	const size = 300
	lim := Limits{HeadBytes: size, Fields: 10, TargetBytes: 100}
	for _, test := range []struct {
		size, n, status int
	}{{size, size, 0}, {size + 1, 0, 431}} {
		head := get + "X: "
		head += strings.Repeat("a", test.size-len(head)-4) + "\r\n\r\n"
		for step := 1; step <= len(head); step++ {
			var r Request
			n, err := parsePieces(head, step, func(b []byte) (int, error) { return r.Parse(b, &lim) })
			if n != test.n || statusOf(err) != test.status {
				t.Fatalf("%d bytes by %d: got %d, %v; want %d, %d", len(head), step, n, err, test.n, test.status)
			}
		}
	}
}

// Mistakes and limits are reported before the head is complete.
func TestRequestRefusedEarly(t *testing.T) {
	for _, test := range []struct {
		head   string
		status int
	}{
		{"G(", 400},
		{"GET /a\x00", 400},
		{"GET /a HTTQ", 400},
		{"GET /a HTTP/2", 505},
		{"CONNECT ", 405},
		{get + "X-A: a\x00", 400},
		{get + "X-A: a\n", 400},
		{get + "X A", 400},
		{get + " ", 400},
		{get + "Host: a\r\n", 400},
		{"GET /" + strings.Repeat("a", 8<<10), 414},
		{strings.Repeat("A", 33), 501},
		{get + "X: " + strings.Repeat("a", 32<<10), 431},
	} {
		var r Request
		if n, err := r.Parse([]byte(test.head), &testLimits); n != 0 || statusOf(err) != test.status {
			t.Errorf("%.60q: got %d, %v; want status %d", test.head, n, err, test.status)
		}
	}
}

func TestRequestReset(t *testing.T) {
	var r Request
	if n, err := r.Parse([]byte(get), &testLimits); n != 0 || err != nil || r.scanned != len(get) {
		t.Fatalf("got %d, %v, scanned %d; want an incomplete head", n, err, r.scanned)
	}
	r.Reset()
	if n, err := r.Parse([]byte(wrkHead), &testLimits); n != len(wrkHead) || err != nil {
		t.Errorf("after Reset: got %d, %v; want %d", n, err, len(wrkHead))
	}
}

func TestRequestLoop(t *testing.T) {
	for _, test := range []struct {
		via, pseudonym string
		status         int
	}{
		{"1.1 proxyd", "", 508},
		{"1.1 proxyd", "edge-1", 0},
		{"1.1 edge-1", "", 0},
		{"1.1 a, 1.0 EDGE-1 (x)", "edge-1", 508},
		{"1.1 edge-12", "edge-1", 0},
		{"1.1 edge", "edge-1", 0},
		{"1.1 a (edge-1)", "edge-1", 0},
		{"edge-1", "edge-1", 0},
	} {
		lim := testLimits
		lim.Pseudonym = test.pseudonym
		var r Request
		if _, err := r.Parse([]byte(get+"Via: "+test.via+"\r\n\r\n"), &lim); statusOf(err) != test.status {
			t.Errorf("Via %q to %q: got %v; want status %d", test.via, test.pseudonym, err, test.status)
		}
	}
}

func TestStripPrefix(t *testing.T) {
	for _, test := range []struct{ uri, prefix, want string }{
		{"/v1/x?q", "/v1", "/x?q"},
		{"/v1", "/v1", "/"},
		{"/v1/", "/v1", "/"},
		{"/v1?q", "/v1", "/?q"},
		{"/v1?", "/v1", "/?"},
		{"/v1/?q", "/v1", "/?q"},
		{"/v1//x", "/v1", "//x"},
		{"/v1/v1/x", "/v1", "/v1/x"},
		{"/v10", "/v1", "/v10"},
		{"/v1%2Fx", "/v1", "/v1%2Fx"},
		{"/V1/x", "/v1", "/V1/x"},
		{"/x/v1/y", "/v1", "/x/v1/y"},
		{"/x?/v1/y", "/v1", "/x?/v1/y"},
		{"/", "/v1", "/"},
		{"/v1/a/b/c", "/v1/a", "/b/c"},
		{"/x", "", "/x"},
		{"*", "/v1", "*"},
		{"*", "", "*"},
	} {
		uri := []byte(test.uri)
		if got := string(StripPrefix(uri, []byte(test.prefix))); got != test.want || string(uri) != test.uri {
			t.Errorf("%q without %q: got %q; want %q", test.uri, test.prefix, got, test.want)
		}
	}
}

func TestLookup(t *testing.T) {
	const head = "GET /k?a=1&b&=x&a=2&c%20=3&d= HTTP/1.1\r\nHost: h\r\nAppID: 7\r\nX-Empty:\r\nappid: 8\r\n" +
		"Cookie: one=1; two=\"2\"\r\nCookie: three;one=9;=z\r\n\r\n"
	var r Request
	if n, err := r.Parse([]byte(head), &testLimits); n != len(head) {
		t.Fatal(n, err)
	}
	const none = "none"
	for _, test := range []struct {
		of         func(string) []byte
		name, want string
	}{
		{r.Header, "appid", "7"},
		{r.Header, "HOST", "h"},
		{r.Header, "x-empty", ""},
		{r.Header, "x-missing", none},
		{r.Header, "", none},
		{r.Query, "a", "1"},
		{r.Query, "b", ""},
		{r.Query, "d", ""},
		{r.Query, "c%20", "3"},
		{r.Query, "A", none},
		{r.Query, "c", none},
		{r.Query, "bb", none},
		{r.Cookie, "one", "1"},
		{r.Cookie, "two", `"2"`},
		{r.Cookie, "three", ""},
		{r.Cookie, "four", none},
		{r.Cookie, "on", none},
	} {
		got := none
		if v := test.of(test.name); v != nil {
			got = string(v)
		}
		if got != test.want {
			t.Errorf("%q: got %q; want %q", test.name, got, test.want)
		}
	}
}

func TestFieldIn(t *testing.T) {
	answer := Answer{Status: 200, Date: testDate, Extra: []byte("A: 1\r\nX-Empty:\r\nx-two: a\r\nX-Two: b\r\n"), Body: []byte("\r\nX-Body: 1\r\n")}
	head := answer.Append(nil)
	const none = "none"
	for name, want := range map[string]string{
		"a": "1", "x-two": "a", "x-empty": "", "content-length": "13", "x-body": none, "http/1.1 200 ok": none, "": none, "x-tw": none,
	} {
		got := none
		if v := FieldIn(head, name); v != nil {
			got = string(v)
		}
		if got != want {
			t.Errorf("%q: got %q; want %q", name, got, want)
		}
	}
	if got := FieldIn(head[:len("HTTP/1.1 200 OK\r\nDate: T")], "date"); got != nil {
		t.Errorf("in half a head: got %q; want nil", got)
	}
}
