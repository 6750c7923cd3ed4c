package proxyproto

import (
	"errors"
	"net/netip"
)

// A Header is what a header says of a connection.
type Header struct {
	Local       bool           // it names no addresses that are of use: those of the socket hold
	Source      netip.AddrPort // the client; not valid if Local
	Destination netip.AddrPort // what the client connected to; not valid if Local
}

// MaxBytes bounds a header: none longer is accepted.
const MaxBytes = 4 << 10

// All errors of Parse. None holds bytes of the connection.
var (
	errNeither  = errors.New("no PROXY protocol header")
	errLine     = errors.New("malformed PROXY line")
	errLong     = errors.New("PROXY line without an end")
	errAddress  = errors.New("invalid address in the PROXY line")
	errPort     = errors.New("invalid port in the PROXY line")
	errVersion  = errors.New("PROXY header of an unknown version")
	errCommand  = errors.New("PROXY header with an unknown command")
	errFamily   = errors.New("PROXY header with an unknown address family or protocol")
	errTooLarge = errors.New("PROXY header too large")
	errShort    = errors.New("PROXY header too short for its addresses")
	errTLV      = errors.New("malformed extension in the PROXY header")
	errChecksum = errors.New("PROXY header with a wrong checksum")
)

// signature begins a header of version 2. No line of version 1 begins so.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// Parse reads the header at the start of b and returns its length; 0 and no error
// say that it is not complete. What follows it in b is not looked at. After an
// error the connection must be closed.
func Parse(b []byte) (h Header, n int, err error) {
	switch {
	case len(b) == 0:
		return Header{}, 0, nil
	case b[0] == signature[0]:
		n, err = h.parseBinary(b)
	default:
		n, err = h.parseLine(b)
	}
	if err != nil || n == 0 {
		return Header{}, 0, err
	}
	return h, n, nil
}

// startsAs reports whether b, which may be longer or shorter, agrees with prefix.
func startsAs(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

// set fills h with two addresses of one family and their ports.
func (h *Header) set(source, destination netip.Addr, from, to uint16) {
	// A mapped address is the same client as the plain one, and is to be judged
	// and counted as that.
	h.Source = netip.AddrPortFrom(source.Unmap(), from)
	h.Destination = netip.AddrPortFrom(destination.Unmap(), to)
}
