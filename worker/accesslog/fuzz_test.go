package accesslog

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// hostile are the seeds of all targets.
var hostile = []string{
	"", "GET", "a\nb", "a\r\nb", "\"", "\\", "\\\"", "\x00", "\x1b]0;x\x07", "\x7f", "\x80", "\xff\xfe", "ü", "\u0085", "\u009b2J", "\u2028\u2029",
	"\U0001f600", "\xed\xa0\x80", "\xc3", "1234567\"", "12345678\"", "1234567\x7f9", "\x1f\x20\x21\x22\x23", "tab\tbed", "[]{},:", "\xef\xbf\xbd",
	`\x22`, `\u0022`, `" 200 0 "-" "-"`, strings.Repeat("a", headerBytes), strings.Repeat("é", headerBytes), strings.Repeat("\n", nameBytes),
}

func seed(f *testing.F) {
	for i, s := range hostile {
		f.Add([]byte(s), []byte(hostile[(i+7)%len(hostile)]), int64(i)*1e9, i)
	}
}

// shows reports whether a line that shows got stands for want, of which most
// bytes may be shown.
func shows(got, want string, most int) bool {
	if len(want)*longestEscape <= most-longestEscape {
		return got == want
	}
	return strings.HasPrefix(want, got) && len(got) >= most/longestEscape-longestEscape
}

// isOneLine reports an error unless line is UTF-8 and no reader of lines sees two.
func isOneLine(t *testing.T, line []byte) {
	t.Helper()
	if !utf8.Valid(line) {
		t.Errorf("%q: want UTF-8", line)
	}
	for _, r := range string(line) {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			t.Errorf("%q: got %U; want it escaped", line, r)
		}
	}
	if len(line) >= lineBytes {
		t.Errorf("length: got %d; want less than %d", len(line), lineBytes)
	}
}

func FuzzJSON(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, a, b []byte, when int64, n int) {
		calendar := newCalendar()
		line := calendar.appendJSON(nil, &Record{
			Time: when, Duration: time.Duration(n), FirstByte: time.Duration(n),
			ID: a, Client: b, Method: a, Scheme: b, Host: a, URI: b, Proto: a, Listener: b, Route: a, Upstream: b, Server: a,
			Referer: b, UserAgent: a, Error: string(b), Status: n, BytesIn: when, BytesOut: int64(n), Attempts: n,
		})
		isOneLine(t, line)
		if bytes.IndexByte(line, '\t') >= 0 {
			t.Errorf("%q: got a tab; want it escaped", line)
		}
		var got struct {
			Time time.Time

			ID, Client, Method, Scheme, Host, URI, Proto      string
			Listener, Route, Upstream, Server, Referer, Error string

			UserAgent string `json:"user_agent"`

			Port, Status, In, Out, Attempts int64

			Duration  float64
			FirstByte float64 `json:"first_byte"`
		}
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&got); err != nil || decoder.InputOffset() != int64(len(line)) {
			t.Fatalf("%q: %v; want one JSON object", line, err)
		}
		wantA, wantB := string([]rune(string(a))), string([]rune(string(b)))
		for _, c := range []struct {
			got, want string
			most      int
		}{
			{got.ID, wantA, nameBytes},
			{got.Client, wantB, nameBytes},
			{got.Method, wantA, nameBytes},
			{got.Scheme, wantB, nameBytes},
			{got.Host, wantA, nameBytes},
			{got.URI, wantB, uriBytes},
			{got.Proto, wantA, nameBytes},
			{got.Listener, wantB, nameBytes},
			{got.Route, wantA, nameBytes},
			{got.Upstream, wantB, nameBytes},
			{got.Server, wantA, nameBytes},
			{got.Referer, wantB, headerBytes},
			{got.UserAgent, wantA, headerBytes},
			{got.Error, wantB, errorBytes},
		} {
			if !shows(c.got, c.want, c.most) {
				t.Errorf("got %q; want %q, or %d bytes of it", c.got, c.want, c.most)
			}
		}
		if got.Status != int64(n) || got.Attempts != int64(n) || got.In != when || got.Out != int64(n) {
			t.Errorf("numbers: got %+v; want %d and %d", got, n, when)
		}
		if want := time.Unix(0, when).UTC(); got.Time.Sub(want).Abs() >= time.Millisecond {
			t.Errorf("time: got %v; want %v", got.Time, want)
		}
	})
}

const quoted = `"((?:[^"\\]|\\x[0-9A-F]{2})*)"`

var combinedLine = regexp.MustCompile(`^([^ "\\]|\\x[0-9A-F]{2})+ - - \[([0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2} \+0000)\] ` +
	quoted + ` (-?[0-9]+) (-?[0-9]+) ` + quoted + ` ` + quoted + `$`)

func FuzzCombined(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, a, b []byte, when int64, n int) {
		calendar := newCalendar()
		line := calendar.appendCombined(nil, &Record{
			Time: when, Client: b, Method: []byte("GET"), URI: a, Proto: []byte("HTTP/1.1"),
			Referer: b, UserAgent: a, Status: n, BytesOut: when,
		})
		isOneLine(t, line)
		m := combinedLine.FindStringSubmatch(string(line))
		if m == nil {
			t.Fatalf("%q: want %v", line, combinedLine)
		}
		date, request, status, size, referer, agent := m[2], m[3], m[4], m[5], m[6], m[7]
		if want := time.Unix(0, when).UTC().Format("02/Jan/2006:15:04:05 -0700"); date != want {
			t.Errorf("date: got %s; want %s", date, want)
		}
		if status != strconv.Itoa(n) || size != strconv.FormatInt(when, 10) {
			t.Errorf("numbers: got %s %s; want %d %d", status, size, n, when)
		}
		uri := strings.TrimSuffix(strings.TrimPrefix(request, "GET "), " HTTP/1.1")
		for _, c := range []struct {
			got, want string
			most      int
		}{{uri, string(a), uriBytes}, {referer, orDash(b), headerBytes}, {agent, orDash(a), headerBytes}} {
			got, err := strconv.Unquote(`"` + c.got + `"`)
			if err != nil || !shows(got, c.want, c.most) {
				t.Errorf("got %q, %v; want %q, or %d bytes of it", got, err, c.want, c.most)
			}
		}
	})
}

func orDash(s []byte) string {
	if len(s) == 0 {
		return "-"
	}
	return string(s)
}

func FuzzLine(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, a, b []byte, _ int64, _ int) {
		text := append(append(bytes.Clone(a), ' '), b...)
		line := appendText(nil, text, lineBytes-1, inLine)
		isOneLine(t, line)
		if again := appendText(nil, line, lineBytes-1, inLine); !bytes.Equal(again, line) {
			t.Errorf("escaped twice: got %q; want %q", again, line)
		}
		if n := plain(text); !bytes.HasPrefix(line, text[:min(n, lineBytes-1)]) {
			t.Errorf("%q: got %q; want the first %d bytes as they are", text, line, n)
		}
	})
}

// FuzzPlain holds the quick scan against the plain one.
func FuzzPlain(f *testing.F) {
	for _, s := range hostile {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		want := bytes.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
		if want < 0 {
			want = len(s)
		}
		if got := plain(s); got != want {
			t.Errorf("%q: got %d; want %d", s, got, want)
		}
	})
}

// Each byte at each place among bytes that borrow in a word.
func TestPlain(t *testing.T) {
	for size := range 20 {
		for at := range size {
			for c := range 256 {
				for _, rest := range []byte{' ', '~', '!', '#', '[', ']'} {
					s := bytes.Repeat([]byte{rest}, size)
					s[at] = byte(c)
					want := at
					if c >= ' ' && c <= '~' && c != '"' && c != '\\' {
						want = size
					}
					if got := plain(s); got != want {
						t.Fatalf("%q: got %d; want %d", s, got, want)
					}
				}
			}
		}
	}
}
