package http1

import (
	"strings"
	"testing"
)

// decode feeds body to c in pieces of at most step bytes. rest is what follows
// the body.
func decode(c *Chunked, body string, step int) (data, rest string, done bool, err error) {
	for i := 0; i < len(body) && !done; {
		piece := []byte(body[i:min(i+step, len(body))])
		for len(piece) > 0 && !done {
			d, n, end, e := c.Next(piece)
			if e != nil {
				return data, "", false, e
			}
			data += string(d)
			piece, done = piece[n:], end
			i += n
		}
		rest = body[i:]
	}
	return data, rest, done, nil
}

func TestChunked(t *testing.T) {
	for _, test := range []struct{ body, data, trailers, rest string }{
		{"0\r\n\r\n", "", "", ""},
		{"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", "", ""},
		{"000A\r\n0123456789\r\n000\r\n\r\nGET /", "0123456789", "", "GET /"},
		{"a;n=v\r\n0123456789\r\n0;x\r\n\r\n", "0123456789", "", ""},
		{"a \t;n=\"v;w\"\r\n0123456789\r\n0\r\n\r\n\r\n", "0123456789", "", "\r\n"},
		{"0000000000000001\r\nx\r\n0\r\n\r\n", "x", "", ""},
		{"5\r\nhello\r\n0\r\nX-T: v\r\ny-t:\tw \r\n\r\n", "hello", "X-T: v\r\ny-t:\tw \r\n", ""},
		{"0\r\nContent-Length: 99\r\nHost: e\r\nX: 1\r\nTransfer-Encoding: x\r\nSet-Cookie: a\r\nCONTENT-TYPE: x\r\n\r\n", "", "X: 1\r\n", ""},
	} {
		var c Chunked
		for _, step := range []int{len(test.body), 1, 2, 3, 7} {
			c.Reset()
			data, rest, done, err := decode(&c, test.body, step)
			if err != nil || !done || data != test.data || rest != test.rest || string(c.Trailers()) != test.trailers {
				t.Errorf("%q by %d: got %q, %q, %v, %v, trailers %q; want %q, %q, trailers %q",
					test.body, step, data, rest, done, err, c.Trailers(), test.data, test.rest, test.trailers)
			}
		}
	}
}

func TestChunkedRefused(t *testing.T) {
	size := func(s string) string { return s + "\r\nhello\r\n0\r\n\r\n" }
	for _, body := range []string{
		size("10000000000000005"), size("FFFFFFFFFFFFFFFF"), size("8000000000000000"), size("00000000000000005"),
		size("-5"), size("+5"), size("0x5"), size("5g"), size(""), size("_5"), size(" 5"), size("g"), size("5,"),
		size("5.0"), size(`"5"`), size("5 "), size("5 x"), size("5;a\rb"), size("5;a\x00b"), size("5;a\nb"), size("5;a\x7f"),
		"5\r\nhelloXX\r\n0\r\n\r\n",
		"5\r\nhello0\r\n\r\n",
		"5\rhello\r\n0\r\n\r\n",
		"5\nhello\r\n0\r\n\r\n",
		"5\r\nhello\n0\r\n\r\n",
		"6\r\nhello\r\n0\r\n\r\n",
		"5\r\nhello\r\rx0\r\n\r\n",
		"5\r\nhello\r\n0\n\n",
		"5\r\nhello\r\n0\r\n\n",
		"0\r\nbad trailer\r\n\r\n",
		"0\r\nX : v\r\n\r\n",
		"0\r\nX: a\r\n b\r\n\r\n",
		"0\r\nX: a\x00\r\n\r\n",
		"0\r\nX: a\nY: b\r\n\r\n",
		"0\r\nX: a\rY: b\r\n\r\n",
		"0\r\n" + strings.Repeat("X-T: aaaaaaaaaaaaaaaaaaaa\r\n", 15000) + "\r\n",
		"0\r\n" + strings.Repeat("Host: aaaaaaaaaaaaaaaaaaaa\r\n", 15000) + "\r\n",
		"5;" + strings.Repeat("a", 400000) + "\r\nhello\r\n0\r\n\r\n",
		strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 10000) + "0\r\n\r\n",
		strings.Repeat("1"+strings.Repeat(" ", 200)+";\r\nx\r\n", 10000) + "0\r\n\r\n",
	} {
		for _, step := range []int{len(body), 1, 2, 5} {
			var c Chunked
			if _, _, done, err := decode(&c, body, step); done || statusOf(err) != 400 {
				t.Errorf("%.60q by %d: got %v, %v; want status 400", body, step, done, err)
			}
		}
	}
}

// As much as is allowed passes, one byte more does not.
func TestChunkedLimits(t *testing.T) {
	line := "X-T: v\r\n"
	for _, test := range []struct {
		name, body string
		ok         bool
	}{
		{"extensions", "1;" + strings.Repeat("a", MaxExtensionBytes-2) + "\r\nx\r\n0;\r\n\r\n", true},
		{"extensions", "1;" + strings.Repeat("a", MaxExtensionBytes-1) + "\r\nx\r\n0;\r\n\r\n", false},
		{"trailers", "0\r\nX: " + strings.Repeat("a", MaxTrailerBytes-len("X: \r\n")-len(line)-2) + "\r\n" + line + "\r\n", true},
		{"trailers", "0\r\nX: " + strings.Repeat("a", MaxTrailerBytes-len("X: \r\n")-len(line)-1) + "\r\n" + line + "\r\n", false},
	} {
		for _, step := range []int{len(test.body), 1, 7} {
			var c Chunked
			if _, _, done, err := decode(&c, test.body, step); done != test.ok || (err == nil) != test.ok {
				t.Errorf("%s, %d bytes by %d: got %v, %v; want %v", test.name, len(test.body), step, done, err, test.ok)
			}
		}
	}
}

func TestAppendChunkHeader(t *testing.T) {
	for n, want := range map[int]string{1: "1\r\n", 15: "f\r\n", 16: "10\r\n", 65536: "10000\r\n", 1<<62 | 0xab: "40000000000000ab\r\n"} {
		if got := string(AppendChunkHeader(nil, n)); got != want {
			t.Errorf("%d: got %q; want %q", n, got, want)
		}
	}
	if got := string(AppendLastChunk(nil, []byte("A: b\r\n"))); got != "0\r\nA: b\r\n\r\n" {
		t.Errorf("last chunk: got %q", got)
	}
}
