package config

// A Var names a value of a request, of its response, of their connections, or
// their place in the configuration.
type Var int

// The variables of expressions. Query, Header, Cookie, ResponseHeader and
// ClientCert take a name, which is in lower case for the headers. The values of those marked
// number are decimal, such as "404" or "0.001234".
const (
	Method       Var = iota // request.method
	Scheme                  // request.scheme
	Host                    // request.host
	Path                    // request.path
	URI                     // request.uri
	Query                   // request.query["name"]
	Header                  // request.header["name"]
	Cookie                  // request.cookie["name"]
	ClientIP                // client.ip
	ClientPort              // client.port, number
	Proto                   // request.proto
	ListenerName            // listener.name
	RouteName               // route.name

	RequestID         // request.id
	RequestBytes      // request.bytes, number: of the body
	ResponseStatus    // response.status, number
	ResponseHeader    // response.header["name"]
	ResponseBytes     // response.bytes, number: of the body
	Duration          // response.duration, number: seconds
	UpstreamName      // upstream.name
	UpstreamAddress   // upstream.address
	Attempts          // upstream.attempts, number
	FirstByteDuration // upstream.duration, number: seconds
	TimeISO           // time.iso8601, such as "2026-11-22T20:50:22.123Z"

	ClientCert    // client.cert["name"], a name of CertFacts
	TLSVersion    // tls.version, such as "TLS 1.3"
	TLSCipher     // tls.cipher, such as "TLS_AES_128_GCM_SHA256"
	TLSServerName // tls.sni, the name that the client asked for
	TLSProtocol   // tls.alpn, such as "h2"
)

// CertFacts are the names of what is known of a client's certificate: subject and
// issuer are distinguished names (RFC 4514), serial is hexadecimal, fingerprint is
// the SHA-256 in hexadecimal digits, san the first of the names it is for.
var CertFacts = []string{"subject", "issuer", "serial", "fingerprint", "san"}

// A Subject is what an expression is evaluated on: a request on its way.
type Subject interface {
	// Value returns the value of v, nil if it is missing. The bytes need to
	// stay valid only until the result of the evaluation has been used.
	Value(v Var, name string) []byte
}

// A textFunc yields bytes, nil for null. What it has to compute it appends to buf.
type textFunc func(s Subject, buf *[]byte) []byte

// A truthFunc yields a condition's outcome.
type truthFunc func(s Subject, buf *[]byte) bool

// An Expr is a compiled expression. It may be used by many goroutines at once.
type Expr struct {
	eval   textFunc
	origin origin
}

// Eval returns the value of e for s, nil if it is null. The result lies in the
// memory of s, of e, or behind buf, which Eval appends to; it must not be
// changed. Eval allocates only when *buf has too little room.
func (e *Expr) Eval(s Subject, buf *[]byte) []byte { return e.eval(s, buf) }

// A Condition is a compiled expression that is true or false. It may be used by
// many goroutines at once.
type Condition struct {
	holds  truthFunc
	origin origin
}

// Holds reports whether c is true for s. It uses buf as Eval does.
func (c *Condition) Holds(s Subject, buf *[]byte) bool { return c.holds(s, buf) }
