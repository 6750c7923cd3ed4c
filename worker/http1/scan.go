package http1

import (
	"encoding/binary"
	"math/bits"
)

// Heads are scanned eight bytes at a time. For a word x, (x - n*ones) &^ x & highs
// has the high bit set in every byte below n, for n <= 128; a borrow can set it
// in further bytes, but only above one that is truly below n. The lowest set bit
// is therefore exact, and the lowest is all that is looked at.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// nextControl returns the index of the first control byte (below 0x20, or DEL)
// at or after i, len(b) if there is none.
func nextControl(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		del := x ^ 0x7f*ones
		if m := ((x-0x20*ones)&^x | (del-ones)&^del) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if b[i] < 0x20 || b[i] == 0x7f {
			return i
		}
	}
	return i
}

// fieldValueEnd returns the index of the first byte at or after i that cannot be
// part of a field value: a control byte other than a tab.
func fieldValueEnd(b []byte, i int) int {
	for {
		if i = nextControl(b, i); i == len(b) || b[i] != '\t' {
			return i
		}
		i++
	}
}

// targetEnd returns the index of the first byte at or after i that cannot be
// part of a request target: a control byte, a space or '#'. Bytes above 0x7f and
// the few visible ones that RFC 3986 excludes pass: clients send them, and no
// recipient takes them for a delimiter of HTTP.
func targetEnd(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		del, hash := x^0x7f*ones, x^'#'*ones
		if m := ((x-0x21*ones)&^x | (del-ones)&^del | (hash-ones)&^hash) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c <= ' ' || c == 0x7f || c == '#' {
			return i
		}
	}
	return i
}

// Classes of bytes.
const (
	inToken = 1 << iota // RFC 9110 section 5.6.2
	inHost              // reg-name of RFC 3986 section 3.2.2
	inIPv6              // between the brackets of an IPv6 literal
)

var class = func() (t [256]uint8) {
	mark := func(set string, bits uint8) {
		for i := range len(set) {
			t[set[i]] |= bits
		}
	}
	mark("0123456789ABCDEFabcdef", inToken|inHost|inIPv6)
	mark("GHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz", inToken|inHost)
	mark("!$%&'*+-._~", inToken|inHost)
	mark("#^`|", inToken)
	mark("(),;=", inHost)
	mark(":.", inIPv6)
	return t
}()

// isToken reports whether b is one or more token bytes.
func isToken(b []byte) bool {
	for _, c := range b {
		if class[c]&inToken == 0 {
			return false
		}
	}
	return len(b) > 0
}

// trim returns b without the blanks around it (OWS, RFC 9110 section 5.6.3).
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for n := len(b); n > 0 && (b[n-1] == ' ' || b[n-1] == '\t'); n-- {
		b = b[:n-1]
	}
	return b
}

// fits reports whether c may stand where a pattern has p: a digit for '#', which
// itself never may, and p for anything else.
func fits(c, p byte) bool {
	if p == '#' {
		return '0' <= c && c <= '9'
	}
	return c == p
}

// equalFold reports whether b is s, letters compared without case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c != s[i] && (c^s[i] != 0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

// member cuts the first member off a comma-separated list.
func member(list []byte) (first, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}

// number reads a decimal number below 2^63 of at most 19 digits.
// Nothing else is a number: no sign, no blank.
func number(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0') // 19 digits stay below 2^64, so an overflow shows as a sign
	}
	return n, n >= 0
}
