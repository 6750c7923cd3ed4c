package config

// A Var names a value of a request, its connection, or its place in the
// configuration.
type Var int

// The variables of expressions. Query, Header and Cookie take a name, which is
// in lower case for Header.
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
	ClientPort              // client.port
	Proto                   // request.proto
	ListenerName            // listener.name
	RouteName               // route.name
)

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
	eval textFunc
}

// Eval returns the value of e for s, nil if it is null. The result lies in the
// memory of s, of e, or behind buf, which Eval appends to; it must not be
// changed. Eval allocates only when *buf has too little room.
func (e *Expr) Eval(s Subject, buf *[]byte) []byte { return e.eval(s, buf) }
