package config

import (
	"cmp"
	"net/netip"
	"strings"
)

// health builds how u, whose Host and TLS are set, is probed.
func (d *decoder) health(s *section, u *Upstream) *Health {
	h := &Health{
		Kind:      s.label,
		InitialUp: s.text("initial") == "up",
		Interval:  s.duration("interval"),
		Timeout:   s.duration("timeout"),
		Rise:      int(s.number("rise")),
		Fall:      int(s.number("fall")),
	}
	if !s.has("timeout") {
		h.Timeout = min(h.Timeout, h.Interval)
	} else if h.Timeout > h.Interval {
		d.at(s.whereOf("timeout"), "Out of range", "\"timeout\" must not be longer than \"interval\", which is %s.", formatDuration(h.Interval))
	}
	switch h.Kind {
	case "http":
		h.Path, h.Expect = d.probePath(s), expectOf(s)
	case "grpc":
		h.Service = d.probeService(s)
	}
	if h.Kind != "tcp" {
		h.Host = cmp.Or(s.text("host"), u.Host, nameOf(u.TLS))
	}
	return h
}

// nameOf returns the name that t asks for, "" if it is none.
func nameOf(t *TLS) string {
	if t == nil {
		return ""
	}
	if _, err := netip.ParseAddr(t.SNI); err == nil {
		return ""
	}
	return t.SNI
}

func (d *decoder) probePath(s *section) string {
	text := s.text("path")
	switch {
	case !strings.HasPrefix(text, "/") || len(text) > maxPattern:
		d.at(s.whereOf("path"), "Invalid path", `%q is not a path to ask for. It begins with a slash, as in "/healthz".`, text)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }):
		d.at(s.whereOf("path"), "Invalid path", "%q has characters that no path has as it is sent: write them as %%XX.", text)
	}
	return text
}

// maxService bounds the name of a gRPC service.
const maxService = 255

func (d *decoder) probeService(s *section) string {
	text := s.text("service")
	if len(text) > maxService || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		d.at(s.whereOf("service"), "Invalid name", `%q is not the name of a gRPC service, such as "shop.v1.Orders".`, text)
	}
	return text
}

// expectOf returns the condition of "expect". One that is always true is kept,
// as nil stands for another one.
func expectOf(s *section) *Condition {
	c := get[*Condition](s, "expect")
	if c == nil && s.has("expect") {
		return &Condition{holds: boolConstant(true).asTruth()}
	}
	return c
}
