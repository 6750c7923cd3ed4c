package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// clean fails if head has a line end that is not CRLF, a NUL, or an empty line
// before its end.
func clean(t *testing.T, head []byte) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSuffix(string(head), "\r\n\r\n"), "\r\n") {
		if line == "" || strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("line %q in %q", line, head)
		}
	}
	if !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		t.Fatalf("no blank line ends %q", head)
	}
}

// outcome is what Parse says, in a form that compares.
func outcome(n int, err error) (o struct {
	n      int
	reason string
},
) {
	if o.n = n; err != nil {
		o.reason = err.Error()
	}
	return o
}

func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		browserHead, wrkHead, get + "\r\n", post + "Content-Length: 5\r\n\r\nhello",
		"\r\nOPTIONS http://a:80?b HTTP/1.0\r\nHost: c\r\nConnection: keep-alive, X\r\nX: \t1 \r\nMax-Forwards: 3\r\n\r\n",
		"POST * HTTP/1.2\r\nhost: [::1]\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\nTE: trailers\r\nVia: 1.1 a\r\n\r\n",
		get + "X-Forwarded-For: 1\r\nX-Forwarded-Proto: 2\r\nX-Forwarded-Host: 3\r\nKeep-Alive: 4\r\nUpgrade: 5\r\n\r\n",
	} {
		f.Add([]byte(s), 3, true, false, uint16(0), []byte("v"))
		f.Add([]byte(s), 1, false, true, uint16(0xaaaa), []byte("a\r\nb: c"))
	}
	lim := Limits{HeadBytes: 2048, Fields: 20, TargetBytes: 200}
	f.Fuzz(func(t *testing.T, b []byte, step int, trusted, override bool, edit uint16, value []byte) {
		b = append(b[:len(b):len(b)], "\r\n\r\n"...) // no line stays incomplete, so that pieces must agree with the whole
		var r, pieces Request
		n, err := r.Parse(b, &lim)
		step = 1 + int(uint(step)%uint(len(b)))
		at := outcome(parsePieces(string(b), step, func(b []byte) (int, error) { return pieces.Parse(b, &lim) }))
		if at != outcome(n, err) {
			t.Fatalf("%q: at once %+v, by %d %+v", b, outcome(n, err), step, at)
		}
		if n == 0 {
			return
		}
		fw := Forward{ClientIP: []byte("192.0.2.7"), Proto: []byte("https"), KeepXFF: trusted}
		if override {
			fw.Host = []byte("up.test:80")
			fw.URI = StripPrefix(r.URI, firstSegment(r.URI))
		}
		removed := chosen(r.Fields, edit)
		if len(removed) > 0 {
			fw.Edit = NewHeaderEdit(removed)
		}
		var added bool
		if fw.Extra, added = AppendField(nil, []byte("X-Added"), value); added == bytes.ContainsFunc(value, control) {
			t.Fatalf("field value %q: appended %t", value, added)
		}
		out := r.AppendForward(nil, &fw)
		if other := pieces.AppendForward(nil, &fw); !bytes.Equal(out, other) {
			t.Fatalf("%q: at once %q, by %d %q", b, out, step, other)
		}
		clean(t, out)
		checkForwarded(t, &r, &fw, removed, out)
	})
}

// chosen returns the names of the fields whose bit is set.
func chosen(fields []Field, bits uint16) (names []string) {
	for i := range fields {
		if bits>>(i%16)&1 != 0 {
			names = append(names, string(fields[i].Name))
		}
	}
	return names
}

// control reports whether c cannot stand in a field value.
func control(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// firstSegment returns "/a" of "/a/b?c".
func firstSegment(uri []byte) []byte {
	if i := bytes.IndexAny(uri[1:], "/?"); i >= 0 {
		return uri[:1+i]
	}
	return uri
}

// checkForwarded reads out, what r was forwarded as, and compares the two.
func checkForwarded(t *testing.T, r *Request, f *Forward, removed []string, out []byte) {
	t.Helper()
	via := "Via: 1.1 proxyd\r\n\r\n"
	if r.Minor == 0 {
		via = "Via: 1.0 proxyd\r\n\r\n"
	}
	if !bytes.HasSuffix(out, []byte(via)) {
		t.Fatalf("no Via at the end of %q", out)
	}
	seen := append(bytes.TrimSuffix(out, []byte(via)), "\r\n"...) // else a loop, rightly
	if r.Host == nil {
		seen = bytes.Replace(seen, []byte("\r\nHost: \r\n"), []byte("\r\nHost: none\r\n"), 1)
	}
	var again Request
	if n, err := again.Parse(seen, &testLimits); n != len(seen) {
		t.Fatalf("%q read again: %d, %v", seen, n, err)
	}
	target := r.URI
	if f.URI != nil {
		target = f.URI
	}
	expect := r.ExpectContinue && !slices.ContainsFunc(removed, func(s string) bool { return strings.EqualFold(s, "expect") })
	if !bytes.Equal(again.Method, r.Method) || !bytes.Equal(again.Target, target) || again.Minor != 1 ||
		again.ContentLength != r.ContentLength || again.Chunked != r.Chunked || again.ExpectContinue != expect {
		t.Fatalf("%q read again: got %+v; want %+v", seen, again, r)
	}
	for _, f := range again.Fields {
		if (hopByHop &^ KindTransferEncoding.set()).has(f.Kind) {
			t.Fatalf("%s in %q", f.Name, seen)
		}
	}
	want := passing(r.Fields, removed)
	if f.Extra != nil {
		want.Add("X-Added", strings.Trim(strings.TrimPrefix(strings.TrimSuffix(string(f.Extra), "\r\n"), "X-Added: "), " \t"))
	}
	if got := passing(again.Fields, nil); !reflect.DeepEqual(got, want) {
		t.Fatalf("%q without %q: got fields %q; want %q", seen, removed, got, want)
	}
	std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(seen)))
	if err != nil {
		return // it knows fewer targets and hosts
	}
	length := max(r.ContentLength, 0)
	if r.Chunked {
		length = -1
	}
	if std.ContentLength != length || std.Method != string(r.Method) {
		t.Fatalf("%q: net/http reads method %s, length %d; want %s, %d", seen, std.Method, std.ContentLength, r.Method, length)
	}
	for _, name := range notCompared {
		std.Header.Del(name)
	}
	want.Del("Cache-Control")
	if std.Header.Del("Cache-Control"); !reflect.DeepEqual(std.Header, want) { // it adds one where there is a Pragma
		t.Fatalf("%q without %q: net/http reads fields %q; want %q", seen, removed, std.Header, want)
	}
}

// notCompared are the fields that the proxy writes itself.
var notCompared = []string{
	"Host", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "Max-Forwards",
	"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
}

// passing returns the fields that are forwarded as they are, but for removed.
func passing(fields []Field, removed []string) http.Header {
	h := http.Header{}
	for _, f := range fields {
		h.Add(string(f.Name), string(f.Value))
	}
	for _, f := range fields {
		if hopByHop.has(f.Kind) {
			h.Del(string(f.Name))
		}
	}
	for _, name := range append(removed, notCompared...) {
		if k := kindOf([]byte(name)); k != KindContentLength && k != KindVia {
			h.Del(name)
		}
	}
	return h
}

func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		responseHead, "HTTP/1.0 200\r\nConnection: x, keep-alive\r\nX: 1\r\n\r\n",
		"HTTP/1.1 101 \r\nA:\r\n\r\n", "HTTP/1.1 204 \r\nContent-Length: 4\r\nTrailer: x\r\n\r\n", "HTTP/1.1 103 E\tH\r\nLink: a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 5\r\nSet-Cookie: a\r\n\r\n5\r\n",
	} {
		f.Add([]byte(s), 3, false, uint16(0))
		f.Add([]byte(s), 1, true, uint16(0xaaaa))
	}
	lim := Limits{HeadBytes: 2048, Fields: 20}
	f.Fuzz(func(t *testing.T, b []byte, step int, closing bool, edit uint16) {
		b = append(b[:len(b):len(b)], "\r\n\r\n"...)
		var r, pieces Response
		n, err := r.Parse(b, &lim)
		step = 1 + int(uint(step)%uint(len(b)))
		at := outcome(parsePieces(string(b), step, func(b []byte) (int, error) { return pieces.Parse(b, &lim) }))
		if at != outcome(n, err) {
			t.Fatalf("%q: at once %+v, by %d %+v", b, outcome(n, err), step, at)
		}
		if n == 0 {
			return
		}
		var req Request
		if n, err := req.Parse([]byte(wrkHead), &testLimits); n == 0 {
			t.Fatal(err)
		}
		o := r.For(&req, closing)
		o.Date = testDate
		removed := append(chosen(r.Fields, edit), "date")
		o.Edit, o.Extra = NewHeaderEdit(removed), testDate
		out := r.AppendForward(nil, &o)
		clean(t, out)
		var again Response
		if n, err := again.Parse(out, &testLimits); n != len(out) {
			t.Fatalf("%q read again: %d, %v", out, n, err)
		}
		want := r.BodyKind(req.Method)
		if want == BodyUntilClose {
			want = BodyChunked
		}
		if got := again.BodyKind(req.Method); got != want || again.Status != r.Status || !bytes.Equal(again.Reason, r.Reason) {
			t.Fatalf("%q read again: got kind %d; want %d of %q", out, got, want, b[:n])
		}
		if again.Status >= 200 && (again.Close != closing || again.Header("date") == nil) {
			t.Fatalf("%q: close %v; want %v, and a date", out, again.Close, closing)
		}
		fields, got := passing(r.Fields, removed), passing(again.Fields, nil)
		if !r.Interim() {
			fields.Add("Date", string(testDate[len("Date: "):len(testDate)-2]))
		}
		fields.Del("Content-Length") // whose going depends on the status and on the framing
		if got.Del("Content-Length"); !reflect.DeepEqual(got, fields) {
			t.Fatalf("%q without %q: got fields %q; want %q", out, removed, got, fields)
		}
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), &http.Request{Method: "GET"})
		if err == nil && want != BodyNone && std.ContentLength != again.ContentLength {
			t.Fatalf("%q: net/http reads length %d; want %d", out, std.ContentLength, again.ContentLength)
		}
	})
}

func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\nrest", "00a ;x=\"y\"\r\n0123456789\r\n0;a\r\nX-T: v\r\nHost: x\r\n\r\n",
		"ffffffffffffffff\r\n", "5\nhello", "1\r\na\r\n1\r\nb\r\n0\r\nTe: x\r\nA : b\r\n\r\n",
	} {
		f.Add(s, 2)
	}
	f.Fuzz(func(t *testing.T, body string, step int) {
		var whole, pieces Chunked
		data, rest, done, err := decode(&whole, body, len(body)+1)
		data2, rest2, done2, err2 := decode(&pieces, body, 1+int(uint(step)%uint(len(body)+1)))
		if data != data2 || rest != rest2 || done != done2 || outcome(0, err) != outcome(0, err2) {
			t.Fatalf("%q: at once %q, %q, %v, %v; in pieces %q, %q, %v, %v", body, data, rest, done, err, data2, rest2, done2, err2)
		}
		if !done {
			return
		}
		if got, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(body))); err == nil && string(got) != data {
			t.Fatalf("%q: got %q; net/http reads %q", body, data, got)
		}
		var out []byte
		if data != "" {
			out = append(append(AppendChunkHeader(nil, len(data)), data...), "\r\n"...)
		}
		out = AppendLastChunk(out, whole.Trailers())
		pieces.Reset()
		data2, rest2, done2, err2 = decode(&pieces, string(out), 1)
		if data2 != data || rest2 != "" || !done2 || err2 != nil || !bytes.Equal(pieces.Trailers(), whole.Trailers()) {
			t.Fatalf("%q written as %q: got %q, %q, %v, %v", body, out, data2, rest2, done2, err2)
		}
	})
}
