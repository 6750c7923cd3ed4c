package route

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestNormalize(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"", ""},
		{"*", "*"},
		{"a/../b", "a/../b"},
		{"/", "/"},
		{"/a/b.c/~d", "/a/b.c/~d"},

		{"/x/../admin", "/admin"},
		{"/%61dmin", "/admin"},
		{"//admin", "/admin"},
		{"/%2e%2E/admin", "/admin"},
		{"/x/%2e./admin/", "/admin/"},
		{"/.//./admin", "/admin"},
		{"/x//../admin", "/admin"},

		{"/a/.", "/a/"},
		{"/a/..", "/"},
		{"/a/b/..", "/a/"},
		{"/a/b/../../../c", "/c"},
		{"/..", "/"},
		{"/.", "/"},
		{"///", "/"},
		{"/a//", "/a/"},
		{"/.a/..b/c./...", "/.a/..b/c./..."},
		{"/.well-known/acme", "/.well-known/acme"},

		{"/a%20b%3f%23%5c", "/a b?#\\"},
		{"/%c3%A9", "/é"},
		{"/a%2fb", "/a%2Fb"},
		{"/..%2fadmin", "/..%2Fadmin"},
		{"/%2561dmin", "/%2561dmin"},
		{"/%00%0d%0A%1f%7F%80", "/%00%0D%0A%1F%7F\x80"},

		{"/%", "/%"},
		{"/%4", "/%4"},
		{"/%zz%61", "/%zza"},
		{"/%4g%61", "/%4ga"},
		{"/%%41", "/%%41"},
		{"/%%67", "/%g"},
		{"/%%34%31", "/%%341"},
		{"/%4%31", "/%4%31"},
		{"/%4%67", "/%4g"},
		{"/%g%31", "/%g1"},
		{"/%/%34%31", "/%/41"},
		{"/%25%34%31", "/%2541"},
	} {
		if got := string(Normalize(nil, []byte(c.path))); got != c.want {
			t.Errorf("Normalize(%q): got %q; want %q", c.path, got, c.want)
		}
	}
}

func TestNormalizeReturnsAnOrdinaryPathItself(t *testing.T) {
	path := []byte("/v1/users/42/avatar.png")
	if got := Normalize(make([]byte, 0, 64), path); &got[0] != &path[0] {
		t.Errorf("Normalize(%q): got a copy; want the path", path)
	}
}

// The caller may keep what it already has in dst, and its path.
func TestNormalizeChangesNothingElse(t *testing.T) {
	dst := append(make([]byte, 0, 64), "%4"...)
	path := []byte("/a/../%31")
	got := Normalize(dst, path)
	if string(got) != "/1" || string(dst) != "%4" || string(path) != "/a/../%31" {
		t.Errorf("got %q, dst %q, path %q; want /1, %%4 and the path as it was", got, dst, path)
	}
	if &got[0] != &dst[:3][2] {
		t.Error("got new memory; want the room in dst")
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{
		"/", "*", "", "/a/b", "/x/../admin", "/%61dmin//x/.", "/%2e%2e/%2F%5c%25%00", "/%%34%31%4%31%%", "/a/./../..//%c3%A9/...",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		sent := string(path)
		got := Normalize(make([]byte, 0, len(path)), path)
		if string(path) != sent {
			t.Fatalf("Normalize(%q): path became %q", sent, path)
		}
		if len(got) > len(path) {
			t.Errorf("Normalize(%q): got %q, which is longer", path, got)
		}
		if again := Normalize(nil, got); !bytes.Equal(again, got) {
			t.Errorf("Normalize(%q): got %q, and %q of that; want the same", path, got, again)
		}
		if want := normalizeSlowly(string(path)); string(got) != want {
			t.Errorf("Normalize(%q): got %q; want %q", path, got, want)
		}
	})
}

// What is forwarded as sent is under no prefix that its normal form has left.
func FuzzNormalizeStaysUnderItsPrefixes(f *testing.F) {
	f.Add("/admin//./%2e/x%2f/")
	f.Add("/a%/%41/%%34/b")
	f.Fuzz(func(t *testing.T, path string) {
		decoded := string(appendDecoded(nil, []byte(path)))
		if strings.Contains(decoded+"/", "/../") {
			return
		}
		normal := string(Normalize(nil, []byte(path)))
		for i := range len(path) {
			prefix := path[:i+1]
			isNormal := string(Normalize(nil, []byte(prefix))) == prefix
			if path[i] == '/' && isNormal && !strings.HasPrefix(normal, prefix) {
				t.Errorf("Normalize(%q): got %q; want it to start with %q", path, normal, prefix)
			}
		}
	})
}

// normalizeSlowly does as Normalize says, a step at a time. An escape that stray
// percent signs make doubtful is found by what it would lead to.
func normalizeSlowly(path string) string {
	if !strings.HasPrefix(path, "/") {
		return path
	}
	var tokens []string // bytes and escapes
	for i := 0; i < len(path); {
		n := 1
		if _, ok := decodeEscape(path[i:]); ok {
			n = 3
		}
		tokens = append(tokens, path[i:i+n])
		i += n
	}
	decoded := ""
	for _, token := range tokens {
		c, ok := decodeEscape(token)
		switch {
		case !ok:
			decoded += token
		case c == '/' || c == '%' || c < 0x20 || c == 0x7f || endsInEscape(decoded+string([]byte{c})):
			decoded += strings.ToUpper(token)
		default:
			decoded += string([]byte{c})
		}
	}
	kept := []string{""}
	segments := strings.Split(decoded, "/")[1:]
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == ".." && len(kept) > 1:
			kept = kept[:len(kept)-1]
		case s != "" && s != "." && s != "..":
			kept = append(kept, s)
			continue
		}
		if last {
			kept = append(kept, "")
		}
	}
	if len(kept) == 1 {
		return "/"
	}
	return strings.Join(kept, "/")
}

func decodeEscape(s string) (c byte, ok bool) {
	if len(s) < 3 || s[0] != '%' || strings.Trim(s[1:3], "0123456789abcdefABCDEF") != "" {
		return 0, false
	}
	_, err := fmt.Sscanf(s[1:3], "%x", &c)
	return c, err == nil
}

// endsInEscape reports whether the last byte of s is a digit of an escape, or the
// first digit of what could become one.
func endsInEscape(s string) bool {
	for n := 2; n <= 3 && n <= len(s); n++ {
		if _, ok := decodeEscape((s[len(s)-n:] + "0")[:3]); ok {
			return true
		}
	}
	return false
}

func TestNormalizeAllocatesNothing(t *testing.T) {
	paths := [][]byte{[]byte("/v1/users/42"), []byte("/%61//b/../c/%2F%%41"), bytes.Repeat([]byte("/a/..%2e"), 100)}
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range paths {
			Normalize(dst, p)
		}
	}); n != 0 {
		t.Errorf("got %v allocations; want none", n)
	}
}

func BenchmarkNormalize(b *testing.B) {
	for _, c := range []struct{ name, path string }{
		{"ordinary", "/api/v1/users/12345/avatar.png"},
		{"long", "/" + strings.Repeat("segment/", 30)},
		{"escaped", "/api//v1/./users/%31%32345/../avatar%20a.png"},
	} {
		b.Run(c.name, func(b *testing.B) {
			path, dst := []byte(c.path), make([]byte, 0, 256)
			b.SetBytes(int64(len(path)))
			b.ReportAllocs()
			for b.Loop() {
				Normalize(dst, path)
			}
		})
	}
}

func TestClimbs(t *testing.T) {
	for path, want := range map[string]bool{
		"/": false, "/a/b": false, "/a/..": true, "/../a": true, "/a/../b": true, "/a/%2e%2E/b": true, "/a/.%2e": true,
		"/a/.../b": false, "/a/..b": false, "/a..": false, "/a/%252e%252e/": false, "//..": true, "*": false, "": false,
	} {
		if got := Climbs(nil, []byte(path)); got != want {
			t.Errorf("Climbs(%q): got %v; want %v", path, got, want)
		}
	}
}
