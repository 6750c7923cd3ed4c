package limiter

import (
	"strconv"
	"time"
)

// A Verdict is what a Take has decided.
type Verdict struct {
	Admitted  bool
	Limit     int64         // requests per window
	Remaining int64         // how many more this window has for the key
	Reset     time.Duration // until the window ends; more than 0
	Window    time.Duration // how long a window is

	counted uint64 // where the request was counted, for Refund; 0: not, or not to be taken back
}

// A Style is which fields tell a client its limit.
type Style uint8

// The styles. XRateLimit is the zero value.
const (
	XRateLimit Style = iota // X-Rate-Limit-Limit, -Remaining and -Reset, on refused requests
	IETF                    // RateLimit-Policy and RateLimit, on all
	Both
	None // nothing, not even Retry-After
)

// ParseStyle is the style that the configuration calls by that name.
func ParseStyle(name string) (Style, bool) {
	switch name {
	case "x-rate-limit":
		return XRateLimit, true
	case "ietf":
		return IETF, true
	case "both":
		return Both, true
	case "none":
		return None, true
	}
	return 0, false
}

// AppendFields appends the fields that a response is to have according to style,
// each with its CRLF, if this is the verdict on its request of the limit called name.
// A refused request is also told Retry-After (RFC 9110, section 10.2.3), unless style
// is None. Of several limits, the fields of each may be appended: where they are
// repeated they are one list (RFC 9651, section 4.2).
func (v Verdict) AppendFields(dst []byte, style Style, name string) []byte {
	if style == IETF || style == Both {
		dst = v.appendIETF(dst, name)
	}
	switch {
	case v.Admitted || style == None:
		return dst
	case style == IETF:
		return appendField(dst, "Retry-After: ", seconds(v.Reset))
	}
	return v.AppendHeaders(dst)
}

// AppendHeaders appends X-Rate-Limit-Limit, -Remaining and -Reset, each with its
// CRLF, and if the request was refused Retry-After. Times are whole seconds, rounded
// up: who waits as long finds a new window.
func (v Verdict) AppendHeaders(dst []byte) []byte {
	dst = appendField(dst, "X-Rate-Limit-Limit: ", v.Limit)
	dst = appendField(dst, "X-Rate-Limit-Remaining: ", v.Remaining)
	dst = appendField(dst, "X-Rate-Limit-Reset: ", seconds(v.Reset))
	if !v.Admitted {
		dst = appendField(dst, "Retry-After: ", seconds(v.Reset))
	}
	return dst
}

// appendIETF is draft-ietf-httpapi-ratelimit-headers-10: the quota q of a window of
// w seconds, of which r are left for the next t seconds.
func (v Verdict) appendIETF(dst []byte, name string) []byte {
	dst = appendString(append(dst, "RateLimit-Policy: "...), name)
	dst = strconv.AppendInt(append(dst, ";q="...), v.Limit, 10)
	dst = appendField(dst, ";w=", seconds(v.Window))
	dst = appendString(append(dst, "RateLimit: "...), name)
	dst = strconv.AppendInt(append(dst, ";r="...), max(0, v.Remaining), 10)
	return appendField(dst, ";t=", seconds(v.Reset))
}

// appendString appends a String of structured fields (RFC 9651, section 3.3.3). It
// has ASCII only, and no controls: what else is in text becomes a question mark.
func appendString(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ' || c > '~':
			dst = append(dst, '?')
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendField ends a field that begins with prefix with a number.
func appendField(dst []byte, prefix string, n int64) []byte {
	dst = append(dst, prefix...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// seconds is d rounded up, at least one.
func seconds(d time.Duration) int64 { return max(1, int64((d+time.Second-1)/time.Second)) }
