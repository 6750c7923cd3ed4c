package http1

// Limits bound a head. All are finite: a zero refuses everything.
type Limits struct {
	HeadBytes   int // start line, fields and the blank line
	Fields      int // field lines
	TargetBytes int // request target

	// Pseudonym is what Via calls this proxy, a token: a request that has it there
	// has been here before. "" is DefaultPseudonym; responses do not need it.
	Pseudonym string
}

// DefaultPseudonym is what Via calls a proxy that was given no name.
const DefaultPseudonym = "proxyd"

func pseudonymOr(name string) string {
	if name == "" {
		return DefaultPseudonym
	}
	return name
}

// A Form is one of the forms of a request target (RFC 9112 section 3.2).
// Authority-form belongs to CONNECT, which Parse refuses.
type Form uint8

// The forms that are accepted.
const (
	OriginForm   Form = iota // /path?query
	AbsoluteForm             // http://authority/path?query
	AsteriskForm             // *, with OPTIONS only
)

// A Request is the head of a request. The zero value is ready; Parse fills it
// for one message after the other. All slices point into the buffer that was
// parsed, or are constants; none may be changed.
type Request struct {
	Method []byte
	Target []byte // as sent
	Form   Form

	// Host is the host that is asked for, with the port if one was sent: the
	// authority of an absolute target, else the Host field. It is valid as such.
	// Only HTTP/1.0 may leave it out; it is nil then.
	Host []byte

	URI      []byte // path and query, as they are forwarded
	Path     []byte // raw; "*" in asterisk-form
	RawQuery []byte // after the first '?'; nil without one

	Minor  int // 0 or 1; later minor versions count as 1
	Fields []Field

	ContentLength  int64 // -1 without the field
	Chunked        bool
	Close          bool // the connection ends after this message
	WebSocket      bool // a complete opening handshake: the answer may be 101
	ExpectContinue bool // the client waits for a 100 before it sends the body

	// MaxForwards is the field's value for OPTIONS and TRACE, -1 without it and
	// for other methods. A request with 0 must not be forwarded: the caller
	// answers OPTIONS with a 200 and TRACE with a 405.
	MaxForwards int64

	head    []byte // the head, blank lines before it included
	line    int    // where in head the request line starts
	first   int    // where in head the first field line starts
	seen    kindSet
	options options
	scanned int // see resume
}

// Parse reads the head at the start of b and returns its length; 0 and no error
// say that it is not complete. Up to two blank lines before the request line are
// skipped and count as part of the head. What follows the head in b is not
// looked at.
//
// The caller comes back with the same bytes and more, possibly in another
// buffer: all that is kept of an incomplete head is how far it was scanned, and
// the fields of r have no meaning. A mistake is reported when its line is
// complete or sooner, a limit when it is passed. After an error the connection
// must be closed; Reset makes r ready again.
func (r *Request) Parse(b []byte, lim *Limits) (n int, err error) {
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
		return 0, e
	}
	return n, nil
}

// Reset forgets everything but the room for fields.
func (r *Request) Reset() {
	clear(r.Fields)
	*r = Request{Fields: r.Fields[:0]}
}

// resume reports whether an incomplete head needs to be parsed again now that it
// is b. While the start line is incomplete (*scanned is 0) it always is;
// afterwards only when a byte arrived that can end a line or is a mistake, so
// that a head sent byte by byte costs a scan per line, not per byte.
func resume(b []byte, scanned *int) bool {
	i := *scanned
	for {
		if i = nextControl(b, min(i, len(b))); i == len(b) {
			*scanned = i
			return false
		}
		if b[i] != '\t' {
			return true
		}
		i++
	}
}

// scannedOf returns how far the incomplete head b was scanned: a CR at its end
// is for the next time, with what follows it.
func scannedOf(b []byte) int {
	if n := len(b); b[n-1] != '\r' {
		return n
	}
	return len(b) - 1
}

func (r *Request) parse(b []byte, lim *Limits) (n int, err *Error) {
	r.scanned = 0
	i, err := skipBlank(b)
	if err != nil || i == len(b) {
		return 0, err
	}
	r.line = i
	if i, err = r.parseLine(b, i, lim); err != nil || i == 0 {
		return 0, err
	}
	r.first = i
	r.Fields, r.seen, r.options = r.Fields[:0], 0, options{}
	r.Host, r.ContentLength, r.MaxForwards = nil, -1, -1
	r.Chunked, r.ExpectContinue, r.WebSocket = false, false, false
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
			if err := r.known(f, lim); err != nil {
				return 0, err
			}
		}
	}
	r.head = b[:i:i]
	return i, r.finish()
}

// skipBlank returns where the request line starts, len(b) if that is not known
// yet (RFC 9112 section 2.2).
func skipBlank(b []byte) (int, *Error) {
	for i := 0; ; i += 2 {
		switch {
		case i == len(b):
			return i, nil
		case b[i] != '\r':
			return i, nil
		case i == 4:
			return 0, errBlankLines
		case i+1 == len(b):
			return i + 1, nil
		case b[i+1] != '\n':
			return 0, errBareCR
		}
	}
}

// known checks and notes a field that the proxy acts on.
func (r *Request) known(f *Field, lim *Limits) *Error {
	again := r.seen.has(f.Kind)
	r.seen |= f.Kind.set()
	switch f.Kind {
	case KindHost:
		if again {
			return errTwoHosts
		}
		if len(f.Value) == 0 && r.Minor == 0 {
			return nil // means none
		}
		if !validHost(f.Value) {
			return errHost
		}
		r.Host = f.Value
	case KindContentLength, KindTransferEncoding:
		if f.Kind == KindTransferEncoding && r.Minor == 0 {
			return errCoding10
		}
		return framing(f, again, &r.ContentLength, &r.Chunked)
	case KindConnection:
		return r.options.add(f.Value)
	case KindExpect:
		if r.Minor == 0 {
			return nil // RFC 9110 section 10.1.1: ignored
		}
		if !equalFold(f.Value, "100-continue") {
			return errExpect
		}
		r.ExpectContinue = true
	case KindMaxForwards:
		return r.maxForwards(f.Value, again)
	case KindVia:
		if looped(f.Value, pseudonymOr(lim.Pseudonym)) {
			return errLoop
		}
	}
	return nil
}

// framing reads a Content-Length or Transfer-Encoding field. Each may be there
// once, and only one of them.
func framing(f *Field, again bool, length *int64, chunked *bool) *Error {
	if f.Kind == KindTransferEncoding {
		if *length >= 0 {
			return errBothFramings
		}
		if again {
			return errCoding
		}
		*chunked = true
		return checkCoding(f.Value)
	}
	if *chunked {
		return errBothFramings
	}
	if again {
		return errTwoLengths
	}
	n, ok := number(f.Value)
	if !ok {
		return errLength
	}
	*length = n
	return nil
}

// checkCoding accepts chunked and nothing else: a coding that this proxy does
// not undo could hide from it where the body ends.
func checkCoding(list []byte) *Error {
	if equalFold(list, "chunked") {
		return nil
	}
	var coding []byte
	for more := true; more; {
		coding, list = member(list)
		more = list != nil
		if !isToken(coding) || more == equalFold(coding, "chunked") {
			return errCoding
		}
	}
	return errOtherCoding
}

// maxForwards reads Max-Forwards, which has a meaning for two methods only.
func (r *Request) maxForwards(v []byte, again bool) *Error {
	if m := string(r.Method); m != "OPTIONS" && m != "TRACE" {
		return nil
	}
	n, ok := number(v)
	if !ok || again {
		return errMaxForwards
	}
	r.MaxForwards = n
	return nil
}

// looped reports whether a Via value names the proxy as a recipient.
func looped(list []byte, pseudonym string) bool {
	for len(list) > 0 {
		var hop []byte
		hop, list = member(list)
		for i, c := range hop { // received-protocol RWS received-by [ RWS comment ]
			if c != ' ' && c != '\t' {
				continue
			}
			by := trim(hop[i:])
			if len(by) >= len(pseudonym) && equalFold(by[:len(pseudonym)], pseudonym) {
				if rest := by[len(pseudonym):]; len(rest) == 0 || rest[0] == ' ' || rest[0] == '\t' {
					return true
				}
			}
			break
		}
	}
	return false
}

// finish checks what only the whole head shows.
func (r *Request) finish() *Error {
	if r.Minor > 0 && r.Host == nil {
		return errNoHost
	}
	if r.Form == AbsoluteForm {
		r.Host = r.authority() // wins over the field, RFC 9112 section 3.2.2
	}
	r.options.strike(r.Fields)
	r.Close = r.options.close || r.Minor == 0 && !r.options.keepAlive
	r.ExpectContinue = r.ExpectContinue && r.HasBody()
	r.WebSocket = r.options.upgrade && r.opensWebSocket()
	if r.HasBody() && string(r.Method) == "TRACE" {
		return errTraceContent
	}
	return nil
}

// HasBody reports whether a body of at least one byte, or of unknown length,
// follows the head.
func (r *Request) HasBody() bool { return r.Chunked || r.ContentLength > 0 }

// BodyKind says how the body ends: BodyNone, BodyLength or BodyChunked.
func (r *Request) BodyKind() BodyKind {
	switch {
	case r.Chunked:
		return BodyChunked
	case r.ContentLength > 0:
		return BodyLength
	}
	return BodyNone
}

// Header returns the value of the first field called name, letters compared
// without case: nil if there is none, empty but not nil if it is empty.
func (r *Request) Header(name string) []byte { return lookup(r.Fields, name) }
