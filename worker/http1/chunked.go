package http1

import "bytes"

// Bounds of what a chunked body may hold beside data, in all.
const (
	MaxExtensionBytes = 4 << 10 // chunk extensions, which are dropped
	MaxTrailerBytes   = 8 << 10 // the trailer section
)

// maxSizeDigits bounds a chunk size: 16 digits hold 64 bits.
const maxSizeDigits = 16

// Chunked decodes a chunked body as it arrives (RFC 9112 section 7.1). The zero
// value is at the start of a body; Reset makes it so again.
type Chunked struct {
	state      chunkState
	digits     int   // of the size being read
	left       int64 // data bytes of this chunk still to come; the size while it is read
	extensions int   // bytes of extensions so far, in all chunks
	section    []byte
	line       int // where in section the incomplete trailer line starts
	trailers   int // bytes of the trailer section so far, dropped ones included
}

type chunkState uint8

const (
	inSize      chunkState = iota // in the hexadecimal size
	inBlanks                      // in blanks after it, which only an extension may follow
	inExtension                   // after the first ';' of the line
	atLineEnd                     // after the CR of the size line
	inData
	afterData    // at the CR that ends the data
	afterDataEnd // at its LF
	inTrailers
	atEnd
)

// Reset makes c ready for another body. It keeps its buffer.
func (c *Chunked) Reset() { *c = Chunked{section: c.section[:0]} }

// Trailers returns the field lines of the trailer section, each with its CRLF,
// checked, without those that may not stand there. They are complete when Next
// has said so, and valid until Reset.
func (c *Chunked) Trailers() []byte { return c.section }

// Next decodes from the start of b: it consumes n bytes of it and returns the
// data among them, a part of b that may be empty. It stops after one piece of
// data, so the caller goes on with b[n:] until that is empty or the body is
// done. done says that the end of the trailer section was among the n bytes.
func (c *Chunked) Next(b []byte) (data []byte, n int, done bool, err error) {
	for n < len(b) && c.state != atEnd {
		if c.state == inData {
			size := int(min(c.left, int64(len(b)-n)))
			if c.left -= int64(size); c.left == 0 {
				c.state = afterData
			}
			return b[n : n+size], n + size, false, nil
		}
		if c.state == inTrailers {
			size, e := c.trailer(b[n:])
			if e != nil {
				return nil, n, false, e
			}
			n += size
			continue
		}
		if e := c.step(b[n]); e != nil {
			return nil, n, false, e
		}
		n++
	}
	return nil, n, c.state == atEnd, nil
}

// step takes one byte between two pieces of data.
func (c *Chunked) step(b byte) *Error {
	switch c.state {
	case inSize:
		return c.size(b)
	case inBlanks:
		switch b {
		case ';':
			c.state = inExtension
		case ' ', '\t':
		default:
			return errChunkSize
		}
		return c.extension()
	case inExtension:
		if b == '\r' {
			c.state = atLineEnd
			return nil
		}
		if b < ' ' && b != '\t' || b == 0x7f {
			return errChunkLine
		}
		return c.extension()
	case atLineEnd:
		if b != '\n' {
			return errChunkLine
		}
		if c.state = inData; c.left == 0 {
			c.state = inTrailers
		}
		c.digits = 0
	case afterData:
		if b != '\r' {
			return errChunkEnd
		}
		c.state = afterDataEnd
	case afterDataEnd:
		if b != '\n' {
			return errChunkEnd
		}
		c.state = inSize
	}
	return nil
}

// size takes one byte of a chunk size or the one after it.
func (c *Chunked) size(b byte) *Error {
	if d := hexDigit(b); d < 16 {
		if c.digits++; c.digits > maxSizeDigits || c.left > 1<<59-1 {
			return errChunkSize
		}
		c.left = c.left<<4 | int64(d)
		return nil
	}
	if c.digits == 0 {
		return errChunkSize
	}
	switch b {
	case '\r':
		c.state = atLineEnd
		return nil
	case ';':
		c.state = inExtension
	case ' ', '\t':
		c.state = inBlanks
	default:
		return errChunkSize
	}
	return c.extension()
}

// extension counts one byte of an extension.
func (c *Chunked) extension() *Error {
	if c.extensions++; c.extensions > MaxExtensionBytes {
		return errChunkExtension
	}
	return nil
}

// hexDigit returns the value of a hexadecimal digit, 16 for another byte.
func hexDigit(b byte) byte {
	switch {
	case b >= '0' && b <= '9':
		return b - '0'
	case b|0x20 >= 'a' && b|0x20 <= 'f':
		return b | 0x20 - 'a' + 10
	}
	return 16
}

// trailer takes one line of the trailer section, or what there is of it.
func (c *Chunked) trailer(b []byte) (n int, err *Error) {
	n = bytes.IndexByte(b, '\n') + 1
	whole := n > 0
	if !whole {
		n = len(b)
	}
	if c.trailers += n; c.trailers > MaxTrailerBytes {
		return 0, errTrailers
	}
	c.section = append(c.section, b[:n]...)
	if !whole {
		return n, nil
	}
	line := c.section[c.line:]
	if string(line) == "\r\n" {
		c.section, c.state = c.section[:c.line], atEnd
		return n, nil
	}
	var f Field
	if _, err = f.parse(line, 0); err != nil {
		return 0, err
	}
	if !mayTrail(&f) {
		c.section = c.section[:c.line]
	}
	c.line = len(c.section)
	return n, nil
}

// notInTrailers are fields, beside those that are known by kind, that no
// recipient may take from a trailer section: they frame, route, authenticate,
// describe or control the message that has gone by (RFC 9110 section 6.5.1).
var notInTrailers = [...]string{
	"age", "authorization", "cache-control", "content-encoding", "content-range", "content-type", "expires",
	"forwarded", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "location",
	"pragma", "range", "retry-after", "set-cookie", "vary", "www-authenticate", "x-forwarded-port", "x-real-ip",
}

func mayTrail(f *Field) bool {
	if f.Kind != KindOther {
		return false
	}
	for _, name := range notInTrailers {
		if equalFold(f.Name, name) {
			return false
		}
	}
	return true
}

// AppendChunkHeader appends the line before n bytes of data, n > 0. The caller
// ends the data with CRLF.
func AppendChunkHeader(dst []byte, n int) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for n>>shift > 15 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>shift&15])
	}
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body; trailers are whole lines
// and may be nil.
func AppendLastChunk(dst, trailers []byte) []byte {
	return append(append(append(dst, "0\r\n"...), trailers...), "\r\n"...)
}
