package http2

// A peer can keep a connection busy with frames that cost it nothing. Nothing of
// the kind is forbidden by itself, so it is counted against what the peer's
// requests and our answers explain, and forgiven as time goes by: see Calm. What
// costs memory (streams, header blocks, unread data, unsent answers) has bounds
// of its own.
type floods struct {
	noise  int // frames that moved nothing
	resets int // streams that came to nothing
}

// What explains noise.
const (
	worthStream = 4 // a new stream: its WINDOW_UPDATE, PRIORITY and the like
	worthData   = 3 // a DATA frame: the WINDOW_UPDATE of stream and connection, a PING to measure by

	// bulk is how much data explains something although it was cut short by a
	// window. Less may be the peer's doing, more is not worth its while.
	bulk = 1 << 10
)

// Calm forgives what was counted against the peer so far. The owner calls it as
// time goes by, once a second or so while the connection is in use.
func (c *Conn) Calm() { c.floods = floods{} }

// noisy counts n frames that moved nothing.
func (c *Conn) noisy(n int) *ConnError {
	if c.floods.noise += n; c.floods.noise > c.lim.Noise {
		return calm("too many frames that move nothing")
	}
	return c.bounded()
}

// explained counts a frame that explains n others.
func (c *Conn) explained(n int) { c.floods.noise = max(c.floods.noise-n, 0) }

// fruitless counts a stream of the peer that came to nothing.
func (c *Conn) fruitless() *ConnError {
	if c.client() {
		return c.bounded()
	}
	if c.floods.resets++; c.floods.resets > c.lim.Resets {
		return calm("too many streams reset")
	}
	return c.bounded()
}

// fruitful counts a stream that was answered.
func (c *Conn) fruitful() { c.floods.resets = max(c.floods.resets-1, 0) }

// bounded makes sure that a peer that does not read cannot make us write.
func (c *Conn) bounded() *ConnError {
	if c.unsentBytes() > outputMost {
		return calm("makes frames and reads none")
	}
	return nil
}
