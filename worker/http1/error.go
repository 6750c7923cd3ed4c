package http1

// An Error says why a head or a body was refused. All errors of this package
// are of type *Error.
type Error struct {
	Status int    // what to answer; 502 for the head of a response, 400 for a chunked body of either side
	Reason string // for the log; lower case, never holds bytes of the message
}

func (e *Error) Error() string { return e.Reason }

func bad(reason string) *Error { return &Error{400, reason} }

// What every head can do wrong.
var (
	errHeadTooLarge  = &Error{431, "head too large"}
	errTooManyFields = &Error{431, "too many fields"}
	errBareLF        = bad("line feed without carriage return")
	errBareCR        = bad("carriage return without line feed")
	errControl       = bad("control byte in a field value")
	errName          = bad("field name is not a token")
	errNoColon       = bad("field line without a colon")
	errBlankInName   = bad("blank before the colon of a field")
	errFold          = bad("folded field line")
	errLength        = bad("content-length is not a number below 2^63")
	errTwoLengths    = bad("more than one content-length")
	errBothFramings  = bad("content-length and transfer-encoding together")
	errCoding        = bad("transfer coding that is not chunked, once and last")
	errCoding10      = bad("transfer-encoding in HTTP/1.0")
	errOtherCoding   = &Error{501, "transfer coding other than chunked"}
	errOption        = bad("connection option is not a token")
	errOptionField   = bad("connection option names a field that it must not remove")
	errManyOptions   = bad("too many connection options")
)

// What only a request can do wrong.
var (
	errBlankLines   = bad("more than two blank lines before the request line")
	errMethod       = bad("method is not a token followed by one space")
	errLongMethod   = &Error{501, "method too long"}
	errConnect      = &Error{405, "method connect is not for gateways"}
	errTarget       = bad("byte that the request target cannot hold")
	errTargetForm   = bad("form of the request target")
	errLongTarget   = &Error{414, "request target too long"}
	errAuthority    = bad("authority of the request target")
	errVersion      = bad("version is not HTTP/1.1")
	errMajor        = &Error{505, "major version is not 1"}
	errNoHost       = bad("no host")
	errTwoHosts     = bad("more than one host")
	errHost         = bad("host is not a name or address with an optional port")
	errExpect       = &Error{417, "unknown expectation"}
	errLoop         = &Error{508, "request has been through this proxy"}
	errMaxForwards  = bad("max-forwards is not one number")
	errTraceContent = bad("trace with content")
)

// What only a response can do wrong.
var errStatusLine = bad("not an HTTP/1 status line")

// What a chunked body can do wrong.
var (
	errChunkSize      = bad("chunk size is not a hexadecimal number below 2^63")
	errChunkLine      = bad("byte that a chunk line cannot hold")
	errChunkEnd       = bad("chunk data not ended by CRLF")
	errChunkExtension = bad("chunk extensions too long")
	errTrailers       = bad("trailer section too large")
)
