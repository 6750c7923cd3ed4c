package http2

import "encoding/binary"

const frameHeader = 9 // bytes

type frameType uint8

const (
	typeData frameType = iota
	typeHeaders
	typePriority
	typeReset
	typeSettings
	typePush
	typePing
	typeGoAway
	typeWindow
	typeContinuation
)

const (
	flagEndStream  = 0x1 // DATA, HEADERS
	flagAck        = 0x1 // SETTINGS, PING
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// A frame is one whose payload is being received. Payloads are taken as they
// come, so that no buffer needs to hold a whole one.
type frame struct {
	open   bool
	prefix bool // what stands before data or fragment of the payload is still to come
	typ    frameType
	flags  uint8
	id     uint32
	left   int // of the payload, padding included, not taken yet
	pad    int // bytes of padding at its end
	length int // of the payload at first
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// begin starts the frame whose header is at the front of b. What is wrong with
// the frame as such ends the connection before its payload is looked at.
func (c *Conn) begin(b []byte) *ConnError {
	n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	c.frame = frame{
		open: true, prefix: true, typ: frameType(b[3]), flags: b[4],
		id: binary.BigEndian.Uint32(b[5:]) & maxWindow, left: n, length: n,
	}
	f := &c.frame
	if !c.block.open {
		c.begun++
	}
	switch {
	case !c.greeted && (f.typ != typeSettings || f.has(flagAck)):
		return protocolError("preface without SETTINGS")
	case n > maxFrame:
		return frameSizeError("frame above SETTINGS_MAX_FRAME_SIZE")
	case c.block.open && (f.typ != typeContinuation || f.id != c.block.id):
		return protocolError("header block without its CONTINUATION")
	}
	switch f.typ {
	case typeData, typeHeaders, typeReset, typePriority:
		if f.id == 0 {
			return protocolError("frame of a stream without one")
		}
	case typeSettings, typePing, typeGoAway:
		if f.id != 0 {
			return protocolError("frame of the connection on a stream")
		}
	}
	return c.check(f)
}

// check is begin for what only frames of some type can do wrong.
func (c *Conn) check(f *frame) *ConnError {
	switch f.typ {
	case typeData:
		if c.idle(f.id) {
			return protocolError("DATA on an idle stream")
		}
		return c.charge(f)
	case typeHeaders:
		if !c.client() && f.id%2 == 0 || c.client() && c.idle(f.id) {
			return protocolError("HEADERS on a stream that the peer cannot open")
		}
	case typeReset:
		if f.length != 4 {
			return frameSizeError("RST_STREAM")
		}
		if c.idle(f.id) {
			return protocolError("RST_STREAM on an idle stream")
		}
	case typeSettings:
		if f.length%6 != 0 || f.has(flagAck) && f.length != 0 {
			return frameSizeError("SETTINGS")
		}
		c.greeted = true
		return c.noisy(1 + f.length/6/8)
	case typePush:
		return protocolError("PUSH_PROMISE")
	case typePing:
		if f.length != 8 {
			return frameSizeError("PING")
		}
	case typeGoAway:
		if f.length < 8 {
			return frameSizeError("GOAWAY")
		}
	case typeWindow:
		if f.length != 4 {
			return frameSizeError("WINDOW_UPDATE")
		}
		if f.id != 0 && c.idle(f.id) {
			return protocolError("WINDOW_UPDATE on an idle stream")
		}
	case typeContinuation:
		if !c.block.open {
			return protocolError("CONTINUATION without HEADERS")
		}
	}
	return nil
}

// payload takes of b what belongs to the frame that is open.
func (c *Conn) payload(b []byte) (n int, more bool, err *ConnError) {
	f := &c.frame
	b = b[:min(len(b), f.left)]
	switch f.typ {
	case typeData, typeHeaders, typeContinuation:
		n, more, err = c.pieces(f, b)
	case typeSettings:
		n, err = c.settings(b)
	case typePriority:
		n, err = c.whole(b, 5, c.priority)
	case typeReset:
		n, err = c.whole(b, 4, c.peerReset)
	case typePing:
		n, err = c.whole(b, 8, c.ping)
	case typeGoAway:
		n, err = c.whole(b, 8, c.peerGoesAway)
	case typeWindow:
		n, err = c.whole(b, 4, c.windowUpdate)
	default:
		if f.prefix {
			f.prefix, err = false, c.noisy(1)
		}
		n = len(b)
	}
	if f.left -= n; f.left == 0 && f.open && err == nil {
		f.open, more = false, true
		err = c.endFrame(f)
	}
	return n, more || n > 0, err
}

// whole gives the size bytes at the start of the payload to take at once. What
// follows them is dropped.
func (c *Conn) whole(b []byte, size int, take func(*frame, []byte) *ConnError) (int, *ConnError) {
	f := &c.frame
	switch {
	case !f.prefix || f.typ == typePriority && f.length != size:
		return len(b), nil
	case len(b) < size:
		return 0, nil
	}
	f.prefix = false
	return size, take(f, b[:size])
}

// pieces takes the payload of a frame that may have padding, however it is cut.
func (c *Conn) pieces(f *frame, b []byte) (n int, more bool, err *ConnError) {
	if f.prefix {
		if n, err = c.takePrefix(f, b); n < 0 {
			return 0, false, nil
		}
		f.prefix = false
		return n, true, err
	}
	body := b[:min(len(b), max(f.left-f.pad, 0))] // some of the padding may be taken
	switch {
	case f.typ == typeData:
		err = c.data(f, body)
	case len(body) > 0:
		err = c.fragment(f, body)
	}
	return len(b), false, err
}

// takePrefix takes what stands before data or fragment; n is -1 if that is not
// whole.
func (c *Conn) takePrefix(f *frame, b []byte) (n int, err *ConnError) {
	if f.typ == typeContinuation {
		return 0, c.continued(f)
	}
	padded, priority := f.has(flagPadded), f.typ == typeHeaders && f.has(flagPriority)
	if padded {
		n++
	}
	if priority {
		n += 5
	}
	switch {
	case n > f.length:
		return 0, frameSizeError("frame shorter than its flags say")
	case n > len(b):
		return -1, nil
	}
	if padded {
		if f.pad = int(b[0]); f.pad > f.length-n {
			return 0, protocolError("padding longer than the frame")
		}
	}
	if f.typ == typeData {
		return n, c.beginData(f, n)
	}
	c.beginBlock(f)
	if priority && binary.BigEndian.Uint32(b[n-5:])&maxWindow == f.id {
		c.block.malformed(ProtocolError) // depends on itself
	}
	return n, nil
}

// endFrame is called when all of the payload was taken.
func (c *Conn) endFrame(f *frame) *ConnError {
	switch f.typ {
	case typeData:
		return c.endData(f)
	case typeHeaders, typeContinuation:
		if f.has(flagEndHeaders) {
			return c.endBlock()
		}
	case typeSettings:
		return c.endSettings(f)
	case typePriority:
		if f.length != 5 {
			return c.resetStream(f.id, FrameSizeError)
		}
	}
	return nil
}

// priority takes a PRIORITY frame. There are no priorities here, but a stream
// cannot depend on itself.
func (c *Conn) priority(f *frame, b []byte) *ConnError {
	if binary.BigEndian.Uint32(b)&maxWindow == f.id {
		return c.resetStream(f.id, ProtocolError)
	}
	return c.noisy(1)
}

func (c *Conn) ping(f *frame, b []byte) *ConnError {
	if f.has(flagAck) {
		if c.pings > 0 {
			c.pings--
			return nil
		}
		return c.noisy(1)
	}
	c.writePing(true, b)
	return c.noisy(1)
}

// peerReset takes RST_STREAM.
func (c *Conn) peerReset(f *frame, b []byte) *ConnError {
	s := c.find(f.id)
	if s == nil || s.err != nil {
		return c.noisy(1)
	}
	var err *ConnError
	if !s.localDone {
		err = c.fruitless()
	}
	code := Code(binary.BigEndian.Uint32(b))
	s.refused = s.refused || code == RefusedStream
	s.fail(streamError(code))
	return err
}

// peerGoesAway takes GOAWAY: streams above its id were not, and will not be,
// looked at.
func (c *Conn) peerGoesAway(_ *frame, b []byte) *ConnError {
	c.goingAway = true
	last := binary.BigEndian.Uint32(b) & maxWindow
	if c.client() {
		c.refuseAbove(last)
	}
	return c.noisy(1)
}
