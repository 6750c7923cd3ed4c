package worker

import (
	"github.com/proxyd/proxyd/worker/proxyproto"
)

// readPreface reads the PROXY header with which the connections of some load
// balancers begin, and reports whether the connection can go on. From then on its
// peer is the client that the header names. Connections from elsewhere do not
// have one, and what they send is not looked at.
func (x *exchange) readPreface() bool {
	c := x.c
	if c.addressed {
		return true
	}
	networks := c.listener.service.config.ProxyProtocol
	if len(networks) == 0 || !within(networks, c.peer.Addr()) {
		c.addressed = true
		return true
	}
	for {
		if x.have > 0 {
			header, n, err := proxyproto.Parse(x.in[:x.have])
			if err != nil {
				x.w.log.Warn("bad PROXY header", "listener", c.listener.service.config.Name, "peer", c.peer, "error", err)
				return false
			}
			if n > 0 {
				if !header.Local {
					c.peer = header.Source
				}
				x.have = copy(x.in, x.in[n:x.have])
				c.addressed = true
				return true
			}
		}
		if x.receive() != nil {
			return false
		}
	}
}
