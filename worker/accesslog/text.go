package accesslog

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// A dialect says how what is not plain is written.
type dialect uint8

const (
	inJSON     dialect = iota // RFC 8259 section 7
	inCombined                // \xNN, as nginx does
	inLine                    // \xNN for control bytes and what is not UTF-8; the rest stands
)

// longestEscape is the most bytes that appendEscape appends.
const longestEscape = 6

// appendText appends at most most bytes that show s in dialect d, without cutting
// an escape in two.
func appendText(dst, s []byte, most int, d dialect) []byte {
	s = s[:min(len(s), most)] // no dialect makes a text shorter
	n := plain(s)
	if n == len(s) {
		return append(dst, s...)
	}
	end := len(dst) + most
	for {
		dst = append(dst, s[:n]...)
		s = s[n:]
		if len(s) == 0 || len(dst)+longestEscape > end {
			return dst
		}
		dst, n = appendEscape(dst, s, d)
		s = s[n:]
		n = min(plain(s), end-len(dst))
	}
}

// appendEscape appends what stands for the first character of s, which is not
// plain, and returns how many bytes of s that was.
func appendEscape(dst, s []byte, d dialect) ([]byte, int) {
	c := s[0]
	if d == inCombined {
		return appendHex(dst, c), 1
	}
	if c == '"' || c == '\\' {
		if d == inJSON {
			dst = append(dst, '\\')
		}
		return append(dst, c), 1
	}
	r, n := utf8.DecodeRune(s)
	broken := r == utf8.RuneError && n == 1
	switch {
	case d == inLine && c == '\t':
		return append(dst, c), 1
	case d == inLine && (broken || c < 0x80 || breaksLine(r)):
		return appendHex(dst, c), 1 // the bytes that continue r are no character of their own
	case broken:
		return append(dst, "\ufffd"...), 1
	case c < 0x80 || breaksLine(r):
		const hex = "0123456789abcdef"
		return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15]), n
	}
	return append(dst, s[:n]...), n
}

// breaksLine reports whether r, beyond ASCII, ends a line for some reader of
// lines or commands a terminal.
func breaksLine(r rune) bool { return r < 0xa0 || r == '\u2028' || r == '\u2029' }

func appendHex(dst []byte, c byte) []byte {
	const hex = "0123456789ABCDEF"
	return append(dst, '\\', 'x', hex[c>>4], hex[c&15])
}

// plain returns how many bytes s begins with that stand for themselves in every
// dialect: printable ASCII but for " and \.
func plain(s []byte) int {
	if len(s) < 8 {
		for i, c := range s {
			if c < ' ' || c > '~' || c == '"' || c == '\\' {
				return i
			}
		}
		return len(s)
	}
	last := len(s) - 8 // read last, over bytes already known to be plain
	for i := 0; ; i = min(i+8, last) {
		if mask := special(binary.LittleEndian.Uint64(s[i:])); mask != 0 {
			return i + bits.TrailingZeros64(mask)/8
		}
		if i == last {
			return len(s)
		}
	}
}

// special sets the high bit of each byte of w that is not plain. Bits above the
// lowest may be set in error: a borrow comes from below only.
func special(w uint64) uint64 {
	const (
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	control := w - ' '*ones
	quote := (w ^ '"'*ones) - ones
	backslash := (w ^ '\\'*ones) - ones
	del := (w ^ 0x7f*ones) - ones
	return (control | quote | backslash | del | w) & highs
}
