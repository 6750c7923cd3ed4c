package http2

// nameByte marks what a field name may hold: the bytes of a token (RFC 9110
// section 5.6.2) but for upper case (RFC 9113 section 8.2.1).
var nameByte = func() (t [256]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// validName reports whether name, which is not empty, may be that of a field.
func validName(name string) bool {
	for i := range len(name) {
		if !nameByte[name[i]] {
			return false
		}
	}
	return true
}

// validMethod reports whether m is a token.
func validMethod(m string) bool {
	for i := range len(m) {
		if c := m[i]; !nameByte[c] && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return m != ""
}

// validValue reports whether v may be the value of a field: no control byte but
// a tab, and no blank at either end (RFC 9113 section 8.2.1; of the control bytes
// it names NUL, CR and LF, package http1 takes none).
func validValue(v string) bool {
	if v == "" {
		return true
	}
	if blank(v[0]) || blank(v[len(v)-1]) {
		return false
	}
	for ; len(v) >= 8; v = v[8:] {
		// For a word x, (x - n*ones) &^ x & highs is 0 if and only if no byte is below
		// n, for n <= 128.
		const ones, highs = 0x0101010101010101, 0x8080808080808080
		x := uint64(v[0]) | uint64(v[1])<<8 | uint64(v[2])<<16 | uint64(v[3])<<24 |
			uint64(v[4])<<32 | uint64(v[5])<<40 | uint64(v[6])<<48 | uint64(v[7])<<56
		del := x ^ 0x7f*ones
		if ((x-' '*ones)&^x|(del-ones)&^del)&highs != 0 && !printable(v[:8]) {
			return false
		}
	}
	return printable(v)
}

// printable reports whether v has no control byte but tabs.
func printable(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// validPath reports whether p has no byte that ends a request target.
func validPath(p string) bool {
	for i := range len(p) {
		if p[i] <= ' ' {
			return false
		}
	}
	return p != "" && (p[0] == '/' || p == "*")
}

// validScheme reports whether s is a scheme of RFC 3986.
func validScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || (s[i] < '0' || s[i] > '9') && s[i] != '+' && s[i] != '-' && s[i] != '.') {
			return false
		}
	}
	return s != ""
}

// number reads a decimal number below 2^63, digits only.
func number(s string) (n int64, ok bool) {
	if len(s) == 0 || len(s) > 19 {
		return 0, false
	}
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0') // 19 digits stay below 2^64, so an overflow shows as a sign
	}
	return n, n >= 0
}

// appendLine appends a field line.
func appendLine(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}
