package http2

import (
	"slices"

	"golang.org/x/net/http2/hpack"
)

// Preface is what a client sends first. A server without TLS can tell by it that
// a connection speaks HTTP/2.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// A Conn is one side of a connection. NewServer and NewClient make it. The open of
// NewServer and a stream's OnEvent may call any method of streams.
type Conn struct {
	lim    Limits
	scheme string // of requests; "" on the server's side
	open   func(*Stream)
	wake   func() // see OnOutput
	over   *ConnError

	preface int  // bytes of Preface still to come
	greeted bool // the peer's first SETTINGS have come
	agreed  bool // and its acknowledgement of ours
	frame   frame
	block   block
	dec     *hpack.Decoder

	out     []byte // out[start:] is to be sent
	start   int
	dropped uint64 // bytes sent that stood before out
	enc     encoder
	lower   []byte // a field name being lowered

	window     int // what the peer may still send
	unacked    int // what was read and not yet given back to it
	sendWindow int
	blocked    []*Stream // refused by sendWindow or Output, first come first served

	streams []*Stream  // in order of id; those the owner has not closed
	unsent  []*Stream  // of a client: opened, without an id as yet
	live    int        // streams that are open to the protocol
	lastID  uint32     // the highest that the peer, or as a client we, opened
	closed  [32]uint32 // the last ids closed, each with a 1 behind it if frames may be under way
	closedN int

	initialWindow int    // of streams, says the peer
	appliedWindow int    // and what its streams go by
	peerStreams   int    // that the peer allows
	peerConnect   bool   // it takes extended CONNECT
	goingAway     bool   // the peer sent GOAWAY
	final         bool   // we have sent our last GOAWAY
	finalID       uint32 // with this id

	begun  uint64 // frames so far, those inside a header block aside
	floods floods
	pings  int // sent and not answered
}

// NewServer returns the server's side of a new connection. It calls open, on
// whatever Receive finds, with each stream whose request head is complete; its
// owner reads, writes and closes it.
func NewServer(lim *Limits, open func(*Stream)) *Conn {
	c := newConn(lim)
	c.open, c.preface = open, len(Preface)
	c.sendSettings(
		setting{settingStreams, uint32(c.lim.Streams)},
		setting{settingConnect, 1},
	)
	return c
}

// NewClient returns the client's side of a new connection, whose requests have
// the given scheme: https or http.
func NewClient(lim *Limits, scheme string) *Conn {
	c := newConn(lim)
	c.scheme = scheme
	c.out = append(takeBuffer(), Preface...)
	c.sendSettings(setting{settingPush, 0})
	return c
}

func newConn(lim *Limits) *Conn {
	c := &Conn{
		lim: lim.filled(), window: baseWindow, sendWindow: baseWindow,
		initialWindow: baseWindow, appliedWindow: baseWindow, peerStreams: 100,
	}
	c.enc.max, c.enc.smallest = tableBytes, tableBytes
	c.dec = hpack.NewDecoder(tableBytes, c.field)
	c.dec.SetMaxStringLength(c.maxBlock())
	return c
}

func (c *Conn) client() bool { return c.scheme != "" }

// Receive takes b, which continues what it was given before, but for up to 8
// bytes at its end that are half of something, and returns how many it took. The
// rest is given again with what follows. An error, always a *ConnError, says that
// the connection is over; what Output holds is still to be sent.
func (c *Conn) Receive(b []byte) (n int, err error) {
	for c.over == nil {
		k, more, e := c.receive(b[n:])
		n += k
		if e != nil {
			c.fail(e)
			break
		}
		if !more {
			return n, nil
		}
	}
	return n, c.over
}

// receive takes one step. more says that there may be another.
func (c *Conn) receive(b []byte) (n int, more bool, err *ConnError) {
	switch {
	case c.preface > 0:
		n = min(len(b), c.preface)
		if at := len(Preface) - c.preface; string(b[:n]) != Preface[at:at+n] {
			return 0, false, protocolError("no connection preface")
		}
		c.preface -= n
		return n, n > 0, nil
	case c.frame.open:
		return c.payload(b)
	case len(b) < frameHeader:
		return 0, false, nil
	}
	return frameHeader, true, c.begin(b)
}

// fail ends the connection because of e.
func (c *Conn) fail(e *ConnError) {
	c.over = e
	c.goAway(c.lastAccepted(), e.Code, e.Reason)
	c.abandon(e)
}

// Abort says that the connection is lost: nothing more is sent, and all streams
// are over.
func (c *Conn) Abort() {
	if c.over == nil {
		c.over = errAborted
		c.abandon(errAborted)
	}
	c.out, c.start = nil, 0
}

// abandon tells all streams that they are over.
func (c *Conn) abandon(e error) {
	c.blocked = c.blocked[:0]
	for _, list := range [...][]*Stream{c.unsent, c.streams} {
		for _, s := range slices.Clone(list) { // an event may close any of them
			if s.c == c {
				s.fail(e)
			}
		}
	}
}

// Shutdown announces the end. Before the last time, with final false, the peer
// learns that it should open no more streams; with final true those that come
// are ignored, and the connection is Closed when the ones before them are.
func (c *Conn) Shutdown(final bool) {
	switch {
	case c.over != nil || c.final:
	case final:
		c.finalID, c.final = c.lastAccepted(), true
		c.goAway(c.finalID, NoError, "")
	default:
		c.goAway(maxWindow, NoError, "")
	}
}

// lastAccepted is the last stream of the peer that was, or may be, served.
func (c *Conn) lastAccepted() uint32 {
	switch {
	case c.client():
		return 0
	case c.final:
		return c.finalID
	}
	return c.lastID
}

// Idle reports whether there are no streams.
func (c *Conn) Idle() bool { return c.Streams() == 0 }

// Streams is the number of streams that are not closed by their owner.
func (c *Conn) Streams() int { return len(c.streams) + len(c.unsent) }

// Closed reports whether the connection is to be closed, once Output is sent.
func (c *Conn) Closed() bool {
	return c.over != nil || (c.final || c.goingAway) && c.Idle()
}

// Pending tells of what the peer has begun and must end soon: the preface and its
// first SETTINGS, a header block, a frame that is not DATA. It is 0 if there is
// nothing, else a number that is another one for each. rest is how many bytes
// Receive has left.
func (c *Conn) Pending(rest int) uint64 {
	switch {
	case !c.greeted:
		return 1
	case c.block.open, c.frame.open && c.frame.typ != typeData:
		return 2*c.begun + 2
	case rest > 0 && !c.frame.open:
		return 2*c.begun + 3
	}
	return 0
}

// Trim gives back the room that c needs only while messages go by: for an owner
// that expects none for a while. The next response starts with an empty table of
// HPACK.
func (c *Conn) Trim() {
	c.enc.forget()
	c.lower = nil
	if !c.block.open {
		c.block = block{}
	}
	if c.unsentBytes() == 0 {
		c.dropped += uint64(c.start)
		putBuffer(c.out)
		c.out, c.start = nil, 0
	}
}

// Ping asks for a sign of life; Awaiting reports whether it has not come yet.
// The owner's clock says when that is too late.
func (c *Conn) Ping() {
	if c.over == nil {
		c.pings++
		c.writePing(false, []byte("proxyd\r\n"))
	}
}

// Awaiting reports whether a Ping was not answered yet.
func (c *Conn) Awaiting() bool { return c.pings > 0 }
