package proxyproto

import (
	"bytes"
	"net/netip"

	"github.com/proxyd/proxyd/internal/ipaddr"
)

const maxLine = 107 // of version 1, CRLF included

// parseLine reads a header of version 1 (section 2.1).
func (h *Header) parseLine(b []byte) (n int, err error) {
	const tcp4, tcp6, unknown = "PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN"
	if !startsAs(b, tcp4) && !startsAs(b, tcp6) && !startsAs(b, unknown) {
		return 0, errNeither
	}
	end := bytes.IndexByte(b[:min(len(b), maxLine)], '\r')
	switch {
	case end >= 0 && end+1 < len(b) && b[end+1] != '\n':
		return 0, errLine
	case (end < 0 || end+1 == len(b)) && len(b) < maxLine:
		return 0, nil
	case end < 0 || end+2 > maxLine:
		return 0, errLong
	}
	line := b[:end]
	switch {
	case len(line) < len(tcp4) || bytes.IndexByte(line, '\n') >= 0:
		return 0, errLine
	case startsAs(line, tcp4):
		return end + 2, h.fields(line[len(tcp4):], netip.Addr.Is4)
	case startsAs(line, tcp6):
		return end + 2, h.fields(line[len(tcp6):], netip.Addr.Is6)
	case len(line) > len(unknown) && line[len(unknown)] != ' ' || len(line) < len(unknown):
		return 0, errLine
	}
	h.Local = true // and what follows the word is to be ignored
	return end + 2, nil
}

// fields reads what follows the family: both addresses and both ports.
func (h *Header) fields(rest []byte, family func(netip.Addr) bool) error {
	var addrs [2]netip.Addr
	var ports [2]uint16
	for i := range addrs {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte(" "))
		addr, ok := ipaddr.Parse(field)
		if !ok || !family(addr) {
			return errAddress
		}
		addrs[i] = addr
	}
	from, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return errLine
	}
	for i, field := range [...][]byte{from, rest} {
		if ports[i], ok = port(field); !ok {
			return errPort
		}
	}
	h.set(addrs[0], addrs[1], ports[0], ports[1])
	return nil
}

// port reads a decimal number below 65536 without leading zeros.
func port(b []byte) (uint16, bool) {
	if len(b) == 0 || len(b) > 5 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return uint16(n), n < 1<<16
}
