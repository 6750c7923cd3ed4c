package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// parseNetwork parses "10.0.0.0/8", or a single address.
func parseNetwork(text string) (netip.Prefix, error) {
	var none netip.Prefix
	if !strings.Contains(text, "/") {
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" {
			return none, fmt.Errorf(`%q is not a network. Write it as "10.0.0.0/8", "2001:db8::/32" or a single address`, text)
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return none, fmt.Errorf(`%q is not a network. Write it as "10.0.0.0/8", "2001:db8::/32" or a single address`, text)
	case p.Addr().Is4In6():
		return none, fmt.Errorf("%q is IPv4 in IPv6. Write it as IPv4", text)
	case p != p.Masked():
		return none, fmt.Errorf("%q has bits behind its /%d. Write %q, or a single address without a slash", text, p.Bits(), p.Masked())
	}
	return p, nil
}

// networks reads networks in brackets, or a single one.
func (d *decoder) networks(a *arg, e hclsyntax.Expression) ([]netip.Prefix, bool) {
	items, valid := d.list(a, e)
	if !valid {
		return nil, false
	}
	list := make([]netip.Prefix, 0, len(items))
	for _, it := range items {
		p, err := parseNetwork(it.text)
		if err != nil {
			d.at(it.at, "Invalid network", "%v.", err)
			valid = false
		}
		list = append(list, p)
	}
	return disjoint(list), valid
}

// disjoint returns list in order and without the networks that another one
// holds, for within.
func disjoint(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, netip.Prefix.Compare)
	kept := list[:0]
	for _, p := range list {
		if n := len(kept); n == 0 || !kept[n-1].Contains(p.Addr()) {
			kept = append(kept, p)
		}
	}
	return slices.Clip(kept)
}

// within reports whether one of list, which is disjoint, holds ip.
func within(list []netip.Prefix, ip netip.Addr) bool {
	i, exact := slices.BinarySearchFunc(list, ip, func(p netip.Prefix, ip netip.Addr) int { return p.Addr().Compare(ip) })
	return exact || i > 0 && list[i-1].Contains(ip)
}
