package config

import (
	"net/netip"
	"slices"

	"github.com/hashicorp/hcl/v2"
)

func (d *decoder) listener(s *section) *Listener {
	l := &Listener{
		Name: s.label,
		Timeouts: ListenerTimeouts{
			Header:    s.duration("timeouts.header"),
			BodyIdle:  s.duration("timeouts.body_idle"),
			Idle:      s.duration("timeouts.idle"),
			Write:     s.duration("timeouts.write"),
			Handshake: s.duration("timeouts.handshake"),
		},
		Limits: ListenerLimits{
			HeaderBytes:           int(s.number("limits.header_bytes")),
			Headers:               int(s.number("limits.headers")),
			Body:                  s.number("limits.body"),
			Connections:           int(s.number("limits.connections")),
			RequestsPerConnection: int(s.number("limits.requests_per_connection")),
			Streams:               int(s.number("limits.streams")),
		},
		H2C: s.flag("h2c"),
	}
	if t := s.one("tls"); t != nil {
		l.TLS = d.listenerTLS(t)
	}
	switch {
	case l.TLS == nil && s.has("timeouts.handshake"):
		d.at(s.whereOf("timeouts.handshake"), "No effect", "There is no TLS handshake on a listener without a tls block.")
	case l.TLS != nil && l.H2C:
		d.at(s.whereOf("h2c"), "No effect", `With TLS, HTTP/2 is agreed on by ALPN: "h2" is in alpn unless you leave it out.`)
	}
	l.ProxyProtocol = get[[]netip.Prefix](s, "proxy_protocol.from")
	l.TrustedProxies = get[[]netip.Prefix](s, "trusted_proxies")
	d.define("listener", s)
	d.routes(s, l)
	return l
}

// A boundAddress is an address, who listens on it, and where it stands.
type boundAddress struct {
	Address
	listener string
	at       hcl.Range
}

// maxAddresses bounds the descriptors that listening takes.
const maxAddresses = 1000

// addresses gives l its addresses, none of which may overlap one in bound, and
// returns bound with them.
func (d *decoder) addresses(s *section, l *Listener, bound []boundAddress) []boundAddress {
	if s.has("address") && len(s.items("address")) == 0 {
		d.at(s.whereOf("address"), "No address", "The listener %q needs at least one address.", l.Name)
	}
	for _, it := range s.items("address") {
		if len(bound) >= maxAddresses {
			d.at(it.at, "Too many addresses", "All listeners together may have %d addresses.", maxAddresses)
			break
		}
		a, err := parseListen(it.text)
		if err != nil {
			d.at(it.at, "Invalid address", "%v.", err)
			continue
		}
		i := slices.IndexFunc(bound, func(b boundAddress) bool { return a.overlaps(b.Address) })
		if i >= 0 {
			d.at(it.at, "Address in use", "%q overlaps %q of listener %q at line %d.", it.text, bound[i].text, bound[i].listener, bound[i].at.Start.Line)
			continue
		}
		bound = append(bound, boundAddress{a, l.Name, it.at})
		l.Addresses = append(l.Addresses, a)
	}
	return bound
}
