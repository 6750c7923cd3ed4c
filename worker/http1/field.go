package http1

// A Field is one field line of a head.
type Field struct {
	Name  []byte // as sent, a token
	Value []byte // without the blanks around it; not nil, may be empty
	Kind  Kind

	start, end int // the whole line with its CRLF, offsets in the head
}

// A Kind tells the fields that a proxy acts on from all others.
type Kind uint8

// The fields that this package knows by name.
const (
	KindOther Kind = iota
	KindHost
	KindDate
	KindCookie
	KindContentLength
	KindTransferEncoding
	KindConnection
	KindKeepAlive
	KindProxyConnection
	KindProxyAuthenticate
	KindProxyAuthorization
	KindTE
	KindTrailer
	KindUpgrade
	KindHTTP2Settings
	KindExpect
	KindMaxForwards
	KindVia
	KindForwardedFor   // X-Forwarded-For
	KindForwardedProto // X-Forwarded-Proto
	KindForwardedHost  // X-Forwarded-Host

	// kindNamed is what a field becomes when Connection or a HeaderEdit names it.
	kindNamed
)

// A kindSet is a set of kinds, a bit each.
type kindSet uint64

func (k Kind) set() kindSet          { return 1 << k }
func (s kindSet) has(k Kind) bool    { return s>>k&1 != 0 }
func (s kindSet) any(t kindSet) bool { return s&t != 0 }

const (
	// hopByHop are the fields for the next hop only (RFC 9110 section 7.6.1).
	hopByHop kindSet = 1<<KindTransferEncoding | 1<<KindConnection | 1<<KindKeepAlive | 1<<KindProxyConnection |
		1<<KindProxyAuthenticate | 1<<KindProxyAuthorization | 1<<KindTE | 1<<KindTrailer | 1<<KindUpgrade |
		1<<KindHTTP2Settings | 1<<kindNamed

	forwarded kindSet = 1<<KindForwardedFor | 1<<KindForwardedProto | 1<<KindForwardedHost

	// unremovable are the fields that a connection option cannot name: removing
	// them would change the framing, the route or what the next hop is told of
	// the client.
	unremovable = forwarded | 1<<KindHost | 1<<KindDate | 1<<KindContentLength | 1<<KindTransferEncoding |
		1<<KindExpect | 1<<KindMaxForwards | 1<<KindVia
)

// kindOf returns the kind of the field called name, which is a token.
func kindOf(name []byte) Kind {
	switch len(name) {
	case 2:
		return either(name, "te", KindTE, "", 0)
	case 3:
		return either(name, "via", KindVia, "", 0)
	case 4:
		return either(name, "host", KindHost, "date", KindDate)
	case 6:
		return either(name, "cookie", KindCookie, "expect", KindExpect)
	case 7:
		return either(name, "upgrade", KindUpgrade, "trailer", KindTrailer)
	case 10:
		return either(name, "connection", KindConnection, "keep-alive", KindKeepAlive)
	case 12:
		return either(name, "max-forwards", KindMaxForwards, "", 0)
	case 14:
		return either(name, "content-length", KindContentLength, "http2-settings", KindHTTP2Settings)
	case 15:
		return either(name, "x-forwarded-for", KindForwardedFor, "", 0)
	case 16:
		return either(name, "proxy-connection", KindProxyConnection, "x-forwarded-host", KindForwardedHost)
	case 17:
		return either(name, "transfer-encoding", KindTransferEncoding, "x-forwarded-proto", KindForwardedProto)
	case 18:
		return either(name, "proxy-authenticate", KindProxyAuthenticate, "", 0)
	case 19:
		return either(name, "proxy-authorization", KindProxyAuthorization, "", 0)
	}
	return KindOther
}

func either(name []byte, a string, ka Kind, b string, kb Kind) Kind {
	if equalToken(name, a) {
		return ka
	}
	if equalToken(name, b) {
		return kb
	}
	return KindOther
}

// equalToken reports whether the token b is s, which is lower case. Setting bit
// 5 folds letters, leaves digits and '-' alone, and turns no other token byte
// into one of these.
func equalToken(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c|0x20 != s[i] {
			return false
		}
	}
	return true
}

// parse reads the field line at b[i:] into f and returns where the next line
// starts, 0 if this one is not complete.
func (f *Field) parse(b []byte, i int) (next int, err *Error) {
	colon := len(b)
	for j, c := range b[i:] {
		if class[c]&inToken == 0 {
			colon = i + j
			break
		}
	}
	if colon == len(b) {
		return 0, nil
	}
	if b[colon] != ':' || colon == i {
		return 0, nameError(b, i, colon)
	}
	end := fieldValueEnd(b, colon+1)
	if end+1 >= len(b) && (end == len(b) || b[end] == '\r') {
		return 0, nil
	}
	if b[end] != '\r' || b[end+1] != '\n' {
		return 0, valueError(b[end])
	}
	f.Name, f.Value = b[i:colon:colon], trim(b[colon+1:end:end])
	f.Kind = kindOf(f.Name)
	f.start, f.end = i, end+2
	return end + 2, nil
}

// nextField appends the field line at b[i:] to fields and returns it and where
// the next line starts; 0 if the line is not complete or refused. At the end of
// the head it returns nil and where the body starts.
func nextField(b []byte, i int, fields *[]Field, lim *Limits) (f *Field, next int, err *Error) {
	if i == len(b) {
		return nil, 0, nil
	}
	if b[i] == '\r' {
		if i+1 == len(b) {
			return nil, 0, nil
		}
		if b[i+1] == '\n' {
			return nil, i + 2, nil
		}
		return nil, 0, errBareCR
	}
	n := len(*fields)
	if n >= lim.Fields {
		return nil, 0, errTooManyFields
	}
	*fields = append(*fields, Field{})
	f = &(*fields)[n]
	next, err = f.parse(b, i)
	return f, next, err
}

// nameError says what is wrong with a name that starts at b[i] and ends, other
// than by a colon, at b[j].
func nameError(b []byte, i, j int) *Error {
	switch c := b[j]; {
	case c == '\n':
		return errBareLF
	case c == '\r':
		return errNoColon
	case (c == ' ' || c == '\t') && i == j:
		return errFold
	case c == ' ' || c == '\t':
		return errBlankInName
	}
	return errName
}

func valueError(c byte) *Error {
	switch c {
	case '\n':
		return errBareLF
	case '\r':
		return errBareCR
	}
	return errControl
}

// lookup returns the value of the first field called name, nil if there is none.
func lookup(fields []Field, name string) []byte {
	for i := range fields {
		if f := &fields[i]; len(f.Name) == len(name) && equalFold(f.Name, name) {
			return f.Value
		}
	}
	return nil
}
