package accesslog

import (
	"bytes"
	"math"
	"testing"
	"time"
)

func TestFormats(t *testing.T) {
	full := sample()
	bare := &Record{Time: full.Time, Status: 408}
	failed := &Record{
		Time: full.Time, Status: 502, Duration: 61 * time.Second, Method: []byte("PUT"), URI: []byte("/ü?\"\\"),
		Proto: []byte("HTTP/1.0"), Client: []byte("2001:db8::1"), BytesIn: 7, BytesOut: 24, Attempts: 2,
		Referer: []byte("a\r\nb"), UserAgent: []byte("\x1b[2J\x7f\xff"), Error: `connect 10.0.0.1:80: "refused"`,
	}
	for _, c := range []struct {
		name           string
		r              *Record
		json, combined string
	}{
		{
			"full", full,
			`{"time":"2026-11-22T20:50:22.123Z","id":"0190f5c2a7b87c3d9e4f5a6b7c8d9e0f","client":"203.0.113.195","port":51234,` +
				`"method":"GET","scheme":"https","host":"www.example.com","uri":"/articles/2026/11/some-title?utm_source=newsletter&id=8812",` +
				`"proto":"HTTP/1.1","status":200,"in":0,"out":5312,"duration":0.001234,"first_byte":0.000987,` +
				`"listener":"https","route":"articles","upstream":"app","server":"10.0.3.17:8080","attempts":1,` +
				`"referer":"https://www.example.com/articles/",` +
				`"user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"}`,
			`203.0.113.195 - - [22/Nov/2026:20:50:22 +0000] "GET /articles/2026/11/some-title?utm_source=newsletter&id=8812 HTTP/1.1" ` +
				`200 5312 "https://www.example.com/articles/" ` +
				`"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"`,
		},
		{
			"bare", bare,
			`{"time":"2026-11-22T20:50:22.123Z","status":408,"in":0,"out":0,"duration":0.000000}`,
			`- - - [22/Nov/2026:20:50:22 +0000] "-" 408 0 "-" "-"`,
		},
		{
			"failed", failed,
			`{"time":"2026-11-22T20:50:22.123Z","client":"2001:db8::1","method":"PUT","uri":"/ü?\"\\","proto":"HTTP/1.0",` +
				`"status":502,"in":7,"out":24,"duration":61.000000,"attempts":2,"referer":"a\u000d\u000ab",` +
				`"user_agent":"\u001b[2J\u007f` + "\ufffd" + `","error":"connect 10.0.0.1:80: \"refused\""}`,
			`2001:db8::1 - - [22/Nov/2026:20:50:22 +0000] "PUT /\xC3\xBC?\x22\x5C HTTP/1.0" 502 24 "a\x0D\x0Ab" "\x1B[2J\x7F\xFF"`,
		},
		{
			"zone with blanks", &Record{Time: full.Time, Status: 200, Client: []byte(`fe80::1%a - - [x] "`)},
			`{"time":"2026-11-22T20:50:22.123Z","client":"fe80::1%a - - [x] \"","status":200,"in":0,"out":0,"duration":0.000000}`,
			`fe80::1%a - - [22/Nov/2026:20:50:22 +0000] "-" 200 0 "-" "-"`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			calendar := newCalendar()
			if got := string(calendar.appendJSON(nil, c.r)); got != c.json {
				t.Errorf("json:\n got %s\nwant %s", got, c.json)
			}
			if got := string(calendar.appendCombined(nil, c.r)); got != c.combined {
				t.Errorf("combined:\n got %s\nwant %s", got, c.combined)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	calendar := newCalendar()
	for _, text := range []string{
		"2026-11-22T23:59:59.999Z", "2026-11-23T00:00:00.000Z", "2026-11-22T23:59:59.999Z", // a request may end a day late
		"2024-02-29T12:34:56.078Z", "1970-01-01T00:00:00.000Z", "1969-12-31T23:59:59.001Z", "2262-04-11T23:47:16.854Z",
	} {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(calendar.appendISO(nil, when.UnixNano())); got != text {
			t.Errorf("ISO: got %s; want %s", got, text)
		}
		want := when.Format("02/Jan/2006:15:04:05 -0700")
		if got := string(calendar.appendCLF(nil, when.UnixNano())); got != want {
			t.Errorf("CLF: got %s; want %s", got, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0.000000"},
		{999, "0.000000"},
		{time.Microsecond, "0.000001"},
		{time.Second - 1, "0.999999"},
		{100*time.Hour + 12*time.Millisecond, "360000.012000"},
		{-time.Second, "0.000000"}, // of a clock that went back
	} {
		if got := string(appendSeconds(nil, c.d)); got != c.want {
			t.Errorf("%d ns: got %s; want %s", c.d, got, c.want)
		}
	}
}

// worst returns the record with the longest lines: each field long, and of bytes
// with the longest escapes.
func worst() *Record {
	long := bytes.Repeat([]byte{1}, 2*uriBytes)
	return &Record{
		Time: math.MaxInt64, Duration: math.MaxInt64, FirstByte: math.MaxInt64,
		Listener: long, Route: long, Upstream: long, Server: long, Client: long, ClientPort: math.MaxUint16, ID: long,
		Method: long, Scheme: long, Host: long, URI: long, Proto: long, Referer: long, UserAgent: long,
		Status: math.MinInt64, BytesIn: math.MinInt64, BytesOut: math.MinInt64, Attempts: math.MinInt64, Error: string(long),
	}
}

func TestTheLongestLineFits(t *testing.T) {
	calendar, r := newCalendar(), worst()
	json := calendar.appendJSON(nil, r)
	combined := calendar.appendCombined(nil, r)
	for name, line := range map[string][]byte{
		"json": json, "combined": combined, "line": appendText(nil, r.URI, lineBytes-1, inLine),
	} {
		if len(line) >= lineBytes || len(line) < lineBytes/2 {
			t.Errorf("%s: got %d bytes; want fewer than %d and, being the longest, over half of it", name, len(line), lineBytes)
		}
	}
}

func TestLongFieldsAreCut(t *testing.T) {
	calendar := newCalendar()
	got := string(calendar.appendCombined(nil, &Record{
		Status: 414, Method: []byte("GET"), URI: bytes.Repeat([]byte("/"), uriBytes+1), Proto: []byte("HTTP/1.1"),
		Referer: bytes.Repeat([]byte{0}, headerBytes), // 4 bytes each
	}))
	want := `- - - [01/Jan/1970:00:00:00 +0000] "GET ` + string(bytes.Repeat([]byte("/"), uriBytes)) + ` HTTP/1.1" 414 0 "` +
		string(bytes.Repeat([]byte(`\x00`), headerBytes/4-1)) + `" "-"`
	if got != want {
		t.Errorf("got %d bytes: %.60s…%s\nwant %d", len(got), got, got[len(got)-30:], len(want))
	}
}

func TestLinesAllocateNothing(t *testing.T) {
	f, drain := withoutWriter()
	usual, hostile, line := sample(), worst(), []byte("a line \x00 of text")
	usual.Error = "connect 10.0.3.17:8080: connection refused" // longer than the compiler's own buffer
	add := func() {
		for range 100 { // enough to fill batches
			f.JSON(usual)
			f.Combined(usual)
			f.JSON(hostile)
			f.Line(line)
			f.Tick()
			drain()
		}
	}
	if n := testing.AllocsPerRun(10, add); n != 0 {
		t.Errorf("allocations: got %v; want 0", n)
	}
	if n := f.dropped.Load(); n != 0 {
		t.Errorf("dropped: got %d; want 0", n)
	}
}
