package config

import (
	"net/netip"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/proxyd/proxyd/internal/ipaddr"
)

// addressOf returns the closure that yields text as an address. IPv4 in IPv6 is
// IPv4. What text leaves behind buf it drops.
func addressOf(text textFunc) func(s Subject, buf *[]byte) (netip.Addr, bool) {
	return func(s Subject, buf *[]byte) (netip.Addr, bool) {
		start := len(*buf)
		ip, ok := ipaddr.Parse(text(s, buf))
		*buf = (*buf)[:start]
		return ip.Unmap(), ok
	}
}

// cidrMatch builds cidr_match(ip, list): false for what is no address.
func cidrMatch(d *decoder, e *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
	list, ok := d.networks(&arg{name: e.Name}, e.Args[1])
	if !ok {
		return node{}, false
	}
	address := addressOf(args[0].asText())
	n := node{kind: boolNode, size: 1 + 16*len(list), truth: func(s Subject, buf *[]byte) bool {
		ip, ok := address(s, buf)
		return ok && within(list, ip)
	}}
	return folded(n, args)
}

// ipPrefix builds ip_prefix(ip, bits4, bits6): the network that ip lies in, null
// for what is no address.
func ipPrefix(d *decoder, e *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
	const usual6 = 64
	bits4, ok := d.wholeNumber(e, args, 1, 0, 32)
	bits6, ok6 := int64(usual6), true
	if len(args) > 2 {
		bits6, ok6 = d.wholeNumber(e, args, 2, 0, 128)
	}
	if !ok || !ok6 {
		return node{}, false
	}
	address := addressOf(args[0].asText())
	n := node{kind: textNode, text: func(s Subject, buf *[]byte) []byte {
		ip, ok := address(s, buf)
		if !ok {
			return nil
		}
		bits := bits4
		if ip.Is6() {
			bits = bits6
		}
		network, _ := ip.Prefix(int(bits)) // bits are in range
		start := len(*buf)
		*buf = network.AppendTo(*buf)
		return (*buf)[start:]
	}}
	return folded(n, args)
}
