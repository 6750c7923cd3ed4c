package http1

import "bytes"

// maxMethod bounds the method: the longest registered one has 17 bytes.
const maxMethod = 32

// parseLine reads the request line at b[i:] and returns where the next line
// starts, 0 if it is not complete (RFC 9112 section 3).
func (r *Request) parseLine(b []byte, i int, lim *Limits) (next int, err *Error) {
	j, end := i, min(len(b), i+maxMethod+1)
	for j < end && class[b[j]]&inToken != 0 {
		j++
	}
	if j-i > maxMethod {
		return 0, errLongMethod
	}
	if j == len(b) {
		return 0, nil
	}
	if b[j] != ' ' || j == i {
		return 0, errMethod
	}
	r.Method = b[i:j:j]
	if string(r.Method) == "CONNECT" {
		return 0, errConnect
	}
	i, end = j+1, min(len(b), j+1+lim.TargetBytes+1)
	j = targetEnd(b[:end], i)
	if j-i > lim.TargetBytes {
		return 0, errLongTarget
	}
	if j == len(b) {
		return 0, nil
	}
	if b[j] != ' ' || j == i {
		return 0, errTarget
	}
	r.Target = b[i:j:j]
	if j++; len(b) >= j+10 && string(b[j:j+10]) == "HTTP/1.1\r\n" {
		r.Minor = 1
	} else if len(b) >= j+10 && string(b[j:j+10]) == "HTTP/1.0\r\n" {
		r.Minor = 0
	} else if err = r.oddVersion(b[j:min(len(b), j+10)]); err != nil || len(b) < j+10 {
		return 0, err
	}
	return j + 10, r.splitTarget()
}

// oddVersion checks the end of a request line that is incomplete or has neither
// of the usual versions.
func (r *Request) oddVersion(v []byte) *Error {
	const pattern = "HTTP/#.#\r\n"
	for i, c := range v {
		if !fits(c, pattern[i]) {
			return errVersion
		}
		if i == 5 && c != '1' {
			return errMajor
		}
	}
	r.Minor = 1
	return nil
}

var slash, asterisk = []byte("/"), []byte("*")

// splitTarget finds path and query in the target.
func (r *Request) splitTarget() *Error {
	r.Form, r.URI = OriginForm, r.Target
	if r.Target[0] != '/' {
		if err := r.oddTarget(); err != nil {
			return err
		}
	}
	if q := bytes.IndexByte(r.URI, '?'); q >= 0 {
		r.Path, r.RawQuery = r.URI[:q:q], r.URI[q+1:]
	} else {
		r.Path, r.RawQuery = r.URI, nil
	}
	return nil
}

// oddTarget sets form and URI of a target that is not in origin-form.
func (r *Request) oddTarget() *Error {
	options := string(r.Method) == "OPTIONS"
	if string(r.Target) == "*" {
		if !options {
			return errTargetForm
		}
		r.Form, r.URI = AsteriskForm, asterisk
		return nil
	}
	if len(schemeOf(r.Target)) == 0 {
		return errTargetForm
	}
	r.Form = AbsoluteForm
	authority := r.authority()
	if !validHost(authority) {
		return errAuthority // user information is refused here too
	}
	r.URI = r.Target[len(schemeOf(r.Target))+len(authority):]
	switch {
	case len(r.URI) == 0 && options:
		r.URI = asterisk // RFC 9112 section 3.2.4
	case len(r.URI) == 0:
		r.URI = slash
	case r.URI[0] == '?':
		r.URI = append([]byte("/"), r.URI...) // so rare that it may allocate
	}
	return nil
}

// StripPrefix returns path and query without the segments at their start that are
// prefix, which has a slash at its start and none at its end; uri itself if it
// does not start with these. The result starts with a slash and is a part of uri,
// unless a query follows the prefix at once: that needs a copy.
func StripPrefix(uri, prefix []byte) []byte {
	rest, ok := bytes.CutPrefix(uri, prefix)
	switch {
	case !ok:
		return uri
	case len(rest) == 0:
		return slash
	case rest[0] == '/':
		return rest
	case rest[0] == '?':
		return append([]byte("/"), rest...)
	}
	return uri
}

// schemeOf returns "http://" or "https://" as it stands before an absolute
// target, empty if neither does.
func schemeOf(target []byte) []byte {
	for _, s := range [...]string{"http://", "https://"} {
		if len(target) >= len(s) && equalFold(target[:len(s)], s) {
			return target[:len(s)]
		}
	}
	return nil
}

// authority returns the authority of an absolute target.
func (r *Request) authority() []byte {
	rest := r.Target[len(schemeOf(r.Target)):]
	if i := bytes.IndexAny(rest, "/?"); i >= 0 {
		return rest[:i:i]
	}
	return rest
}

// validHost reports whether h is a name, an IPv4 address or an IPv6 address in
// brackets, with an optional port (RFC 3986 section 3.2, without user
// information). An empty port is allowed, an empty name is not.
func validHost(h []byte) bool {
	i := 0
	if len(h) > 0 && h[0] == '[' {
		for i++; i < len(h) && class[h[i]]&inIPv6 != 0; i++ {
		}
		if i == len(h) || h[i] != ']' || i == 1 {
			return false
		}
		i++
	} else {
		for i < len(h) && class[h[i]]&inHost != 0 {
			i++
		}
	}
	if i == len(h) || i == 0 {
		return i > 0
	}
	return h[i] == ':' && validPort(h[i+1:])
}

func validPort(p []byte) bool {
	n, ok := number(p)
	return len(p) == 0 || ok && n < 1<<16
}
