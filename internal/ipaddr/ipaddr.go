package ipaddr

import (
	"bytes"
	"net/netip"
)

// Parse reads an IPv4 address in four decimal numbers without leading zeros, or
// an IPv6 address (RFC 4291 section 2.2, all three forms) without a zone. An IPv4
// address mapped into IPv6 stays one.
func Parse(b []byte) (addr netip.Addr, ok bool) {
	if bytes.IndexByte(b, ':') >= 0 {
		a, ok := parse6(b)
		if !ok {
			return netip.Addr{}, false
		}
		return netip.AddrFrom16(a), true
	}
	a, ok := parse4(b)
	if !ok {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4(a), true
}

func parse4(b []byte) (a [4]byte, ok bool) {
	part, digits, n := 0, 0, 0
	for _, c := range b {
		switch {
		case c == '.':
			if digits == 0 || part == 3 {
				return a, false
			}
			a[part] = byte(n)
			part, digits, n = part+1, 0, 0
		case c < '0' || c > '9' || digits > 0 && n == 0: // a zero before it
			return a, false
		default:
			digits++
			if n = n*10 + int(c-'0'); n > 255 {
				return a, false
			}
		}
	}
	a[part] = byte(n)
	return a, part == 3 && digits > 0
}

func parse6(b []byte) (a [16]byte, ok bool) {
	n, gap := 0, -1 // bytes read, and how many of them stand before the ::
	if bytes.HasPrefix(b, []byte("::")) {
		gap, b = 0, b[2:]
	}
	for len(b) > 0 {
		v, i := group(b)
		if i == 0 || n == len(a) {
			return a, false
		}
		if i < len(b) && b[i] == '.' {
			last, ok := parse4(b)
			if !ok || n > len(a)-4 {
				return a, false
			}
			n += copy(a[n:], last[:])
			break
		}
		a[n], a[n+1] = byte(v>>8), byte(v)
		n += 2
		if b = b[i:]; len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return a, false
		}
		if b = b[1:]; b[0] == ':' {
			if gap >= 0 {
				return a, false
			}
			gap, b = n, b[1:]
		}
	}
	if gap < 0 || n == len(a) {
		return a, gap < 0 && n == len(a)
	}
	copy(a[len(a)-(n-gap):], a[gap:n])
	clear(a[gap : len(a)-(n-gap)])
	return a, true
}

// group reads up to four hexadecimal digits at the start of b, and says how many
// there are.
func group(b []byte) (v, digits int) {
	for _, c := range b[:min(len(b), 4)] {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | int(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			v = v<<4 | int(c|0x20-'a'+10)
		default:
			return v, digits
		}
		digits++
	}
	return v, digits
}
