package http2

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/proxyd/proxyd/worker/http1"
)

var browserFields = []string{
	"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
	"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
	"accept-encoding", "gzip, deflate, br, zstd",
	"accept-language", "en-GB,en;q=0.9,de;q=0.8",
	"referer", "https://www.example.com/articles/",
	"sec-fetch-mode", "navigate",
	"priority", "u=0, i",
	"cookie", "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=1",
}

const benchResponse = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n" +
	"Content-Type: text/html; charset=utf-8\r\nContent-Length: 128\r\nLast-Modified: Sun, 31 Dec 2023 10:11:12 GMT\r\n" +
	"ETag: \"659140f0-14c0\"\r\n\r\n"

// A loader sends one request after the other to a server's side in memory.
type loader struct {
	c        *Conn
	frame    []byte
	response []byte
	buf      []byte
	req      http1.Request
	parse    bool
	n, id    int
	failed   bool
}

// newLoader returns a loader whose client has put all it sends into HPACK's table.
// With newPath the path is a literal, as with clients that do not index paths.
func newLoader(t testing.TB, newPath bool) *loader {
	l := &loader{buf: make([]byte, 16<<10), response: append([]byte(benchResponse), make([]byte, 128)...), id: 1}
	r := newRaw(t, nil)
	l.c = r.c
	l.c.open = l.serve
	fields := with([]string{":method", "GET", ":scheme", "https", ":authority", "www.example.com"}, browserFields...)
	if !newPath {
		fields = append(fields[:6:6], with([]string{":path", "/articles/2024/06/some-title?id=8812"}, browserFields...)...)
	}
	_ = r.WriteHeaders(http2Headers(uint32(l.id), r.fields(fields...)))
	r.send() // malformed for want of a path, but in the table
	block := r.fields(fields...)
	if newPath { // literal without indexing, name 4 of the static table
		path := appendString([]byte{4}, []byte("/articles/2024/06/some-title?id=8812"))
		block = append(append(block[:3:3], path...), block[3:]...)
	}
	_ = r.WriteHeaders(http2Headers(3, block))
	l.frame = append(l.frame, r.in.Bytes()...)
	l.c.Sent(len(l.c.Output()))
	return l
}

// serve answers a request at once.
func (l *loader) serve(s *Stream) {
	n, err := s.TryRead(l.buf)
	if err != nil {
		l.failed = true
	}
	if l.parse {
		if k, _ := l.req.Parse(l.buf[:n], &testLimits); k != n {
			l.failed = true
		}
	}
	if _, err := s.TryRead(l.buf[n:]); err != io.EOF {
		l.failed = true
	}
	if k, err := s.TryWrite(l.response); k != len(l.response) || err != nil {
		l.failed = true
	}
	s.Close()
	l.n++
}

// request sends one.
func (l *loader) request(t testing.TB) {
	l.id += 2
	l.c.sendWindow = baseWindow
	binary.BigEndian.PutUint32(l.frame[5:], uint32(l.id))
	before := l.n
	if n, err := l.c.Receive(l.frame); n != len(l.frame) || err != nil || l.failed || l.n == before {
		t.Fatalf("request %d: took %d, %v; failed %t", l.id, n, err, l.failed)
	}
	l.c.Sent(len(l.c.Output()))
}

// BenchmarkServer is a GET with eight fields and its answer with six and 128
// bytes, from frames to frames: the text of HTTP/1.1 is read and, in parse, parsed.
func BenchmarkServer(b *testing.B) {
	for _, c := range []struct {
		name           string
		newPath, parse bool
	}{{"indexed", false, false}, {"literal-path", true, false}, {"parse", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			l := newLoader(b, c.newPath)
			l.parse = c.parse
			b.ReportAllocs()
			for b.Loop() {
				l.request(b)
			}
			b.ReportMetric(float64(len(l.frame)), "B-in/op")
		})
	}
}

// BenchmarkPair is the same through a client's side, too.
func BenchmarkPair(b *testing.B) {
	p := newPair(b, nil, nil)
	request := []byte("GET /articles/2024/06/some-title?id=8812 HTTP/1.1\r\nHost: www.example.com\r\n")
	for i := 0; i < len(browserFields); i += 2 {
		request = append(request, appendLine(nil, browserFields[i], browserFields[i+1])...)
	}
	request = append(request, "\r\n"...)
	l := &loader{buf: make([]byte, 16<<10), response: append([]byte(benchResponse), make([]byte, 128)...)}
	p.server.open = l.serve
	p.pump()
	buf := make([]byte, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		s := p.open()
		if _, err := s.TryWrite(request); err != nil {
			b.Fatal(err)
		}
		if n, err := p.server.Receive(p.client.Output()); err != nil || n != len(p.client.Output()) {
			b.Fatal(n, err)
		}
		p.client.Sent(len(p.client.Output()))
		if n, err := p.client.Receive(p.server.Output()); err != nil || n != len(p.server.Output()) {
			b.Fatal(n, err)
		}
		p.server.Sent(len(p.server.Output()))
		if n, err := s.TryRead(buf); n < 128 || err != nil || l.failed {
			b.Fatal(n, err)
		}
		s.Close()
	}
}

// BenchmarkDownload is 16 KiB of a response's body.
func BenchmarkDownload(b *testing.B) {
	p := newPair(b, nil, nil)
	client, server := p.request(get)
	p.write(server, "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000\r\n\r\n")
	p.pump()
	piece, buf := make([]byte, 16<<10), make([]byte, 32<<10)
	b.SetBytes(int64(len(piece)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := server.TryWrite(piece); n != len(piece) || err != nil {
			b.Fatal(n, err)
		}
		for from, to := p.server, p.client; len(from.Output()) > 0; from, to = to, from {
			n, err := to.Receive(from.Output())
			if err != nil {
				b.Fatal(err)
			}
			from.Sent(n)
			for to == p.client {
				if _, err := client.TryRead(buf); err != nil {
					break
				}
			}
		}
	}
}
