package config

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "17B": 17, "32KiB": 32 << 10, "3 MiB": 3 << 20, "2GiB": 2 << 30, "5kB": 5000, "5MB": 5e6,
		"": -1, "KiB": -1, "-1": -1, "1.5MiB": -1, "32k": -1, "1TiB": -1, "9223372036854775807": 1<<63 - 1,
		"9223372036854775808": -1, "9007199254740992KiB": -1, "0x10": -1, "+1": -1,
	} {
		got, err := parseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
		if again, err := parseSize(formatSize(max(got, 0))); err != nil || again != max(got, 0) {
			t.Errorf("%q: formatted and parsed again: got %d, %v; want %d", text, again, err, got)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{
		"1/s": {1, time.Second}, "600/m": {600, time.Minute}, "1000000000/h": {1e9, time.Hour},
		"": {}, "1": {}, "/s": {}, "0/s": {}, "-1/s": {}, "+1/s": {}, "1/d": {}, "1/s/s": {}, "1.5/s": {}, " 1/s": {}, "1000000001/s": {},
	} {
		if got, err := parseRate(text); got != want || (err == nil) != (want != Rate{}) {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestCheckHost(t *testing.T) {
	for text, want := range map[string]bool{
		"example.com": true, "example.com:443": true, "a_b": true, "1.2.3.4": true, "1.2.3.4:80": true, "[::1]": true, "[::1]:80": true,
		"": false, "a b": false, "a\r\nb": false, "::1": false, "[1.2.3.4]": false, "a:b": false, "a:99999": false, "1.2.3": false,
		"a/b": false, "[::1": false, strings.Repeat("a", 256): false,
	} {
		if err := checkHost(text); (err == nil) != want {
			t.Errorf("%q: got %v; want valid %v", text, err, want)
		}
	}
}

func TestAddressNames(t *testing.T) {
	valid := regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	seen := map[string]string{}
	for text, want := range map[string]string{
		"0.0.0.0:443":      "l.tcp4.0.0.0.0.443",
		":443":             "l.tcp6.--.443",
		"[2001:db8::1]:80": "l.tcp6.2001-db8--1.80",
		"unix:/a/b":        "l.unix.-a-b",
		"unix:/a-b":        "l.unix.-a_2db",
		"unix:/a_b":        "l.unix.-a_5fb",
		"unix:/ä b":        "l.unix.-_c3_a4_20b",
		"systemd:web-1":    "l.systemd.web_2d1",
	} {
		a, err := parseListen(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := a.Name()
		if got != want || !valid.MatchString(got) || a.String() != text {
			t.Errorf("%s: got %q, %q; want %q", text, got, a.String(), want)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("%s and %s are both named %s", text, other, got)
		}
		seen[got] = text
	}
	for _, a := range []Address{{Network: "tcp", Value: "[::]:80"}, {Network: "unix", Value: "/a"}} {
		if again, err := parseListen(a.String()); err != nil || again.Name() != a.Name() {
			t.Errorf("%+v: got %v, %v; want its text to mean the same", a, again, err)
		}
	}
}

func TestOverlaps(t *testing.T) {
	cases := []struct {
		a, b string
		want bool
	}{
		{":80", "0.0.0.0:80", true},
		{":80", "127.0.0.1:80", true},
		{":80", "[::1]:80", true},
		{"0.0.0.0:80", "127.0.0.1:80", true},
		{"0.0.0.0:80", "[::1]:80", false},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"[::ffff:127.0.0.1]:80", "127.0.0.1:80", true},
		{":80", ":81", false},
		{"unix:/a", "unix:/a", true},
		{"unix:/a", "unix:/b", false},
		{"systemd:a", "unix:/a", false},
	}
	for _, c := range cases {
		a, errA := parseListen(c.a)
		b, errB := parseListen(c.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.overlaps(b) != c.want || b.overlaps(a) != c.want {
			t.Errorf("%s and %s: got %v; want %v", c.a, c.b, a.overlaps(b), c.want)
		}
	}
}

func TestParseDecimal(t *testing.T) {
	for text, want := range map[string]float64{
		"0": 0, "404": 404, "0.001234": 0.001234, "12.5": 12.5, "5.": 5, ".5": 0.5, "9007199254740992": 1 << 53, "1099511627776": 1 << 40,
		"": -1, ".": -1, "1.2.3": -1, "-1": -1, "1e3": -1, "x": -1, "10.1.2.3": -1,
	} {
		got, ok := parseDecimal([]byte(text))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %v; want %v", text, got, want)
		}
	}
}

func TestParsePercent(t *testing.T) {
	for text, want := range map[string]percent{"0%": 0, "20%": 20, "100%": 100, "101%": 101, "": -1, "%": -1, "20": -1, "-1%": -1, "1.5%": -1, "20 %": -1} {
		got, err := parsePercent(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %v; want %v", text, got, want)
		}
	}
}
