package http1

// A BodyKind says how the end of a body is found (RFC 9112 section 6.3).
type BodyKind uint8

// The ways a body ends.
const (
	BodyNone       BodyKind = iota // there is none
	BodyLength                     // after ContentLength bytes, at least one
	BodyChunked                    // with the last chunk and the trailer section
	BodyUntilClose                 // with the connection; responses only
)

// A Response is the head of a response. The zero value is ready; Parse fills it
// for one message after the other. All slices point into the buffer that was
// parsed; none may be changed.
type Response struct {
	Status int    // 100 to 999
	Reason []byte // may be empty
	Minor  int    // 0 or 1; later minor versions count as 1
	Fields []Field

	ContentLength int64 // -1 without the field
	Chunked       bool
	Close         bool // the connection ends after this message, says the server
	WebSocket     bool // 101 that switches to WebSocket

	head    []byte
	first   int // where in head the first field line starts
	seen    kindSet
	options options
	scanned int // see resume
}

// Parse reads the head at the start of b and returns its length; 0 and no error
// say that it is not complete. It behaves as Request.Parse does. TargetBytes is
// not used. Every error has status 502.
func (r *Response) Parse(b []byte, lim *Limits) (n int, err error) {
	b = b[:min(len(b), lim.HeadBytes)]
	if r.scanned > 0 && len(b) < lim.HeadBytes && !resume(b, &r.scanned) {
		return 0, nil
	}
	n, e := r.parse(b, lim)
	if e == nil && n == 0 && len(b) == lim.HeadBytes {
		e = errHeadTooLarge
	}
	if e != nil {
		r.scanned = 0
		return 0, &Error{502, e.Reason}
	}
	return n, nil
}

// Reset forgets everything but the room for fields.
func (r *Response) Reset() {
	clear(r.Fields)
	*r = Response{Fields: r.Fields[:0]}
}

func (r *Response) parse(b []byte, lim *Limits) (n int, err *Error) {
	r.scanned = 0
	i, err := r.parseLine(b)
	if err != nil || i == 0 {
		return 0, err
	}
	r.first = i
	r.Fields, r.seen, r.options = r.Fields[:0], 0, options{}
	r.ContentLength, r.Chunked = -1, false
	for {
		f, next, err := nextField(b, i, &r.Fields, lim)
		if next == 0 {
			r.scanned = scannedOf(b)
			return 0, err
		}
		i = next
		if f == nil {
			break
		}
		if f.Kind != KindOther {
			if err := r.known(f); err != nil {
				return 0, err
			}
		}
	}
	r.options.strike(r.Fields)
	r.WebSocket = r.Status == 101 && r.options.upgrade && toWebSocket(r.Fields)
	r.Close = r.options.close || r.Minor == 0 && !r.options.keepAlive
	r.head = b[:i:i]
	return i, nil
}

// parseLine reads the status line at the start of b and returns where the next
// line starts, 0 if it is not complete (RFC 9112 section 4).
func (r *Response) parseLine(b []byte) (next int, err *Error) {
	const pattern = "HTTP/1.# ###"
	for i := range min(len(b), len(pattern)) {
		if !fits(b[i], pattern[i]) {
			return 0, errStatusLine
		}
	}
	if len(b) <= len(pattern) {
		return 0, nil
	}
	r.Minor = min(int(b[7]-'0'), 1)
	r.Status = int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0')
	end := len(pattern)
	if r.Status < 100 || b[end] != ' ' && b[end] != '\r' {
		return 0, errStatusLine
	}
	end = fieldValueEnd(b, end)
	if end+1 >= len(b) && (end == len(b) || b[end] == '\r') {
		return 0, nil
	}
	if b[end] != '\r' || b[end+1] != '\n' {
		return 0, valueError(b[end])
	}
	r.Reason = b[min(len(pattern)+1, end):end:end]
	return end + 2, nil
}

// known checks and notes a field that the proxy acts on.
func (r *Response) known(f *Field) *Error {
	again := r.seen.has(f.Kind)
	r.seen |= f.Kind.set()
	switch f.Kind {
	case KindContentLength, KindTransferEncoding:
		if f.Kind == KindTransferEncoding && r.Minor == 0 {
			return errCoding10
		}
		return framing(f, again, &r.ContentLength, &r.Chunked)
	case KindConnection:
		return r.options.add(f.Value)
	}
	return nil
}

// Interim reports whether a further response to the same request follows: all
// 1xx but 101.
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }

// BodyKind says how the body of this response to a request with the given method
// ends.
func (r *Response) BodyKind(method []byte) BodyKind {
	switch {
	case r.bodiless(), string(method) == "HEAD":
		return BodyNone
	case r.Chunked:
		return BodyChunked
	case r.ContentLength > 0:
		return BodyLength
	case r.ContentLength == 0:
		return BodyNone
	}
	return BodyUntilClose
}

// bodiless reports whether the status alone says that there is no body.
func (r *Response) bodiless() bool {
	return r.Status < 200 || r.Status == 204 || r.Status == 304
}

// Header returns the value of the first field called name, letters compared
// without case: nil if there is none, empty but not nil if it is empty.
func (r *Response) Header(name string) []byte { return lookup(r.Fields, name) }
