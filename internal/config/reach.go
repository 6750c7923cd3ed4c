package config

import (
	"slices"
	"strings"
)

// A reach tells which routes of a listener can never be used, since the first
// that matches wins.
type reach struct {
	all  *section            // the first route that matches everything
	same map[string]*section // the first route of those with the same hosts, paths and methods
}

// add reports r, built from s, if no request would ever come to it. A condition
// makes a route reachable and others behind it too, whatever its value: it may
// depend on the environment of this load.
func (c *reach) add(d *decoder, s *section, r *Route) {
	if s.failed("hosts") || s.failed("paths") || s.failed("methods") {
		return
	}
	key := matcherKey(r)
	switch first := c.same[key]; {
	case c.all != nil:
		d.at(s.at, "Unreachable route", "Route %q at line %d matches every request, so route %q would never be used.",
			c.all.label, c.all.at.Start.Line, s.label)
	case first != nil:
		d.at(s.at, "Unreachable route", "Route %q at line %d matches the same requests, so route %q would never be used.",
			first.label, first.at.Start.Line, s.label)
	case s.has("when") || s.failed("when"):
	case key == matcherKey(&Route{}):
		c.all = s
	default:
		c.same[key] = s
	}
}

// matcherKey returns a text that is the same for routes with the same hosts,
// paths and methods in any order.
func matcherKey(r *Route) string {
	paths := make([]string, len(r.Paths))
	for i, p := range r.Paths {
		paths[i] = string(rune('0'+p.Kind)) + p.Text
		if p.Kind == PathPrefix && p.Text == "/" {
			paths = nil
			break
		}
	}
	var b strings.Builder
	for _, list := range [][]string{slices.Clone(r.Hosts), paths, slices.Clone(r.Methods)} {
		slices.Sort(list)
		for _, text := range list {
			b.WriteString(text)
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
	return b.String()
}
