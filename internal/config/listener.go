package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
)

func (d *decoder) listener(s *section) *Listener {
	l := &Listener{
		Name: s.label,
		Timeouts: ListenerTimeouts{
			Header:   s.duration("timeouts.header"),
			BodyIdle: s.duration("timeouts.body_idle"),
			Idle:     s.duration("timeouts.idle"),
			Write:    s.duration("timeouts.write"),
		},
		Limits: ListenerLimits{
			HeaderBytes:           int(s.number("limits.header_bytes")),
			Headers:               int(s.number("limits.headers")),
			Body:                  s.number("limits.body"),
			Connections:           int(s.number("limits.connections")),
			RequestsPerConnection: int(s.number("limits.requests_per_connection")),
		},
	}
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

// routes gives l its routes. The first that matches wins, so none may stand
// after one that matches everything.
func (d *decoder) routes(s *section, l *Listener) {
	var all *section // the first route that matches everything
	names := map[string]hcl.Range{}
	for _, r := range s.blocks["route"] {
		if first, taken := names[r.label]; taken && r.label != "" {
			d.duplicate(r, first)
		} else {
			names[r.label] = r.at
		}
		if all != nil {
			d.at(r.at, "Unreachable route", "Route %q at line %d matches every request, so route %q would never be used.",
				all.label, all.at.Start.Line, r.label)
		}
		if all == nil && !r.skips(matchers...) {
			all = r
		}
		l.Routes = append(l.Routes, d.route(r))
	}
	if len(l.Routes) == 0 {
		d.absent(s.at, "No route", "The listener %q has no route, so it would answer nothing. Write route \"name\" { upstream = \"name\" }.", l.Name)
	}
}

func (d *decoder) route(s *section) *Route {
	r := &Route{Name: s.label}
	switch {
	case s.has("upstream"):
		name := s.text("upstream")
		if r.Upstream = d.upstreams[name]; r.Upstream == nil {
			d.absent(s.whereOf("upstream"), "Unknown upstream", "There is no upstream %q.%s", name, nearestKey(name, d.upstreams))
		}
	case !s.skips("redirect", "respond") && !s.failed("upstream"):
		d.absent(s.at, "Missing required argument", "The argument \"upstream\" is required, but no definition was found.")
	}
	for _, it := range s.items("rate_limit") {
		limit := d.rateLimits[it.text]
		switch {
		case limit == nil && !d.unbuilt[it.text]:
			d.absent(it.at, "Unknown rate limit", "There is no rate_limit %q.%s", it.text, nearestKey(it.text, d.rateLimits))
		case limit == nil: // of a kind not built yet, reported there
		case slices.Contains(r.RateLimits, limit):
			d.at(it.at, "Duplicate rate limit", "%q is in this list already.", it.text)
		default:
			r.RateLimits = append(r.RateLimits, limit)
		}
	}
	return r
}
