package http1

import "bytes"

// Query returns the value of the first query parameter called name, raw: nothing
// is decoded, letters compare with case. It is nil if there is none, empty but
// not nil without a value.
func (r *Request) Query(name string) []byte {
	for q := r.RawQuery; len(q) > 0; {
		var pair []byte
		if i := bytes.IndexByte(q, '&'); i >= 0 {
			pair, q = q[:i], q[i+1:]
		} else {
			pair, q = q, nil
		}
		if v, ok := valueOf(pair, name); ok {
			return v
		}
	}
	return nil
}

// Cookie returns the value of the first cookie called name, raw: quotes stay,
// letters compare with case. It is nil if there is none, empty but not nil
// without a value.
func (r *Request) Cookie(name string) []byte {
	if !r.seen.has(KindCookie) {
		return nil
	}
	for i := range r.Fields {
		if r.Fields[i].Kind != KindCookie {
			continue
		}
		for c := r.Fields[i].Value; len(c) > 0; {
			var pair []byte
			if i := bytes.IndexByte(c, ';'); i >= 0 {
				pair, c = c[:i], c[i+1:]
			} else {
				pair, c = c, nil
			}
			if v, ok := valueOf(trim(pair), name); ok {
				return v
			}
		}
	}
	return nil
}

// valueOf returns what follows name and '=' in pair, or its empty end if pair is
// the name alone.
func valueOf(pair []byte, name string) ([]byte, bool) {
	n := len(name)
	if len(pair) < n || string(pair[:n]) != name {
		return nil, false
	}
	if len(pair) == n {
		return pair[n:n:n], n > 0
	}
	return pair[n+1:], pair[n] == '='
}

// FieldIn returns the value of the first field called name, in lower case, in the
// head that AppendForward or Append made, with which head starts; nil if there
// is none.
func FieldIn(head []byte, name string) []byte {
	for {
		i := bytes.Index(head, []byte("\r\n"))
		if i < 0 {
			return nil
		}
		if head = head[i+2:]; bytes.HasPrefix(head, []byte("\r\n")) {
			return nil // a body may follow
		}
		if n := len(name); len(head) > n && head[n] == ':' && equalFold(head[:n], name) {
			end := bytes.IndexByte(head, '\r')
			if end < 0 {
				return nil
			}
			return trim(head[n+1 : end])
		}
	}
}
