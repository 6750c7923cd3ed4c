package http2

import (
	"errors"
	"strconv"
)

// A Code says why a stream or a connection ended (RFC 9113 section 7).
type Code uint32

// The codes of the RFC.
const (
	NoError Code = iota
	ProtocolError
	InternalError
	FlowControlError
	SettingsTimeout
	StreamClosed
	FrameSizeError
	RefusedStream
	Cancel
	CompressionError
	ConnectError
	EnhanceYourCalm
	InadequateSecurity
	HTTP11Required
)

var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "code " + strconv.FormatUint(uint64(c), 10)
}

// A StreamError is why a stream ended before its messages were whole: one side
// has reset it.
type StreamError struct{ Code Code }

func (e *StreamError) Error() string { return "stream reset: " + e.Code.String() }

// A ConnError is why a connection ended: a mistake of the peer, or Abort.
type ConnError struct {
	Code   Code
	Reason string // for the log; never holds bytes of the peer
}

func (e *ConnError) Error() string { return "HTTP/2 connection: " + e.Code.String() + ": " + e.Reason }

var (
	// ErrAgain says that a Try call would have to wait, or that Open would.
	ErrAgain = errors.New("would block")
	// ErrGoingAway says that the connection takes no more streams.
	ErrGoingAway = errors.New("HTTP/2 connection is going away")
	// ErrNoWebSocket says that the server does not take WebSockets over HTTP/2.
	ErrNoWebSocket = errors.New("server takes no extended CONNECT")

	errAborted  = &ConnError{NoError, "connection lost"}
	errAfterEnd = errors.New("bytes behind the end of the message")
)

// streamErrors are the errors of the known codes, so that a reset allocates
// nothing.
var streamErrors = func() (t [HTTP11Required + 1]StreamError) {
	for i := range t {
		t[i].Code = Code(i)
	}
	return t
}()

func streamError(c Code) *StreamError {
	if int(c) < len(streamErrors) {
		return &streamErrors[c]
	}
	return &StreamError{c}
}

func protocolError(reason string) *ConnError  { return &ConnError{ProtocolError, reason} }
func frameSizeError(reason string) *ConnError { return &ConnError{FrameSizeError, reason} }
func calm(reason string) *ConnError           { return &ConnError{EnhanceYourCalm, reason} }
