package http2

import (
	"slices"
	"sync"
)

// keptBytes is how much room a buffer may keep while nothing uses it.
const keptBytes = 16 << 10

// Streams and buffers for Output serve all connections.
var (
	streams = sync.Pool{New: func() any { return new(Stream) }}
	buffers = sync.Pool{New: func() any { return new([keptBytes]byte) }}
)

func takeBuffer() []byte { return buffers.Get().(*[keptBytes]byte)[:0] }

func putBuffer(b []byte) {
	if cap(b) == keptBytes {
		buffers.Put((*[keptBytes]byte)(b[:keptBytes]))
	}
}

func newStream(c *Conn) *Stream {
	s := streams.Get().(*Stream)
	s.c, s.left, s.sendWindow = c, -1, c.appliedWindow
	return s
}

// recycle makes s ready for another use. It keeps its buffers if they are small.
func (s *Stream) recycle() {
	s.dec.Reset()
	s.data.reset()
	*s = Stream{
		text: kept(s.text), partial: kept(s.partial), trailers: kept(s.trailers), data: s.data, dec: s.dec,
	}
	streams.Put(s)
}

func kept(b []byte) []byte {
	if cap(b) > keptBytes {
		return nil
	}
	return b[:0]
}

// A fifo is data that waits to be read.
type fifo struct {
	b  []byte // b[at:] waits
	at int
}

func (f *fifo) len() int { return len(f.b) - f.at }

func (f *fifo) add(b []byte) {
	if f.at > 0 && len(f.b)+len(b) > cap(f.b) {
		f.b = f.b[:copy(f.b, f.b[f.at:])]
		f.at = 0
	}
	f.b = append(f.b, b...)
}

func (f *fifo) take(b []byte) int {
	n := copy(b, f.b[f.at:])
	if f.at += n; f.at == len(f.b) {
		f.b, f.at = f.b[:0], 0
	}
	return n
}

func (f *fifo) reset() { f.b, f.at = kept(f.b), 0 }

// adopt puts s, which has its id, among the streams.
func (c *Conn) adopt(s *Stream) {
	c.streams = append(c.streams, s) // ids only grow
	s.counted = true
	c.live++
}

// find returns the stream with the given id that the owner has not closed.
func (c *Conn) find(id uint32) *Stream {
	i, ok := slices.BinarySearchFunc(c.streams, id, func(s *Stream, id uint32) int { return int(s.id) - int(id) })
	if !ok {
		return nil
	}
	return c.streams[i]
}

// remove takes s out.
func (c *Conn) remove(s *Stream) {
	list := &c.streams
	if s.id == 0 {
		list = &c.unsent
	} else {
		c.forget(s.id, s.late)
	}
	if i := slices.Index(*list, s); i >= 0 {
		*list = slices.Delete(*list, i, i+1)
	}
	if s.queued {
		if i := slices.Index(c.blocked, s); i >= 0 {
			c.blocked = slices.Delete(c.blocked, i, i+1)
		}
	}
	if s.err == nil {
		s.counted = false // see settle
	}
}

// forget notes that a stream is closed. late says that the peer may not know, so
// that frames of it may still come.
func (c *Conn) forget(id uint32, late bool) {
	entry := id << 1
	if late {
		entry |= 1
	}
	c.closed[c.closedN%len(c.closed)] = entry
	c.closedN++
}

// wasClosed reports whether id is among the streams closed last, and if so
// whether frames of it may still come.
func (c *Conn) wasClosed(id uint32) (known, late bool) {
	for _, entry := range c.closed {
		if entry>>1 == id {
			return true, entry&1 != 0
		}
	}
	return false, false
}

// late reports whether frames of the stream, which is closed or was reset, may
// still come without that being a mistake.
func (c *Conn) late(id uint32) bool {
	if c.final && !c.client() && id > c.finalID {
		return true
	}
	if s := c.find(id); s != nil {
		return s.late
	}
	_, late := c.wasClosed(id)
	return late
}

// idle reports whether nobody has opened the stream yet.
func (c *Conn) idle(id uint32) bool { return id%2 == 0 || id > c.lastID }

// resetStream resets a stream for a mistake of the peer's, which counts.
func (c *Conn) resetStream(id uint32, code Code) *ConnError {
	if c.idle(id) {
		return &ConnError{code, "mistake on an idle stream"}
	}
	switch s := c.find(id); {
	case s == nil:
		c.writeReset(id, code)
		c.forget(id, true)
	case s.err != nil:
		c.writeReset(id, code)
		s.late = true
	default:
		s.Reset(code)
		s.event()
	}
	return c.fruitless()
}
