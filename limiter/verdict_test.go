package limiter

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParseStyle(t *testing.T) {
	for name, want := range map[string]Style{"x-rate-limit": XRateLimit, "ietf": IETF, "both": Both, "none": None} {
		if got, ok := ParseStyle(name); got != want || !ok {
			t.Errorf("ParseStyle(%q): got %v, %v; want %v, true", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "IETF", "all"} {
		if _, ok := ParseStyle(name); ok {
			t.Errorf("ParseStyle(%q): got ok; want not", name)
		}
	}
}

func TestAppendFields(t *testing.T) {
	const (
		ietf  = "RateLimit-Policy: \"api\";q=10;w=60\r\nRateLimit: \"api\";r=0;t=3\r\n"
		left  = "RateLimit-Policy: \"api\";q=10;w=60\r\nRateLimit: \"api\";r=4;t=60\r\n"
		x     = "X-Rate-Limit-Limit: 10\r\nX-Rate-Limit-Remaining: 0\r\nX-Rate-Limit-Reset: 3\r\n"
		retry = "Retry-After: 3\r\n"
	)
	refused := Verdict{Limit: 10, Reset: 2*time.Second + 1, Window: time.Minute}
	admitted := Verdict{Admitted: true, Limit: 10, Remaining: 4, Reset: time.Minute, Window: time.Minute}
	for _, c := range []struct {
		v     Verdict
		style Style
		want  string
	}{
		{refused, XRateLimit, x + retry},
		{refused, IETF, ietf + retry},
		{refused, Both, ietf + x + retry},
		{refused, None, ""},
		{admitted, XRateLimit, ""},
		{admitted, IETF, left},
		{admitted, Both, left},
		{admitted, None, ""},
	} {
		if got := string(c.v.AppendFields(nil, c.style, "api")); got != c.want {
			t.Errorf("%+v in style %d:\ngot  %q\nwant %q", c.v, c.style, got, c.want)
		}
	}
}

func TestAppendFieldsBounds(t *testing.T) {
	v := Verdict{Limit: MaxMax, Remaining: -1, Reset: 1, Window: MinWindow}
	want := "RateLimit-Policy: \"\";q=4294967295;w=1\r\nRateLimit: \"\";r=0;t=1\r\nRetry-After: 1\r\n"
	if got := string(v.AppendFields(nil, IETF, "")); got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestAppendFieldsAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 512)
	v := Verdict{Limit: MaxMax, Reset: time.Hour, Window: time.Hour}
	if n := testing.AllocsPerRun(100, func() { buf = v.AppendFields(buf[:0], Both, "a \"name\"") }); n != 0 {
		t.Errorf("allocations: got %v; want 0", n)
	}
}

// Whatever a limit is called and whatever is left of it, net/http and a parser of
// structured fields read what was meant.
func FuzzAppendFields(f *testing.F) {
	f.Add("api", int64(10), int64(3), int64(time.Second), int64(time.Minute), uint8(Both), false)
	f.Add("a\"b\\c", int64(MaxMax), int64(0), int64(1), int64(MaxWindow), uint8(IETF), true)
	f.Add("a\r\nSet-Cookie: b, \x00ä;q=1", int64(1), int64(-1), int64(MaxWindow), int64(MinWindow), uint8(XRateLimit), false)
	f.Fuzz(func(t *testing.T, name string, limit, remaining, reset, window int64, style uint8, admitted bool) {
		v := Verdict{
			Admitted: admitted, Limit: 1 + limit&(MaxMax>>1), Remaining: remaining & MaxMax,
			Reset: time.Duration(1 + uint64(reset)%uint64(MaxWindow)), Window: time.Duration(1 + uint64(window)%uint64(MaxWindow)),
		}
		s := Style(style % 4)
		fields := v.AppendFields(v.AppendFields(nil, s, name), s, "second")
		head := "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n" + string(fields) + "\r\n"
		r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head)), nil)
		if err != nil {
			t.Fatalf("net/http: %v in %q", err, head)
		}
		expect := func(field string, want ...string) {
			if s != IETF && s != Both {
				want = nil
			}
			got, err := parseList(strings.Join(r.Header.Values(field), ", "))
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: got %v, %v; want %v in %q", field, got, err, want, head)
			}
		}
		shown := strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '?'
			}
			return r
		}, latin1(name))
		expect("RateLimit-Policy",
			fmt.Sprintf("%s q=%d w=%d", shown, v.Limit, ceil(v.Window)), fmt.Sprintf("second q=%d w=%d", v.Limit, ceil(v.Window)))
		expect("RateLimit",
			fmt.Sprintf("%s r=%d t=%d", shown, v.Remaining, ceil(v.Reset)), fmt.Sprintf("second r=%d t=%d", v.Remaining, ceil(v.Reset)))
		if got, want := r.Header.Get("Retry-After") != "", !admitted && s != None; got != want {
			t.Errorf("Retry-After: got %v; want %v in %q", got, want, head)
		}
	})
}

// latin1 makes a rune of each byte.
func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

func ceil(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second != 0 {
		n++
	}
	return n
}

// parseList parses a List of Strings with Parameters that are Integers, as strictly
// as RFC 9651, section 4.2 has it. Each member is its text and parameters.
func parseList(s string) (members []string, err error) {
	for s != "" {
		text, rest, err := parseString(s)
		if err != nil {
			return nil, err
		}
		s = rest
		for strings.HasPrefix(s, ";") {
			s = strings.TrimLeft(s[1:], " ")
			key := s[:len(s)-len(strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyz"))]
			s = s[len(key):]
			digits := strings.TrimLeft(s, "=")
			number := digits[:len(digits)-len(strings.TrimLeft(digits, "0123456789"))]
			if key == "" || len(s)-len(digits) != 1 || number == "" || len(number) > 15 {
				return nil, fmt.Errorf("parameter at %q", s)
			}
			s = digits[len(number):]
			text += " " + key + "=" + number
		}
		members = append(members, text)
		if s == "" {
			break
		}
		rest = strings.TrimLeft(s, " \t")
		if !strings.HasPrefix(rest, ",") {
			return nil, fmt.Errorf("no comma at %q", rest)
		}
		if s = strings.TrimLeft(rest[1:], " \t"); s == "" {
			return nil, fmt.Errorf("comma at the end")
		}
	}
	return members, nil
}

func parseString(s string) (text, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", fmt.Errorf("no quote at %q", s)
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return text, s[i+1:], nil
		case c == '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", "", fmt.Errorf("escape at %q", s[i-1:])
			}
			text += s[i : i+1]
		case c < ' ' || c > '~':
			return "", "", fmt.Errorf("byte %#x", c)
		default:
			text += s[i : i+1]
		}
	}
	return "", "", fmt.Errorf("no end of %q", s)
}
