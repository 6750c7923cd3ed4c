package http2

import (
	"encoding/binary"
	"slices"
)

// charge counts a DATA frame against the windows (RFC 9113 section 6.9). All of
// its payload counts, padding too.
func (c *Conn) charge(f *frame) *ConnError {
	if c.window -= f.length; c.window < 0 {
		return &ConnError{FlowControlError, "DATA beyond the window of the connection"}
	}
	return nil
}

// beginData takes the start of a DATA frame, of which n bytes are not data.
func (c *Conn) beginData(f *frame, n int) *ConnError {
	c.give(n + f.pad)
	if f.length == n+f.pad && !f.has(flagEndStream) {
		if err := c.noisy(1); err != nil {
			return err
		}
	}
	s := c.find(f.id)
	switch {
	case s == nil || s.err != nil:
		if c.late(f.id) {
			return nil
		}
		return c.resetStream(f.id, StreamClosed)
	case s.remoteDone:
		return c.resetStream(f.id, StreamClosed)
	case !s.answered && c.client():
		return c.resetStream(f.id, ProtocolError) // DATA before HEADERS
	}
	if s.window -= f.length; s.window < 0 {
		return c.resetStream(f.id, FlowControlError)
	}
	s.give(n + f.pad)
	return nil
}

// data takes a piece of the data of a DATA frame.
func (c *Conn) data(f *frame, b []byte) *ConnError {
	s := c.find(f.id)
	if s == nil || s.err != nil || s.remoteDone {
		c.give(len(b))
		return nil
	}
	if len(b) == 0 {
		return nil
	}
	if s.left >= 0 {
		if s.left -= int64(len(b)); s.left < 0 { // more than content-length
			c.give(len(b))
			return c.resetStream(f.id, ProtocolError)
		}
	}
	s.data.add(b)
	s.event()
	return nil
}

func (c *Conn) endData(f *frame) *ConnError {
	if s := c.find(f.id); s != nil && s.err == nil && !s.remoteDone && f.has(flagEndStream) {
		return c.endMessage(s)
	}
	return nil
}

// endMessage takes the end of the peer's message.
func (c *Conn) endMessage(s *Stream) *ConnError {
	if s.left > 0 {
		return c.resetStream(s.id, ProtocolError) // less than content-length
	}
	s.remoteDone = true
	s.settle()
	s.event()
	return nil
}

// give gives n bytes of window back to the peer, in steps of half of it.
func (c *Conn) give(n int) {
	if c.unacked += n; c.unacked >= c.lim.ConnWindow/2 && c.over == nil {
		c.writeWindow(0, c.unacked)
		c.window += c.unacked
		c.unacked = 0
	}
}

func (s *Stream) give(n int) {
	if s.unacked += n; s.unacked >= (s.c.lim.StreamWindow+1)/2 && !s.remoteDone && s.err == nil {
		s.c.writeWindow(s.id, s.unacked)
		s.window += s.unacked
		s.unacked = 0
	}
}

// windowUpdate takes WINDOW_UPDATE.
func (c *Conn) windowUpdate(f *frame, b []byte) *ConnError {
	n := int(binary.BigEndian.Uint32(b) & maxWindow)
	if err := c.noisy(1); err != nil {
		return err
	}
	if f.id == 0 {
		if n == 0 {
			return protocolError("WINDOW_UPDATE of nothing")
		}
		if c.sendWindow += n; c.sendWindow > maxWindow {
			return &ConnError{FlowControlError, "WINDOW_UPDATE beyond 2^31-1"}
		}
		c.wakeBlocked()
		return nil
	}
	s := c.find(f.id)
	switch {
	case s == nil || s.err != nil:
		return nil // it may have been sent before the peer heard
	case n == 0:
		return c.resetStream(f.id, ProtocolError)
	}
	if s.sendWindow += n; s.sendWindow > maxWindow {
		return c.resetStream(f.id, FlowControlError)
	}
	s.unblock()
	return nil
}

// resizeWindows applies a new SETTINGS_INITIAL_WINDOW_SIZE to all streams.
func (c *Conn) resizeWindows() *ConnError {
	delta := c.initialWindow - c.appliedWindow
	if delta == 0 {
		return nil
	}
	c.appliedWindow = c.initialWindow
	for _, s := range c.streams {
		if s.sendWindow += delta; s.sendWindow > maxWindow {
			return &ConnError{FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE beyond 2^31-1"}
		}
	}
	for i := len(c.streams) - 1; i >= 0; i-- {
		if i < len(c.streams) { // an event may have closed some
			c.streams[i].unblock()
		}
	}
	return nil
}

// room is how much data s may send now.
func (s *Stream) room() int {
	return min(s.sendWindow, s.c.sendWindow, outputFull-s.c.unsentBytes())
}

// block notes that s would write and cannot.
func (s *Stream) block() {
	s.blocked = true
	if !s.queued && (s.c.sendWindow <= 0 || s.c.unsentBytes() >= outputFull) {
		s.queued = true
		s.c.blocked = append(s.c.blocked, s)
	}
}

// unblock tells the owner of s that it may write again.
func (s *Stream) unblock() {
	if s.blocked && (s.sendWindow > 0 || s.phase == outHead) {
		s.blocked = false
		s.event()
	}
}

// wakeBlocked tells those that wait for the connection. Who is refused again
// waits behind the others.
func (c *Conn) wakeBlocked() {
	if len(c.blocked) == 0 || c.sendWindow <= 0 || c.unsentBytes() > outputRoom {
		return
	}
	for n := len(c.blocked); n > 0 && len(c.blocked) > 0; n-- { // an event may close some, or queue again
		s := c.blocked[0]
		c.blocked = slices.Delete(c.blocked, 0, 1)
		s.queued = false
		s.unblock()
	}
}
