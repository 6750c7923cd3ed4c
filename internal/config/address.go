package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// An Address is a place to listen on. Compare addresses by Name.
type Address struct {
	Network string // "tcp", "unix" or "systemd"
	Value   string // "ip:port", an absolute path, or the name of a passed socket
	text    string // as written in the file
}

// String returns the address as written in the file.
func (a Address) String() string {
	switch {
	case a.text != "":
		return a.text
	case a.Network == "tcp":
		return a.Value
	}
	return a.Network + ":" + a.Value
}

// Name returns the name of the address's descriptor, such as
// "l.tcp4.0.0.0.0.443". Different addresses have different names; they consist
// of [A-Za-z0-9_.-].
func (a Address) Name() string {
	if a.Network != "tcp" {
		return "l." + a.Network + "." + escape(a.Value)
	}
	addr, err := netip.ParseAddrPort(a.Value)
	if err != nil {
		return "l.tcp." + escape(a.Value)
	}
	family := "tcp6"
	if addr.Addr().Is4() {
		family = "tcp4"
	}
	ip := strings.ReplaceAll(addr.Addr().String(), ":", "-")
	return fmt.Sprintf("l.%s.%s.%d", family, ip, addr.Port())
}

// escape maps '/' to '-' and any other byte that a descriptor's name may not
// hold to its value in hexadecimal after '_'.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '/':
			b.WriteByte('-')
		case c == '.' || isAlphanumeric(c):
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// maxUnixPath is the longest path that fits into a sockaddr_un with its NUL.
const maxUnixPath = 107

// parseListen parses an address to listen on.
func parseListen(text string) (Address, error) {
	if name, ok := strings.CutPrefix(text, "systemd:"); ok {
		if err := checkName(name); err != nil {
			return Address{}, fmt.Errorf("%q: the name of a socket %w", text, err)
		}
		return Address{"systemd", name, text}, nil
	}
	if strings.HasPrefix(text, "unix:") {
		path, err := parseUnix(text)
		return Address{"unix", path, text}, err
	}
	if strings.HasPrefix(text, ":") && strings.Count(text, ":") == 1 {
		port, err := parsePort(text)
		dual := netip.AddrPortFrom(netip.IPv6Unspecified(), port)
		return Address{"tcp", dual.String(), text}, err
	}
	addr, err := parseIPPort(text, 80)
	if err != nil {
		return Address{}, fmt.Errorf(`%w. Write it as "ip:port", ":port", "unix:/path" or "systemd:name"`, err)
	}
	return Address{"tcp", addr.String(), text}, nil
}

// errHostName marks an address that is not numeric.
var errHostName = errors.New("is a name")

// parseServer parses the address of an upstream's server and returns it in its
// canonical form.
func parseServer(text string) (string, error) {
	if strings.HasPrefix(text, "unix:") {
		path, err := parseUnix(text)
		return "unix:" + path, err
	}
	addr, err := parseIPPort(text, 80)
	if errors.Is(err, errHostName) {
		return "", fmt.Errorf(`%w. Write "ip:port" here; for names there is discover "dns" { name = "..." }`, err)
	} else if err != nil {
		return "", fmt.Errorf(`%w. Write it as "ip:port", "[ip]:port" or "unix:/path"`, err)
	}
	if addr.Addr().IsUnspecified() {
		return "", fmt.Errorf("%q is no address to connect to", text)
	}
	return addr.String(), nil
}

func parseUnix(text string) (string, error) {
	path := strings.TrimPrefix(text, "unix:")
	switch {
	case !filepath.IsAbs(path):
		return "", fmt.Errorf("%q has no absolute path. Write it as \"unix:/path\"", text)
	case strings.ContainsRune(path, 0):
		return "", fmt.Errorf("%q has a NUL in its path", text)
	case len(path) > maxUnixPath:
		return "", fmt.Errorf("the path has %d bytes; a unix socket's may have %d", len(path), maxUnixPath)
	}
	return filepath.Clean(path), nil
}

// parseIPPort parses "ip:port". Its errors show the usual port.
func parseIPPort(text string, usual uint16) (netip.AddrPort, error) {
	var none netip.AddrPort
	if strings.Contains(text, "%") {
		return none, fmt.Errorf("%q has a zone, which is not supported", text)
	}
	if ip, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return none, fmt.Errorf("%q is an address without a port, as in %q", text, netip.AddrPortFrom(ip, usual))
	}
	if _, err := parsePort(text); err != nil {
		return none, err
	}
	ip := text[:strings.LastIndexByte(text, ':')]
	addr, err := netip.ParseAddrPort(text)
	switch {
	case err == nil:
		return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), nil
	case isHostName(ip):
		return none, fmt.Errorf("%q %w, not an address", text, errHostName)
	}
	return none, fmt.Errorf("%q is not an IP address", ip)
}

// parsePort returns the port at the end of text.
func parsePort(text string) (uint16, error) {
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return 0, fmt.Errorf("%q has no port", text)
	}
	n, err := strconv.ParseUint(text[colon+1:], 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q has %q where a port from 1 to 65535 is needed", text, text[colon+1:])
	}
	return uint16(n), nil
}

// isHostName reports whether s could be a DNS name rather than a misspelled
// address: its last label has a letter.
func isHostName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	last := strings.TrimSuffix(s, ".")
	last = last[strings.LastIndexByte(last, '.')+1:]
	return strings.Trim(last, "0123456789") != ""
}

// port returns the end of "ip:port" from the last colon on.
func port(s string) string { return s[strings.LastIndexByte(s, ':')+1:] }

// overlaps reports whether the kernel would refuse to bind b while a is bound.
func (a Address) overlaps(b Address) bool {
	if a.Network != b.Network || a.Network != "tcp" {
		return a.Network == b.Network && a.Value == b.Value
	}
	if port(a.Value) != port(b.Value) {
		return false
	}
	x, errX := netip.ParseAddrPort(a.Value)
	y, errY := netip.ParseAddrPort(b.Value)
	if errX != nil || errY != nil {
		return false
	}
	covers := func(wild, other netip.Addr) bool {
		return wild.IsUnspecified() && (wild.Is6() || other.Is4()) // [::] is dual stack
	}
	return x == y || covers(x.Addr(), y.Addr()) || covers(y.Addr(), x.Addr())
}
