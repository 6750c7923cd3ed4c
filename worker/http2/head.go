package http2

import (
	"bytes"
	"errors"
	"sync"

	"github.com/proxyd/proxyd/worker/http1"
)

var errSwitch = errors.New("101 that does not answer the handshake")

// A head is room to parse one in.
type head struct {
	request  http1.Request
	response http1.Response
}

var heads = sync.Pool{New: func() any { return new(head) }}

func (h *head) put() {
	h.request.Reset()
	h.response.Reset()
	heads.Put(h)
}

// appendFields encodes the fields that HTTP/2 has: none that is for the
// connection. handshake says that those of a WebSocket's are left out, too.
func (c *Conn) appendFields(fields []http1.Field, handshake bool) {
	for i := range fields {
		f := &fields[i]
		switch f.Kind {
		case http1.KindOther:
			if handshake && ofHandshake(f.Name) {
				continue
			}
		case http1.KindHost, http1.KindConnection, http1.KindKeepAlive, http1.KindProxyConnection,
			http1.KindTransferEncoding, http1.KindUpgrade, http1.KindHTTP2Settings:
			continue
		case http1.KindTE:
			if string(f.Value) != "trailers" {
				continue
			}
		default:
			if f.Kind > http1.KindForwardedHost {
				continue // Connection names it
			}
		}
		c.appendField(f.Name, f.Value)
	}
}

func ofHandshake(name []byte) bool {
	return bytes.EqualFold(name, handshakeKey) || bytes.EqualFold(name, handshakeAccept)
}

var handshakeKey, handshakeAccept = []byte("sec-websocket-key"), []byte("sec-websocket-accept")

// appendField encodes a field whose name may have upper case.
func (c *Conn) appendField(name, value []byte) {
	c.lower = appendLower(c.lower[:0], name)
	c.out = c.enc.field(c.out, c.lower, value)
}

// appendTrailers encodes field lines that were checked.
func (c *Conn) appendTrailers(lines []byte) {
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\r')
		colon := bytes.IndexByte(lines, ':')
		c.appendField(lines[:colon], bytes.Trim(lines[colon+1:end], " \t"))
		lines = lines[end+2:]
	}
}
