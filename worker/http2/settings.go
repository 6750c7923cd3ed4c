package http2

import "encoding/binary"

// A setting is one parameter of SETTINGS (RFC 9113 section 6.5.2, RFC 8441
// section 3).
type setting struct {
	id    uint16
	value uint32
}

const (
	settingTable   = 1
	settingPush    = 2
	settingStreams = 3
	settingWindow  = 4
	settingFrame   = 5
	settingList    = 6
	settingConnect = 8
)

// sendSettings says what this side allows, and opens the connection's window.
func (c *Conn) sendSettings(own ...setting) {
	own = append(own, setting{settingWindow, uint32(c.lim.StreamWindow)}, setting{settingList, uint32(c.lim.HeaderBytes)})
	c.header(typeSettings, 0, 0, 6*len(own))
	for _, s := range own {
		c.out = binary.BigEndian.AppendUint16(c.out, s.id)
		c.out = binary.BigEndian.AppendUint32(c.out, s.value)
	}
	if more := c.lim.ConnWindow - c.window; more > 0 {
		c.window += more
		c.writeWindow(0, more)
	}
}

// settings takes the parameters of a SETTINGS frame that are whole in b.
func (c *Conn) settings(b []byte) (n int, err *ConnError) {
	for ; len(b)-n >= 6 && err == nil; n += 6 {
		err = c.setting(setting{binary.BigEndian.Uint16(b[n:]), binary.BigEndian.Uint32(b[n+2:])})
	}
	return n, err
}

func (c *Conn) setting(s setting) *ConnError {
	switch s.id {
	case settingTable:
		c.enc.limit(int(min(s.value, tableBytes)))
	case settingPush:
		if s.value > 1 || c.client() && s.value != 0 {
			return protocolError("SETTINGS_ENABLE_PUSH")
		}
	case settingStreams:
		c.peerStreams = int(s.value)
	case settingWindow:
		if s.value > maxWindow {
			return &ConnError{FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE"}
		}
		c.initialWindow = int(s.value)
	case settingFrame:
		if s.value < maxFrame || s.value > 1<<24-1 {
			return protocolError("SETTINGS_MAX_FRAME_SIZE")
		}
	case settingConnect:
		if s.value > 1 || c.peerConnect && s.value == 0 {
			return protocolError("SETTINGS_ENABLE_CONNECT_PROTOCOL")
		}
		c.peerConnect = s.value == 1
	}
	return nil
}

// endSettings acknowledges a SETTINGS frame that was taken whole, or takes the
// acknowledgement of ours.
func (c *Conn) endSettings(f *frame) *ConnError {
	if f.has(flagAck) {
		if c.agreed {
			return nil // counted as noise
		}
		c.agreed = true
		for _, s := range c.streams {
			s.window -= c.firstWindow(false) - c.firstWindow(true)
		}
		return nil
	}
	c.header(typeSettings, flagAck, 0, 0)
	return c.resizeWindows()
}

// firstWindow is what the peer may send on a new stream: before it has
// acknowledged ours it goes by the default, if that is more.
func (c *Conn) firstWindow(agreed bool) int {
	if agreed {
		return c.lim.StreamWindow
	}
	return max(c.lim.StreamWindow, baseWindow)
}
