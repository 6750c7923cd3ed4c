package accesslog

import "time"

// A Record is one finished request. Its slices are the exchange's and only valid
// during the call; what is empty or zero is unknown or did not happen.
type Record struct {
	Time      int64 // of the end of the head: nanoseconds since 1970, UTC
	Duration  time.Duration
	FirstByte time.Duration // until the server's response began

	Listener, Route  []byte
	Upstream, Server []byte
	Client           []byte // address without port
	ClientPort       uint16
	ID               []byte

	Method, Scheme     []byte
	Host, URI          []byte
	Proto              []byte
	Referer, UserAgent []byte

	Status            int // 499: the client has gone
	BytesIn, BytesOut int64
	Attempts          int
	Error             string // why it failed
}

// How many bytes of a field a line shows at most, escapes included. What is
// longer is cut.
const (
	uriBytes    = 8 << 10
	headerBytes = 2 << 10 // of Referer and User-Agent
	errorBytes  = 512
	nameBytes   = 256 // of any other
)

// lineBytes is more than any line can be: the bounds above, keys and numbers.
const lineBytes = 16 << 10
