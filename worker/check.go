package worker

import (
	"strconv"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/lb/probe"
)

// check is how the servers of u, which has a health check, are probed.
func (u *upstream) check() lb.Check {
	h := u.config.Health
	c := lb.Check{Interval: h.Interval, Timeout: h.Timeout, Rise: h.Rise, Fall: h.Fall, Probe: probe.TCP}
	if h.InitialUp {
		c.Initial = lb.Up
	}
	switch h.Kind {
	case "http":
		p := &probe.HTTP{Path: h.Path, Host: h.Host, TLS: u.tls}
		if h.Expect != nil {
			p.Expect = func(status int) bool {
				var buf []byte
				return h.Expect.Holds(probedStatus(status), &buf)
			}
		}
		c.Probe = p.Probe
	case "grpc":
		c.Probe = (&probe.GRPC{Service: h.Service, Host: h.Host, TLS: u.tls}).Probe
	}
	return c
}

// A probedStatus is the subject of a health check's expect.
type probedStatus int

// Value is for package config.
func (s probedStatus) Value(v config.Var, _ string) []byte {
	if v != config.ResponseStatus {
		return nil
	}
	return strconv.AppendInt(nil, int64(s), 10)
}
