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

// parseIP is netip.ParseAddr on bytes, without a copy of them and without an
// error, which would be allocated. It takes no zones. IPv4 in IPv6 is IPv4.
func parseIP(b []byte) (netip.Addr, bool) {
	if slices.Contains(b, ':') {
		ip, ok := parseIP6(b)
		return netip.AddrFrom16(ip).Unmap(), ok
	}
	ip, ok := parseIP4(b)
	return netip.AddrFrom4(ip), ok
}

func parseIP4(b []byte) (ip [4]byte, ok bool) {
	part, digits, value := 0, 0, 0
	for _, c := range b {
		switch {
		case c == '.' && digits > 0 && part < 3:
			ip[part] = byte(value)
			part, digits, value = part+1, 0, 0
		case c < '0' || c > '9' || digits > 0 && value == 0: // no leading zeros
			return ip, false
		default:
			value, digits = 10*value+int(c-'0'), digits+1
			if value > 255 {
				return ip, false
			}
		}
	}
	ip[part] = byte(value)
	return ip, part == 3 && digits > 0
}

// parseIP6 parses an address with colons (RFC 4291, 2.2).
func parseIP6(b []byte) (ip [16]byte, ok bool) {
	n, gap := 0, -1 // bytes of ip so far; where "::" stands
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, b = 0, b[2:]
	}
	for len(b) > 0 {
		if n > 14 {
			return ip, false
		}
		value, digits := 0, 0
		for digits < len(b) && digits < 5 && unhex(b[digits]) >= 0 {
			value, digits = value<<4|unhex(b[digits]), digits+1
		}
		rest := b[digits:]
		if len(rest) > 0 && rest[0] == '.' { // the last 32 bits are in decimal
			last, ok := parseIP4(b)
			if !ok || n > 12 {
				return ip, false
			}
			copy(ip[n:], last[:])
			n += 4
			break
		}
		if digits == 0 || digits > 4 {
			return ip, false
		}
		ip[n], ip[n+1] = byte(value>>8), byte(value)
		n += 2
		switch {
		case len(rest) == 0:
		case len(rest) == 1 || rest[0] != ':':
			return ip, false
		case rest[1] == ':' && gap >= 0:
			return ip, false
		case rest[1] == ':':
			gap, rest = n, rest[2:]
		default:
			rest = rest[1:]
		}
		b = rest
	}
	if gap < 0 || n == 16 {
		return ip, gap < 0 && n == 16
	}
	copy(ip[16-(n-gap):], ip[gap:n])
	clear(ip[gap : 16-(n-gap)])
	return ip, true
}

// unhex returns the value of a hexadecimal digit, -1 if c is none.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
