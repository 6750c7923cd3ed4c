package route

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestGlob(t *testing.T) {
	long := strings.Repeat("/abcdefg", 100)
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"", "", true},
		{"", "/", false},
		{"/a", "/a", true},
		{"/a", "/ab", false},
		{"/ab", "/a", false},
		{"/*.png", "/a.png", true},
		{"/*.png", "/.png", true},
		{"/*.png", "/a.png.gif", false},
		{"/*.png", "/a/b.png", false},
		{"/**.png", "/a/b.png", true},
		{"/**/b", "/b", false},
		{"/**/b", "/a/b", true},
		{"/**/b", "/a/c/b/b", true},
		{"/*/b", "/a/c/b", false},
		{"/a/***", "/a/b/c", true},
		{"/a*b*c", "/abbcbc", true},
		{"/a*b*c", "/abbcb", false},
		{"/a?c", "/abc", true},
		{"/a?c", "/a/c", false},
		{"/a?", "/a", false},
		{"/??", "/é", true}, // a byte, not a letter
		{"/?", "/é", false},
		{"/**", "/", true},
		{"**", "", true},
		{"*", "a/b", false},
		{"/a%20*", "/a b", true},
		{"/%2a*", "/*b", true},
		{"/%2a*", "/ab", false},
		{"/%2f*", "/%2Fb", true},
		{"/%3f?", "/?b", true},
		{long + "/*", long + "/z", true},
		{long + "/*", long + "z", false},
		{"/**" + long, long + long, true},
		{strings.Repeat("?", 63) + "*", strings.Repeat("a", 64), true},
		{strings.Repeat("?", 63) + "*b", strings.Repeat("a", 63) + "b", true},
		{strings.Repeat("?", 64) + "*b", strings.Repeat("a", 64) + "b", true},
		{strings.Repeat("?", 64), strings.Repeat("a", 64), true},
		{strings.Repeat("?", 64), strings.Repeat("a", 63), false},
	} {
		if got := newGlob(c.pattern).match([]byte(c.path)); got != c.want {
			t.Errorf("glob %.80q, path %.80q: got %v; want %v", c.pattern, c.path, got, c.want)
		}
	}
}

// A regular expression says the same as a glob, if it is run on one letter per
// byte.
func FuzzGlob(f *testing.F) {
	f.Add("/*.png", []byte("/a.png"))
	f.Add("/**/b?*", []byte("/a/c/b/bcd"))
	f.Add("***a**b*?", []byte("aab/ab\xff"))
	f.Add(strings.Repeat("a*", 70), []byte(strings.Repeat("ab", 80)))
	f.Fuzz(func(t *testing.T, pattern string, path []byte) {
		if len(pattern) > 600 || len(path) > 600 || strings.Contains(pattern, "%") {
			return // the oracle is slow, and does not decode
		}
		want := globRegexp(pattern).MatchString(latin1(path))
		if got := newGlob(pattern).match(path); got != want {
			t.Errorf("glob %q, path %q: got %v; want %v", pattern, path, got, want)
		}
	})
}

// globRegexp returns what a glob without escapes means, for texts from latin1.
func globRegexp(pattern string) *regexp.Regexp {
	var expr strings.Builder
	for text := pattern; text != ""; {
		rest := strings.TrimLeft(text, "*")
		switch n := len(text) - len(rest); {
		case n > 1:
			expr.WriteString(".*")
		case n == 1:
			expr.WriteString("[^/]*")
		case text[0] == '?':
			expr.WriteString("[^/]")
			rest = text[1:]
		default:
			expr.WriteString(regexp.QuoteMeta(latin1([]byte(text[:1]))))
			rest = text[1:]
		}
		text = rest
	}
	return regexp.MustCompile(`(?s)\A(?:` + expr.String() + `)\z`)
}

// latin1 returns b with each byte as the letter of its number.
func latin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

// Backtracking would be at it for longer than the universe is old.
func TestGlobIsLinear(t *testing.T) {
	path := []byte(strings.Repeat("a", 32<<10))
	for _, pattern := range []string{
		strings.Repeat("**a", 20) + "b",
		strings.Repeat("*a", 20) + "b",
		strings.Repeat("**?*a?", 20) + "b",
		strings.Repeat("**a*a", 100) + "b",
	} {
		g, start := newGlob(pattern), time.Now()
		if g.match(path) {
			t.Errorf("glob %.20q...: got a match; want none", pattern)
		}
		took := time.Since(start)
		t.Logf("glob of %d bytes on %d bytes: %v", len(pattern), len(path), took)
		if took > time.Second {
			t.Errorf("glob %.20q...: got %v; want at most 1s", pattern, took)
		}
	}
}

func BenchmarkGlob(b *testing.B) {
	for _, c := range []struct{ name, pattern, path string }{
		{"short", "/img/**/*.png", "/img/2026/11/avatar.png"},
		{"miss", "/img/**/*.png", "/api/v1/users/12345"},
		{"hostile", strings.Repeat("**a", 20) + "b", strings.Repeat("a", 8<<10)},
	} {
		b.Run(c.name, func(b *testing.B) {
			g, path := newGlob(c.pattern), []byte(c.path)
			b.ReportAllocs()
			for b.Loop() {
				g.match(path)
			}
		})
	}
}
