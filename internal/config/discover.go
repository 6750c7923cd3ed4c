package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of what is asked for servers.
const (
	maxDiscover  = 16 // in an upstream
	maxResolvers = 8
)

// discovered gives u where more servers are found.
func (d *decoder) discovered(s *section, u *Upstream) {
	for i, b := range s.blocks["discover"] {
		if i == maxDiscover {
			d.at(b.at, "Too many discover blocks", "An upstream may have %d.", maxDiscover)
			return
		}
		v := Discover{Kind: b.label}
		switch {
		case v.Kind == "file" && b.has("path"):
			v.Path = d.bundle.resolve(b.text("path"))
		case v.Kind == "dns" && b.has("name") && d.discoverDNS(b, &v):
		default: // has been reported
			continue
		}
		same := func(o Discover) bool { return o.Path == v.Path && o.Name == v.Name && o.Port == v.Port }
		if slices.ContainsFunc(u.Discover, same) {
			d.at(b.at, "Duplicate discover", "The same servers are discovered in this upstream already.")
			continue
		}
		u.Discover = append(u.Discover, v)
	}
}

// discoverDNS reads what is of discover "dns", and reports whether its name is one.
func (d *decoder) discoverDNS(s *section, v *Discover) bool {
	name, err := parseDNSName(s.text("name"))
	if err != nil {
		d.at(s.whereOf("name"), "Invalid name", "%v.", err)
		return false
	}
	v.Name, v.Port = name, int(s.number("port"))
	switch service := strings.HasPrefix(name, "_"); {
	case service && s.has("port"):
		d.at(s.whereOf("port"), "No effect", "%q is a name of SRV records, which have ports of their own. Leave \"port\" out.", name)
	case !service && !s.has("port") && !s.failed("port"):
		d.absent(s.at, "Missing required argument", "The addresses of %q come without a port: write port = 80, or the name of SRV records, such as %q.", name, "_http._tcp."+name)
	}
	for _, it := range s.items("resolvers") {
		r, err := parseResolver(it.text)
		switch {
		case err != nil:
			d.at(it.at, "Invalid address", "%v.", err)
		case slices.Contains(v.Resolvers, r):
			d.at(it.at, "Duplicate value", "%q is in this list already.", it.text)
		case len(v.Resolvers) == maxResolvers:
			d.at(it.at, "Too many resolvers", "There may be %d.", maxResolvers)
			return true
		default:
			v.Resolvers = append(v.Resolvers, r)
		}
	}
	return true
}

// parseDNSName returns a name to ask DNS for in lower case, without a dot at its
// end.
func parseDNSName(text string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(text), ".")
	host, port, hasPort := strings.Cut(name, ":")
	_, err := netip.ParseAddr(strings.Trim(text, "[]"))
	_, errPort := netip.ParseAddrPort(text)
	switch {
	case err == nil || errPort == nil:
		return "", fmt.Errorf("%q is an address, not a name. Write it in \"servers\"", text)
	case hasPort && isDNSName(host):
		return "", fmt.Errorf("%q has a port. Write name = %q and port = %s", text, host, port)
	case !isDNSName(name):
		return "", fmt.Errorf("%q is not a DNS name", text)
	}
	return name, nil
}

// parseResolver parses the address of a DNS server and returns it in its
// canonical form.
func parseResolver(text string) (string, error) {
	addr, err := parseIPPort(text, 53)
	if err != nil {
		return "", fmt.Errorf(`%w. Write it as "ip:port" or "[ip]:port"`, err)
	}
	if addr.Addr().IsUnspecified() {
		return "", fmt.Errorf("%q is no address to connect to", text)
	}
	return addr.String(), nil
}
