package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

func (d *decoder) upstream(s *section) *Upstream {
	u := &Upstream{
		Name:   s.label,
		Policy: s.text("policy"),
		Host:   s.text("host"),
		Timeouts: UpstreamTimeouts{
			Connect:   s.duration("timeouts.connect"),
			TLS:       s.duration("timeouts.tls"),
			FirstByte: s.duration("timeouts.first_byte"),
			BodyIdle:  s.duration("timeouts.body_idle"),
			Idle:      s.duration("timeouts.idle"),
		},
		Limits: UpstreamLimits{Idle: int(s.number("limits.idle"))},
	}
	d.define("upstream", s)
	d.upstreams[s.label] = u
	d.servers(s, u)
	if t := s.one("tls"); t != nil {
		u.TLS = d.tls(t, u)
	}
	if h := s.one("health"); h != nil {
		u.Health = d.health(h)
	}
	return u
}

// servers adds the servers of the list and of the blocks.
func (d *decoder) servers(s *section, u *Upstream) {
	seen := map[string]bool{}
	add := func(text string, at hcl.Range, weight int64) {
		address, err := parseServer(text)
		if err != nil {
			d.at(at, "Invalid address", "%v.", err)
			return
		}
		if seen[address] {
			d.at(at, "Duplicate server", "%q is in this upstream already. To give it more requests, give it a weight.", text)
			return
		}
		seen[address] = true
		u.Servers = append(u.Servers, Server{address, int(weight)})
	}
	for _, it := range s.items("servers") {
		add(it.text, it.at, 1)
	}
	blocks := s.blocks["server"]
	for _, b := range blocks {
		if b.label != "" {
			add(b.label, b.at, b.number("weight"))
		}
	}
	if len(s.items("servers"))+len(blocks) == 0 && !s.skips("discover") && !s.failed("servers") {
		d.absent(s.whereOf("servers"), "No servers", "The upstream %q has no server. Write servers = [\"ip:port\"] or server \"ip:port\" {}.", s.label)
	}
}

func (d *decoder) tls(s *section, u *Upstream) *TLS {
	t := &TLS{SNI: s.text("sni"), Verify: s.flag("verify")}
	if s.has("sni") {
		if err := checkServerName(t.SNI); err != nil {
			d.at(s.whereOf("sni"), "Invalid name", "%v.", err)
		}
	} else if host := hostOnly(u.Host); host != "" {
		t.SNI = host
	} else if t.Verify && !s.failed("sni") {
		d.absent(s.at, "No name to verify", `Servers are addresses, so the name in their certificate is not known. Write sni = "name" here, or host = "name" in the upstream.`)
	}
	if s.has("ca") {
		name := s.text("ca")
		data, err := d.bundle.file(name)
		if err == nil {
			err = checkCertificates(data)
		}
		if err != nil {
			d.at(s.whereOf("ca"), "Invalid certificate file", "%q: %v.", name, err)
		}
		t.CA = data
	}
	return t
}

// hostOnly returns the name in a Host field without its port.
func hostOnly(host string) string {
	if name, _, ok := strings.Cut(host, ":"); ok && !strings.HasPrefix(host, "[") {
		return name
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(host, "["), "]")
	return name
}

// checkServerName says what is wrong with a name to ask for and to verify.
func checkServerName(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if len(s) > 253 || !isHostName(s) {
		return fmt.Errorf("%q is neither a DNS name nor an IP address", s)
	}
	return nil
}

// checkCertificates says what is wrong with a file of certificates in PEM.
func checkCertificates(data []byte) error {
	n := 0
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		n++
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return fmt.Errorf("certificate %d does not parse: %w", n, err)
		}
	}
	if n == 0 {
		return errors.New("there is no certificate in PEM in it")
	}
	return nil
}

func (d *decoder) health(s *section) *Health {
	h := &Health{
		Kind:     s.label,
		Interval: s.duration("interval"),
		Timeout:  s.duration("timeout"),
		Rise:     int(s.number("rise")),
		Fall:     int(s.number("fall")),
	}
	if !s.has("timeout") {
		h.Timeout = min(h.Timeout, h.Interval)
	} else if h.Timeout > h.Interval {
		d.at(s.whereOf("timeout"), "Out of range", "\"timeout\" must not be longer than \"interval\", which is %s.", formatDuration(h.Interval))
	}
	return h
}
