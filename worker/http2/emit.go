package http2

import "encoding/binary"

// Output returns what is to be sent, valid until the next call of any method.
func (c *Conn) Output() []byte { return c.out[c.start:] }

// Sent says that the first n bytes of Output are on their way.
func (c *Conn) Sent(n int) {
	c.start += n
	if c.start == len(c.out) {
		c.dropped += uint64(c.start)
		c.out, c.start = c.out[:0], 0
		if len(c.streams) == 0 {
			putBuffer(c.out)
			c.out = nil
		}
	} else if c.start >= outputFull {
		c.dropped += uint64(c.start)
		c.out = c.out[:copy(c.out, c.out[c.start:])]
		c.start = 0
	}
	c.wakeBlocked()
}

// OnOutput sets what is called each time Output goes from empty to not empty, and
// at once if it is not empty now. It is called in the middle of things: it only
// notes that the connection is to be flushed at the end of the turn.
func (c *Conn) OnOutput(f func()) {
	c.wake = f
	if c.unsentBytes() > 0 {
		f()
	}
}

func (c *Conn) unsentBytes() int { return len(c.out) - c.start }

// header appends the header of a frame; its payload follows.
func (c *Conn) header(t frameType, flags uint8, id uint32, length int) {
	empty := len(c.out) == c.start
	if c.out == nil {
		c.out = takeBuffer()
	}
	c.out = append(c.out, byte(length>>16), byte(length>>8), byte(length), byte(t), flags,
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
	if empty && c.wake != nil {
		c.wake()
	}
}

func (c *Conn) writePing(ack bool, b []byte) {
	var flags uint8
	if ack {
		flags = flagAck
	}
	c.header(typePing, flags, 0, len(b))
	c.out = append(c.out, b...)
}

func (c *Conn) writeWindow(id uint32, n int) {
	c.header(typeWindow, 0, id, 4)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(n))
}

func (c *Conn) writeReset(id uint32, code Code) {
	c.header(typeReset, 0, id, 4)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

func (c *Conn) goAway(last uint32, code Code, reason string) {
	c.header(typeGoAway, 0, 0, 8+len(reason))
	c.out = binary.BigEndian.AppendUint32(c.out, last)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
	c.out = append(c.out, reason...)
}

// A lastFrame is where the last frame of a stream stands, counted from the first
// byte that the connection sent. While it is in Output it may still change.
type lastFrame struct {
	at     uint64
	exists bool
}

// position is where the next frame will stand.
func (c *Conn) position() lastFrame {
	return lastFrame{c.dropped + uint64(len(c.out)), true}
}

// held returns the frame if no byte of it was sent.
func (c *Conn) held(l lastFrame) []byte {
	if !l.exists || l.at < c.dropped+uint64(c.start) {
		return nil
	}
	return c.out[l.at-c.dropped:]
}

// writeData sends b, which the windows have room for. cut says that there is
// more, for which they have none.
func (s *Stream) writeData(b []byte, cut bool) {
	c := s.c
	if !cut || len(b) >= bulk {
		c.explained(worthData * (1 + len(b)/maxFrame))
	}
	s.sendWindow -= len(b)
	c.sendWindow -= len(b)
	// However small the pieces are that the owner writes, they go as one frame.
	if f := c.held(s.last); f != nil && frameType(f[3]) == typeData {
		if old := len(f) - frameHeader; old == int(f[0])<<16|int(f[1])<<8|int(f[2]) {
			n := min(len(b), maxFrame-old)
			c.out = append(c.out, b[:n]...)
			f = c.held(s.last)
			f[0], f[1], f[2] = byte((old+n)>>16), byte((old+n)>>8), byte(old+n)
			b = b[n:]
		}
	}
	for len(b) > 0 {
		n := min(len(b), maxFrame)
		s.last = c.position()
		c.header(typeData, 0, s.id, n)
		c.out = append(c.out, b[:n]...)
		b = b[n:]
	}
}

// end ends the message that s sends: by its last frame if that is still here.
func (s *Stream) end() {
	c := s.c
	if f := c.held(s.last); f != nil {
		f[4] |= flagEndStream
	} else {
		c.header(typeData, flagEndStream, s.id, 0)
	}
	s.sentAll()
}

// sentAll notes that the message that s sends is whole.
func (s *Stream) sentAll() {
	s.localDone = true
	s.phase = outDone
	if !s.c.client() {
		s.c.fruitful()
	}
	s.settle()
}

// beginHeaders starts a HEADERS frame, whose fields follow by c.enc; endHeaders
// ends it.
func (s *Stream) beginHeaders() {
	c := s.c
	s.last = c.position()
	c.header(typeHeaders, flagEndHeaders, s.id, 0)
	c.out = c.enc.begin(c.out)
}

func (s *Stream) endHeaders() {
	c := s.c
	f := c.held(s.last)
	n := len(f) - frameHeader
	if n > maxFrame {
		c.out = splitBlock(c.out, len(c.out)-n)
		f, n = c.held(s.last), maxFrame
		f[4] &^= flagEndHeaders
	}
	f[0], f[1], f[2] = byte(n>>16), byte(n>>8), byte(n)
}

// splitBlock puts the headers of CONTINUATION frames into the block at out[at:],
// which begins after the header of a HEADERS frame and is longer than a frame.
func splitBlock(out []byte, at int) []byte {
	rest := append([]byte(nil), out[at+maxFrame:]...) // so rare that it may allocate
	id := out[at-4 : at]
	out = out[:at+maxFrame]
	for len(rest) > 0 {
		n, flags := len(rest), uint8(flagEndHeaders)
		if n > maxFrame {
			n, flags = maxFrame, 0
		}
		out = append(out, byte(n>>16), byte(n>>8), byte(n), byte(typeContinuation), flags)
		out = append(append(out, id...), rest[:n]...)
		rest = rest[n:]
	}
	return out
}
