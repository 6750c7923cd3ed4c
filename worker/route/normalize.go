package route

import "bytes"

// Normalize returns the one spelling of path by which it is routed. Path is
// without its query. It takes three steps:
//
//  1. Each valid %XX is decoded, except those of '/', of '%' and of control
//     bytes, which stay, in upper case. Other '%' stay as they are; a digit that
//     would make a valid escape of one stays encoded.
//  2. Slashes in a row become one.
//  3. The segments "." and ".." are removed, as in RFC 3986 section 5.2.4.
//
// What does not begin with a slash, as the asterisk of OPTIONS, is returned as
// it is, and so is a path without '%', "//" and "/.". Any other is appended to
// dst, and what was appended is returned: it is never longer than path, so
// nothing is allocated if dst has that much room. The two must not overlap.
//
// The request is forwarded with its path as sent. Rules for exact paths and for
// prefixes that end with a slash hold nevertheless, if the path has no "..": all
// spellings that RFC 3986 section 6.2.2 calls equivalent are one here, and a path
// that literally is what a rule names, or starts with it, still does so when it
// is normal. The upstream may read it either way. Only ".." leads out of a
// prefix: an upstream that looks at "/admin/" first, or takes "/admin//../x" for
// "/admin/x", would not mean what the rules do, so whoever forwards such a path
// must not have chosen by it. Climbs finds them.
//
// Some upstreams read more into a path: they take %2F or a backslash for a slash,
// decode twice, ignore case or what follows a semicolon. Before these, a rule of
// its own must catch such paths, as the glob "/**%2F**" does.
func Normalize(dst, path []byte) []byte {
	if len(path) == 0 || path[0] != '/' || isNormal(path) {
		return path
	}
	start := len(dst)
	decoded := appendDecoded(dst, path)[start:]
	return removeDots(decoded)
}

// Climbs reports whether a segment of path is "..", in any spelling. It allocates
// nothing if dst has room for path.
func Climbs(dst, path []byte) bool {
	if isNormal(path) {
		return false
	}
	decoded := appendDecoded(dst[:0], path)
	return bytes.Contains(decoded, []byte("/../")) || bytes.HasSuffix(decoded, []byte("/.."))
}

// isNormal reports whether path has nothing to decode, merge or remove.
func isNormal(path []byte) bool {
	for i, c := range path {
		if c == '%' {
			return false
		}
		if c == '/' && i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.') {
			return false
		}
	}
	return true
}

// appendDecoded appends path to dst with its escapes decoded.
func appendDecoded(dst, path []byte) []byte {
	stray := -3 // where in dst the last '%' stands that is not part of an escape
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			dst = append(dst, c)
			continue
		}
		if i+2 >= len(path) || hex[path[i+1]] < 0 || hex[path[i+2]] < 0 {
			stray = len(dst)
			dst = append(dst, c)
			continue
		}
		c = byte(hex[path[i+1]])<<4 | byte(hex[path[i+2]])
		if i += 2; staysEncoded(c) || completes(dst, stray, c) {
			dst = append(dst, '%', upper[c>>4], upper[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// staysEncoded reports whether c would mean something else if it were decoded.
func staysEncoded(c byte) bool { return c == '/' || c == '%' || c < ' ' || c == 0x7f }

// completes reports whether c, at the end of dst, would be a digit of an escape
// that begins with the '%' at stray.
func completes(dst []byte, stray int, c byte) bool {
	switch len(dst) - stray {
	case 1:
		return hex[c] >= 0
	case 2:
		return hex[dst[stray+1]] >= 0 && hex[c] >= 0
	}
	return false
}

const upper = "0123456789ABCDEF"

// hex holds the value of each byte that is a hexadecimal digit, else -1.
var hex = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for v := range upper {
		t[upper[v]] = int8(v)
		t[upper[v]|0x20] = int8(v)
	}
	return t
}()

// removeDots merges slashes and removes dot segments in p, which begins with a
// slash, and returns what is left of it.
func removeDots(p []byte) []byte {
	end := 1 // of what is done, behind a slash
	for rest := p[1:]; len(rest) > 0; {
		segment, more := rest, false
		if i := bytes.IndexByte(rest, '/'); i >= 0 {
			segment, rest, more = rest[:i], rest[i+1:], true
		} else {
			rest = nil
		}
		switch string(segment) {
		case "", ".":
		case "..":
			if end > 1 {
				end = bytes.LastIndexByte(p[:end-1], '/') + 1
			}
		default:
			end += copy(p[end:], segment)
			if more {
				p[end] = '/'
				end++
			}
		}
	}
	return p[:end]
}
