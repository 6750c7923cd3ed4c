package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

func (d *decoder) upstream(s *section) *Upstream {
	u := &Upstream{
		Name:      s.label,
		Policy:    s.text("policy"),
		HashKey:   get[*Expr](s, "hash_key"),
		SlowStart: s.duration("slow_start"),
		Host:      s.text("host"),
		Protocol:  s.text("protocol"),

		PanicThreshold: int(get[percent](s, "panic_threshold")),
		Timeouts: UpstreamTimeouts{
			Connect:   s.duration("timeouts.connect"),
			TLS:       s.duration("timeouts.tls"),
			FirstByte: s.duration("timeouts.first_byte"),
			BodyIdle:  s.duration("timeouts.body_idle"),
			Idle:      s.duration("timeouts.idle"),
		},
		Limits: UpstreamLimits{
			Idle:        int(s.number("limits.idle")),
			Connections: int(s.number("limits.connections")),
			Pending:     int(s.number("limits.pending")),
		},
	}
	d.define("upstream", s)
	d.upstreams[s.label] = u
	d.servers(s, u)
	d.discovered(s, u)
	d.balancing(s, u)
	if t := s.one("tls"); t != nil {
		u.TLS = d.tls(t, u)
	}
	if h := s.one("health"); h != nil {
		u.Health = d.health(h, u)
	}
	switch {
	case s.failed("protocol"):
	case u.Protocol == "h2" && len(s.blocks["tls"]) == 0:
		d.absent(s.whereOf("protocol"), "Missing block", `The protocol "h2" is agreed on in the TLS handshake: write tls {}, or protocol = "h2c" for HTTP/2 without TLS.`)
	case u.Protocol == "h2c" && u.TLS != nil:
		d.at(s.whereOf("protocol"), "No effect", `The protocol "h2c" is HTTP/2 without TLS: write protocol = "h2", or leave out the tls block.`)
	}
	return u
}

// balancing gives u what its policy needs and what keeps servers from overload.
func (d *decoder) balancing(s *section, u *Upstream) {
	switch keyed := u.Policy == "maglev" || u.Policy == "ketama"; {
	case s.failed("policy"):
	case keyed && !s.has("hash_key") && !s.failed("hash_key"):
		d.absent(s.whereOf("policy"), "Missing required argument", "The policy %q needs to know which requests go to the same server: write hash_key = client.ip, or another expression.", u.Policy)
	case !keyed && s.has("hash_key"):
		d.at(s.whereOf("hash_key"), "No effect", `"hash_key" is for the policies "maglev" and "ketama"; this one is %q.`, u.Policy)
	}
	if s.has("limits.pending") && u.Limits.Connections == 0 && !s.failed("limits.connections") {
		d.at(s.whereOf("limits.pending"), "No effect", `No request waits while servers take any number: write limits = { connections = ..., pending = ... }.`)
	}
	if s.has("eject") {
		u.Eject = &Eject{
			Errors:     int(s.number("eject.errors")),
			For:        s.duration("eject.for"),
			MaxPercent: int(s.number("eject.max_percent")),
		}
	}
}

// servers adds the servers of the list and of the blocks.
func (d *decoder) servers(s *section, u *Upstream) {
	seen := map[string]bool{}
	add := func(text string, at hcl.Range, weight int64, backup bool) {
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
		u.Servers = append(u.Servers, Server{address, int(weight), backup})
	}
	for _, it := range s.items("servers") {
		add(it.text, it.at, 1, false)
	}
	blocks := s.blocks["server"]
	for _, b := range blocks {
		if b.label != "" {
			add(b.label, b.at, b.number("weight"), b.flag("backup"))
		}
	}
	if len(s.blocks["discover"]) > 0 || s.failed("servers") {
		return
	}
	declared := len(s.items("servers")) + len(blocks)
	switch primary := func(v Server) bool { return !v.Backup }; {
	case declared == 0:
		d.absent(s.whereOf("servers"), "No servers", "The upstream %q has no server. Write servers = [\"ip:port\"], server \"ip:port\" {} or discover \"dns\" {}.", s.label)
	case len(u.Servers) == declared && !slices.ContainsFunc(u.Servers, primary):
		d.absent(s.at, "No primary server", "Every server of the upstream %q is a backup, so there is none to back up. Leave out \"backup\" where requests go first.", s.label)
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
	t.CA = d.certificates(s, "ca")
	switch {
	case s.has("cert") && s.has("key"):
		if pair, ok := d.keyPair(s); ok {
			t.Certificate = &pair
		}
	case s.has("cert") != s.has("key") && !s.failed("cert") && !s.failed("key"):
		d.at(s.at, "Half a certificate", `"cert" and "key" belong together: write both, or none.`)
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
	if !isDNSName(strings.TrimSuffix(s, ".")) {
		return fmt.Errorf("%q is neither a DNS name nor an IP address", s)
	}
	return nil
}
