package http1

import "testing"

const (
	browserHead = "GET /articles/2024/06/some-title?utm_source=newsletter&id=8812 HTTP/1.1\r\n" +
		"Host: www.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
		"Referer: https://www.example.com/articles/\r\n" +
		"Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=1\r\n" +
		"Connection: keep-alive\r\n\r\n"
	wrkHead      = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: wrk/4.2\r\nAccept: */*\r\n\r\n"
	responseHead = "HTTP/1.1 200 OK\r\n" +
		"Server: nginx\r\n" +
		"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n" +
		"Content-Type: text/html; charset=utf-8\r\n" +
		"Content-Length: 5312\r\n" +
		"Last-Modified: Sun, 31 Dec 2023 10:11:12 GMT\r\n" +
		"ETag: \"659140f0-14c0\"\r\n\r\n"
)

var (
	testLimits  = Limits{HeadBytes: 32 << 10, Fields: 128, TargetBytes: 8 << 10}
	testDate    = []byte("Date: Tue, 02 Jan 2024 00:00:00 GMT\r\n")
	testEdit    = NewHeaderEdit([]string{"cookie", "x-real-ip", "x-request-id", "accept-language", "x-internal-user", "x-internal-role", "x-debug", "authorization"})
	testForward = Forward{ClientIP: []byte("192.0.2.7"), Proto: []byte("https")}
)

func BenchmarkRequest(b *testing.B) {
	for _, c := range []struct{ name, head string }{{"browser", browserHead}, {"wrk", wrkHead}} {
		head, dst := []byte(c.head), make([]byte, 0, 4096)
		var r Request
		b.Run(c.name+"/parse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n, err := r.Parse(head, &testLimits); n != len(head) {
					b.Fatal(n, err)
				}
			}
		})
		for name, edit := range map[string]*HeaderEdit{"forward": nil, "edit": testEdit} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				f := testForward
				f.Edit = edit
				if n, err := r.Parse(head, &testLimits); n != len(head) {
					b.Fatal(n, err)
				}
				b.ReportAllocs()
				for b.Loop() {
					dst = r.AppendForward(dst[:0], &f)
				}
			})
		}
		b.Run(c.name+"/both", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n, err := r.Parse(head, &testLimits); n != len(head) {
					b.Fatal(n, err)
				}
				dst = r.AppendForward(dst[:0], &testForward)
			}
		})
	}
}

func BenchmarkResponse(b *testing.B) {
	head, dst := []byte(responseHead), make([]byte, 0, 4096)
	var r Response
	o := ForwardResponse{Date: testDate}
	b.ReportAllocs()
	for b.Loop() {
		if n, err := r.Parse(head, &testLimits); n != len(head) {
			b.Fatal(n, err)
		}
		dst = r.AppendForward(dst[:0], &o)
	}
}

func BenchmarkChunked(b *testing.B) {
	body := []byte("200\r\n" + string(make([]byte, 512)) + "\r\n0\r\n\r\n")
	var c Chunked
	b.ReportAllocs()
	for b.Loop() {
		c.Reset()
		for in, done := body, false; !done; {
			_, n, d, err := c.Next(in)
			if err != nil {
				b.Fatal(err)
			}
			in, done = in[n:], d
		}
	}
}

func BenchmarkDrip(b *testing.B) {
	head := []byte(browserHead)
	var r Request
	for b.Loop() {
		for i := 1; i <= len(head); i++ {
			if _, err := r.Parse(head[:i], &testLimits); err != nil {
				b.Fatal(err)
			}
		}
	}
}
