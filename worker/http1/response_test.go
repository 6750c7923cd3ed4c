package http1

import (
	"strings"
	"testing"
)

func TestResponseRefused(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, head := range []string{
		"NOT HTTP AT ALL\r\n\r\n",
		"http/1.1 200 OK\r\n\r\n",
		"HTTP/2.0 200 OK\r\n\r\n",
		"HTTP/1.1 abc OK\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1 2#0 OK\r\n\r\n",
		"HTTP/1.# 200 OK\r\n\r\n",
		"HTTP/1.1 099 OK\r\n\r\n",
		"HTTP/1.1  200 OK\r\n\r\n",
		"HTTP/1.1 200 O\x00K\r\n\r\n",
		"HTTP/1.1 200 O\rK\r\n\r\n",
		"HTTP/1.1 200 OK\n\n",
		"\r\n" + ok + "\r\n",
		ok + "X-A : b\r\n\r\n",
		ok + "X-A: b\r\n c\r\n\r\n",
		ok + "X-A: a\x00b\r\n\r\n",
		ok + "X-A: a\rX-Evil: 1\r\n\r\n",
		ok + "X-A: b\nContent-Length: 2\r\n\r\n",
		ok + "X(A: b\r\n\r\n",
		ok + "X B: c\r\n\r\n",
		ok + "Content-Length: 4\r\nContent-Length: 40\r\n\r\n",
		ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n",
		ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
		ok + "Content-Length: abc\r\n\r\n",
		ok + "Content-Length: -1\r\n\r\n",
		ok + "Content-Length: +4\r\n\r\n",
		ok + "Content-Length: 4 4\r\n\r\n",
		ok + "Content-Length: 18446744073709551620\r\n\r\n",
		ok + "Content-Length:\r\n\r\n",
		ok + "Transfer-Encoding: gzip\r\n\r\n",
		ok + "Transfer-Encoding: gzip, chunked\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		ok + "Connection: Content-Length\r\n\r\n",
		ok + "X-A: " + strings.Repeat("a", 400000) + "\r\n\r\n",
		ok + strings.Repeat("X-A: b\r\n", 129) + "\r\n",
	} {
		for _, step := range []int{len(head), 1, 7} {
			if len(head) > 20000 {
				step = 1000
			}
			var r Response
			n, err := parsePieces(head, step, func(b []byte) (int, error) { return r.Parse(b, &testLimits) })
			if n != 0 || statusOf(err) != 502 {
				t.Errorf("%.90q by %d: got %d, %v; want status 502", head, step, n, err)
			}
		}
	}
}

func TestResponseAccepted(t *testing.T) {
	type want struct {
		status  int
		reason  string
		minor   int
		length  int64
		close   bool
		interim bool
		toGet   BodyKind
		toHead  BodyKind
	}
	tests := []struct {
		head string
		want want
	}{
		{"HTTP/1.1 200 OK\r\n\r\n", want{200, "OK", 1, -1, false, false, BodyUntilClose, BodyNone}},
		{"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n", want{200, "", 1, 2, false, false, BodyLength, BodyNone}},
		{"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", want{200, "", 1, 0, false, false, BodyNone, BodyNone}},
		{"HTTP/1.0 299 Odd one\r\n\r\n", want{299, "Odd one", 0, -1, true, false, BodyUntilClose, BodyNone}},
		{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", want{200, "OK", 0, -1, false, false, BodyUntilClose, BodyNone}},
		{"HTTP/1.7 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n", want{200, "OK", 1, 4, true, false, BodyLength, BodyNone}},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", want{200, "OK", 1, -1, false, false, BodyChunked, BodyNone}},
		{"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", want{204, "No Content", 1, -1, false, false, BodyNone, BodyNone}},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", want{304, "Not Modified", 1, 9, false, false, BodyNone, BodyNone}},
		{"HTTP/1.1 103 Early\tHints\r\nLink: </a>\r\n\r\n", want{103, "Early\tHints", 1, -1, false, true, BodyNone, BodyNone}},
		{"HTTP/1.1 101 Switching\r\n\r\n", want{101, "Switching", 1, -1, false, false, BodyNone, BodyNone}},
		{"HTTP/1.1 999 \xe9\r\nContent-Length: 1\r\n\r\n", want{999, "\xe9", 1, 1, false, false, BodyLength, BodyNone}},
	}
	var r Response
	for _, test := range tests {
		for _, step := range []int{1, 5, len(test.head) + 1} {
			n, err := parsePieces(test.head+"rest", step, func(b []byte) (int, error) { return r.Parse(b, &testLimits) })
			if n != len(test.head) || err != nil {
				t.Errorf("%q by %d: got %d, %v; want %d", test.head, step, n, err, len(test.head))
				continue
			}
			got := want{
				r.Status, string(r.Reason), r.Minor, r.ContentLength, r.Close, r.Interim(),
				r.BodyKind([]byte("GET")), r.BodyKind([]byte("HEAD")),
			}
			if got != test.want {
				t.Errorf("%q by %d:\n got %+v\nwant %+v", test.head, step, got, test.want)
			}
		}
	}
	if v := r.Header("content-length"); string(v) != "1" {
		t.Errorf("Header: got %q; want 1", v)
	}
	r.Reset()
	if r.Status != 0 || len(r.Fields) != 0 {
		t.Errorf("after Reset: got %+v; want nothing", r)
	}
}

func TestResponseForward(t *testing.T) {
	const date = "Date: Tue, 02 Jan 2024 00:00:00 GMT\r\n"
	o := func(o ForwardResponse) ForwardResponse { o.Date = []byte(date); return o }
	for _, test := range []struct {
		head string
		o    ForwardResponse
		want string
	}{
		{responseHead, o(ForwardResponse{}), responseHead},
		{
			"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\nB: 2\r\n\r\n", o(ForwardResponse{Extra: []byte("X: y\r\n")}),
			"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\nB: 2\r\n" + date + "X: y\r\n\r\n",
		},
		{
			"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", o(ForwardResponse{Close: true}),
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + date + "Connection: close\r\n\r\n",
		},
		{
			"HTTP/1.1 200\r\nDate: x\r\n\r\n", o(ForwardResponse{KeepAlive: true}),
			"HTTP/1.1 200 \r\nDate: x\r\nConnection: keep-alive\r\n\r\n",
		},
		{
			"HTTP/1.1 200 OK\r\nConnection: X-Hop, close\r\nx-hop: 1\r\nKeep-Alive: timeout=99\r\nProxy-Connection: close\r\n" +
				"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\nUpgrade: h2c\r\n\r\n",
			o(ForwardResponse{Chunked: true}),
			"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n",
		},
		{
			"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n", o(ForwardResponse{}),
			"HTTP/1.1 204 No Content\r\n" + date + "\r\n",
		},
		{
			"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n", o(ForwardResponse{}),
			"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n" + date + "\r\n",
		},
		{
			"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: close\r\n\r\n", o(ForwardResponse{Close: true, Extra: []byte("X: y\r\n")}),
			"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
		},
	} {
		var r Response
		if n, err := r.Parse([]byte(test.head), &testLimits); n != len(test.head) {
			t.Fatal(n, err)
		}
		if got := string(r.AppendForward([]byte("before"), &test.o)); got != "before"+test.want {
			t.Errorf("%q:\n got %q\nwant %q", test.head, got[len("before"):], test.want)
		}
	}
}

func TestResponseFor(t *testing.T) {
	const (
		length  = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
		open    = "HTTP/1.1 200 OK\r\n\r\n"
		chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		get11   = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
		head11  = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
		close11 = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
		get10   = "GET / HTTP/1.0\r\n\r\n"
		keep10  = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
	)
	for _, test := range []struct {
		request, response         string
		closing                   bool
		chunked, close, keepAlive bool
	}{
		{get11, length, false, false, false, false},
		{get11, length, true, false, true, false},
		{get11, open, false, true, false, false},
		{get11, chunked, false, true, false, false},
		{head11, chunked, false, false, false, false},
		{close11, chunked, false, true, true, false},
		{get10, length, false, false, true, false},
		{get10, chunked, false, false, true, false},
		{keep10, length, false, false, false, true},
		{keep10, length, true, false, true, false},
		{keep10, open, false, false, true, false},
	} {
		var req Request
		var resp Response
		if n, err := req.Parse([]byte(test.request), &testLimits); n == 0 {
			t.Fatal(err)
		}
		if n, err := resp.Parse([]byte(test.response), &testLimits); n == 0 {
			t.Fatal(err)
		}
		got := resp.For(&req, test.closing)
		if got.Chunked != test.chunked || got.Close != test.close || got.KeepAlive != test.keepAlive {
			t.Errorf("%q to %q: got %+v; want %+v", test.response, test.request, got, test)
		}
	}
}
