package worker

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// maxRequestID is how long a request id of a trusted proxy may be, in bytes.
const maxRequestID = 128

// identify finds out for whom the request is: the other end of the connection
// or, where that is a trusted proxy, the client that it names. Of the addresses
// that trusted proxies have noted down, the nearest that is not one of them is
// the last that nobody could forge.
func (x *exchange) identify() {
	x.client, x.scheme, x.trusted, x.id = x.c.peer.Addr(), x.c.scheme(), false, x.id[:0]
	networks := x.service.config.TrustedProxies
	if len(networks) == 0 || !within(networks, x.client) {
		return
	}
	x.trusted = true
	if proto := x.req.ForwardedProto(); proto != nil {
		x.scheme = proto
	}
	x.hops = x.req.ForwardedFor(x.hops[:0])
	for _, hop := range x.hops {
		x.client = hop
		if !within(networks, hop) {
			return
		}
	}
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap()
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// requestID returns the id of the request: what a trusted proxy calls it, else 32
// random hexadecimal digits. It is made when it is first asked for.
func (x *exchange) requestID() []byte {
	if len(x.id) > 0 {
		return x.id
	}
	if x.trusted {
		if id := x.req.Header("x-request-id"); validID(id) {
			x.id = append(x.id, id...)
			return x.id
		}
	}
	var random [16]byte
	for i := 0; i < len(random); i += 8 {
		for j, n := 0, rand.Uint64(); j < 8; j, n = j+1, n>>8 {
			random[i+j] = byte(n)
		}
	}
	x.id = hex.AppendEncode(x.id, random[:])
	return x.id
}

func validID(id []byte) bool {
	if len(id) == 0 || len(id) > maxRequestID {
		return false
	}
	for _, c := range id {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
