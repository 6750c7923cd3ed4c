package accesslog

import (
	"sync/atomic"
	"testing"
	"time"
)

// sample is a request of a browser.
func sample() *Record {
	return &Record{
		Time: time.Date(2026, 11, 22, 20, 50, 22, 123456789, time.UTC).UnixNano(), Duration: 1234567, FirstByte: 987654,
		Listener: []byte("https"), Route: []byte("articles"), Upstream: []byte("app"), Server: []byte("10.0.3.17:8080"),
		Client: []byte("203.0.113.195"), ClientPort: 51234, ID: []byte("0190f5c2a7b87c3d9e4f5a6b7c8d9e0f"),
		Method: []byte("GET"), Scheme: []byte("https"), Host: []byte("www.example.com"),
		URI: []byte("/articles/2026/11/some-title?utm_source=newsletter&id=8812"), Proto: []byte("HTTP/1.1"),
		Referer:   []byte("https://www.example.com/articles/"),
		UserAgent: []byte("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"),
		Status:    200, BytesIn: 0, BytesOut: 5312, Attempts: 1,
	}
}

// withoutWriter returns a File of which drain takes the place of the writer.
func withoutWriter() (f *File, drain func()) {
	f = &File{
		dropped: new(atomic.Uint64), calendar: newCalendar(),
		full: make(chan []byte, maxBatches), free: make(chan []byte, maxBatches),
	}
	return f, func() {
		for len(f.full) > 0 {
			f.free <- (<-f.full)[:1]
		}
	}
}

// BenchmarkLine is what a line costs the loop.
func BenchmarkLine(b *testing.B) {
	r, line := sample(), newCalendar()
	text := line.appendCombined(nil, r)
	for _, c := range []struct {
		name string
		add  func(f *File)
	}{
		{"json", func(f *File) { f.JSON(r) }},
		{"combined", func(f *File) { f.Combined(r) }},
		{"text", func(f *File) { f.Line(text) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, drain := withoutWriter()
			b.ReportAllocs()
			for b.Loop() {
				c.add(f)
				drain()
			}
			if n := f.dropped.Load(); n != 0 {
				b.Fatalf("dropped: got %d; want 0", n)
			}
		})
	}
}
