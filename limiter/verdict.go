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
}

// AppendHeaders appends the fields that tell a client its limit, each with its
// CRLF: X-Rate-Limit-Limit, -Remaining and -Reset, and if the request was refused
// Retry-After (RFC 9110, section 10.2.3). Times are whole seconds, rounded up: who
// waits as long finds a new window.
func (v Verdict) AppendHeaders(dst []byte) []byte {
	seconds := max(1, int64((v.Reset+time.Second-1)/time.Second))
	dst = appendField(dst, "X-Rate-Limit-Limit: ", v.Limit)
	dst = appendField(dst, "X-Rate-Limit-Remaining: ", v.Remaining)
	dst = appendField(dst, "X-Rate-Limit-Reset: ", seconds)
	if !v.Admitted {
		dst = appendField(dst, "Retry-After: ", seconds)
	}
	return dst
}

func appendField(dst []byte, name string, n int64) []byte {
	dst = append(dst, name...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}
