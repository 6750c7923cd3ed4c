package http2

import (
	"errors"

	"golang.org/x/net/http2/hpack"

	"github.com/proxyd/proxyd/worker/http1"
)

// A blockKind says what a header block is.
type blockKind uint8

const (
	blockIgnored  blockKind = iota // decoded for the state of HPACK only
	blockRequest                   // of a new stream
	blockResponse                  // final or interim
	blockTrailers
)

// A block is the header block that is being received.
type block struct {
	open      bool // its last CONTINUATION is still to come
	id        uint32
	endStream bool
	parts     int // CONTINUATION frames so far
	decoded   bool
	bytes     []byte // of a block that did not come at once

	kind    blockKind
	s       *Stream
	fault   Code // the stream is to be reset for it
	tooLong bool // above HeaderBytes or Fields
	size    int  // of the list so far
	fields  int

	pseudo  pseudo
	regular bool   // pseudo headers are over
	length  int64  // content-length, -1 without
	trailer bool   // there is a field that announces trailers
	cookie  []byte // all cookie fields, joined
}

// A pseudo holds the pseudo headers of a block.
type pseudo struct {
	method, scheme, authority, path, protocol string
	has                                       uint8 // a bit for each that was there
	status                                    int
}

const (
	hasMethod = 1 << iota
	hasScheme
	hasAuthority
	hasPath
	hasProtocol
	hasStatus
)

// maxBlock bounds the bytes of a header block. It leaves room to decode a list
// that is too long, and to say so on its stream alone.
func (c *Conn) maxBlock() int { return 2 * c.lim.HeaderBytes }

// malformed notes that the stream is to be reset.
func (b *block) malformed(code Code) {
	if b.fault == NoError {
		b.fault = code
	}
}

// beginBlock starts the header block of a HEADERS frame.
func (c *Conn) beginBlock(f *frame) {
	b := &c.block
	*b = block{
		open: true, id: f.id, endStream: f.has(flagEndStream), bytes: b.bytes[:0], cookie: b.cookie[:0], length: -1,
	}
}

// continued counts a CONTINUATION frame.
func (c *Conn) continued(f *frame) *ConnError {
	b := &c.block
	if b.parts++; b.parts > c.lim.Continuations {
		return calm("header block in too many frames")
	}
	return nil
}

// fragment takes a piece of the block, and decodes it if it is all of it.
func (c *Conn) fragment(f *frame, piece []byte) *ConnError {
	b := &c.block
	if len(b.bytes) == 0 && len(piece) == f.left-f.pad && f.has(flagEndHeaders) {
		return c.decode(piece)
	}
	if len(b.bytes)+len(piece) > c.maxBlock() {
		return calm("header block too long")
	}
	b.bytes = append(b.bytes, piece...)
	return nil
}

// decode decodes the whole block. Every block is, even one that nobody wants:
// the peer's encoder goes on from it.
func (c *Conn) decode(p []byte) *ConnError {
	b := &c.block
	b.decoded = true
	if err := c.target(b); err != nil {
		return err
	}
	c.dec.SetEmitEnabled(b.kind != blockIgnored)
	_, err := c.dec.Write(p)
	if e := c.dec.Close(); err == nil {
		err = e
	}
	switch {
	case errors.Is(err, hpack.ErrStringLength):
		return calm("header field too long")
	case err != nil:
		return &ConnError{CompressionError, "header block"}
	}
	return nil
}

// target finds out what the block is for.
func (c *Conn) target(b *block) *ConnError {
	s := c.find(b.id)
	switch {
	case s == nil && (c.client() || b.id <= c.lastID):
		return c.stray(b.id)
	case s == nil:
		c.lastID = b.id
		c.greet(b)
	case s.err != nil && s.late: // under way when it was reset
	case s.err != nil:
		b.malformed(StreamClosed)
	case s.remoteDone && s.localDone:
		return &ConnError{StreamClosed, "HEADERS on a closed stream"}
	case s.remoteDone:
		b.malformed(StreamClosed)
	case c.client() && !s.answered:
		b.kind, b.s = blockResponse, s
	case !b.endStream:
		b.malformed(ProtocolError)
	default:
		b.kind, b.s = blockTrailers, s
	}
	return nil
}

// stray says what HEADERS mean on a stream that is not open any more.
func (c *Conn) stray(id uint32) *ConnError {
	known, late := c.wasClosed(id)
	switch {
	case late:
		return nil
	case known || c.client():
		return &ConnError{StreamClosed, "HEADERS on a closed stream"}
	}
	return protocolError("stream opened out of order")
}

// greet takes a new stream of a client, if it may be opened.
func (c *Conn) greet(b *block) {
	switch {
	case c.final:
	case c.live >= c.lim.Streams, len(c.streams) >= 2*c.lim.Streams:
		b.malformed(RefusedStream) // of streams reset, the owner has some until it gets to close them
	default:
		b.kind, b.s = blockRequest, newStream(c)
		b.s.id = b.id
	}
}

// field takes one field from the decoder.
func (c *Conn) field(f hpack.HeaderField) {
	b := &c.block
	if b.size += len(f.Name) + len(f.Value) + entryOverhead; b.size > c.lim.HeaderBytes {
		b.tooLong = true
	}
	switch {
	case b.tooLong || b.fault != NoError:
		c.dec.SetEmitEnabled(false)
	case len(f.Name) == 0, !validValue(f.Value):
		b.malformed(ProtocolError)
	case f.Name[0] == ':':
		b.pseudoField(f.Name, f.Value)
	case !validName(f.Name):
		b.malformed(ProtocolError)
	default:
		b.begin()
		if b.fields++; b.fields > c.lim.Fields {
			b.tooLong = true
			return
		}
		b.regularField(f.Name, f.Value)
	}
}

// begin writes the first line of the message once its pseudo headers are known.
func (b *block) begin() {
	if b.regular || b.fault != NoError {
		return
	}
	b.regular = true
	switch b.kind {
	case blockRequest:
		b.requestLine()
	case blockResponse:
		b.statusLine()
	}
}

// regularField writes a field that is not a pseudo header.
func (b *block) regularField(name, value string) {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		b.malformed(ProtocolError) // RFC 9113 section 8.2.2
		return
	case "te":
		if value != "trailers" {
			b.malformed(ProtocolError)
		}
	case "content-length":
		if b.kind != blockTrailers {
			b.contentLength(value)
			return
		}
	case "trailer":
		b.trailer = true
	case "cookie":
		if b.kind == blockRequest {
			if b.fields--; len(b.cookie) > 0 {
				b.cookie = append(b.cookie, "; "...)
			}
			b.cookie = append(b.cookie, value...)
			return
		}
	case "host":
		if b.kind == blockRequest && b.pseudo.has&hasAuthority != 0 {
			b.sameHost(value)
			return
		}
	case "sec-websocket-key", "sec-websocket-accept":
		if b.s.socket {
			return // the handshake of each hop of HTTP/1.1 has its own
		}
	}
	if b.kind == blockTrailers {
		b.s.trailers = appendLine(b.s.trailers, name, value)
		return
	}
	b.s.text = appendLine(b.s.text, name, value)
}

// contentLength notes the field; it is written in the end, with the framing.
func (b *block) contentLength(value string) {
	n, ok := number(value)
	if !ok || b.length >= 0 {
		b.malformed(ProtocolError)
		return
	}
	b.length = n
}

// endBlock is called at the end of the frame with END_HEADERS.
func (c *Conn) endBlock() *ConnError {
	b := &c.block
	if !b.decoded {
		if err := c.decode(b.bytes); err != nil {
			return err
		}
	}
	err := c.deliver(b)
	if cap(b.bytes) > keptBytes || cap(b.cookie) > keptBytes {
		b.bytes, b.cookie = nil, nil
	}
	*b = block{bytes: b.bytes[:0], cookie: b.cookie[:0]}
	return err
}

// deliver hands the message of a whole block on.
func (c *Conn) deliver(b *block) *ConnError {
	if b.kind != blockIgnored {
		b.begin()
	}
	switch {
	case b.fault != NoError:
		return c.rejected(b)
	case b.kind == blockRequest && b.tooLong:
		return c.answer(b, 431)
	case b.tooLong, b.kind == blockTrailers && len(b.s.trailers) > http1.MaxTrailerBytes-len("\r\n"):
		return c.resetStream(b.id, EnhanceYourCalm)
	case b.kind == blockRequest:
		return c.request(b)
	case b.kind == blockResponse:
		return c.response(b)
	case b.kind == blockTrailers:
		return c.endMessage(b.s)
	}
	return nil
}

// rejected resets the stream of a block that is malformed.
func (c *Conn) rejected(b *block) *ConnError {
	if b.kind == blockRequest {
		b.s.recycle()
	}
	return c.resetStream(b.id, b.fault)
}
