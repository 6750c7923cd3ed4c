package http1

import (
	"bytes"
	"net/netip"

	"github.com/proxyd/proxyd/internal/ipaddr"
)

// MaxForwardedFor bounds the addresses that ForwardedFor returns.
const MaxForwardedFor = 16

// ForwardedFor appends the addresses of all X-Forwarded-For fields, the last, of
// the nearest client, first; at most MaxForwardedFor. Ports and brackets are
// left out, and it ends at the first member that is no address: what stands to
// the left of that was not written by a proxy that can be believed. IPv4
// addresses mapped into IPv6 are returned as IPv4.
func (r *Request) ForwardedFor(dst []netip.Addr) []netip.Addr {
	if !r.seen.has(KindForwardedFor) {
		return dst
	}
	most := len(dst) + MaxForwardedFor
	for i := len(r.Fields) - 1; i >= 0; i-- {
		if r.Fields[i].Kind != KindForwardedFor {
			continue
		}
		for list := r.Fields[i].Value; len(list) > 0; {
			var hop []byte
			if list, hop = lastMember(list); len(hop) == 0 {
				continue // RFC 9110 section 5.6.1.2: an empty one counts for nothing
			}
			addr, ok := ipaddr.Parse(withoutPort(hop))
			if !ok || len(dst) == most {
				return dst
			}
			dst = append(dst, addr.Unmap())
		}
	}
	return dst
}

// lastMember cuts the last member off a comma-separated list.
func lastMember(list []byte) (rest, last []byte) {
	i := bytes.LastIndexByte(list, ',')
	return list[:max(i, 0)], trim(list[i+1:])
}

// withoutPort returns the address in a.b.c.d:port, [v6] or [v6]:port, and
// anything else as it is.
func withoutPort(hop []byte) []byte {
	if hop[0] == '[' {
		end := bytes.IndexByte(hop, ']')
		if end < 0 || end+1 < len(hop) && (hop[end+1] != ':' || !validPort(hop[end+2:])) {
			return hop
		}
		return hop[1:end]
	}
	if i := bytes.IndexByte(hop, ':'); i >= 0 && bytes.IndexByte(hop[:i], '.') >= 0 && validPort(hop[i+1:]) {
		return hop[:i]
	}
	return hop
}

var schemes = [...][]byte{[]byte("http"), []byte("https")}

// ForwardedProto returns the last X-Forwarded-Proto, http or https in lower case;
// nil if there is none or it is something else.
func (r *Request) ForwardedProto() []byte {
	if !r.seen.has(KindForwardedProto) {
		return nil
	}
	var last []byte
	for i := range r.Fields {
		if f := &r.Fields[i]; f.Kind == KindForwardedProto {
			_, last = lastMember(f.Value)
		}
	}
	for _, s := range schemes {
		if bytes.EqualFold(last, s) {
			return s
		}
	}
	return nil
}

// appendForwarded appends those of the X-Forwarded fields that are ours to write:
// what a believed client sent stays, but for X-Forwarded-For, to which the
// client is added.
func (r *Request) appendForwarded(dst []byte, f *Forward) []byte {
	ours := forwarded &^ f.Edit.takes()
	var theirs kindSet
	if f.KeepXFF {
		theirs = r.seen & forwarded
	}
	if f.ClientIP != nil && ours.has(KindForwardedFor) {
		dst = append(dst, "X-Forwarded-For: "...)
		if theirs.has(KindForwardedFor) {
			dst = r.appendValues(dst, KindForwardedFor)
		}
		dst = append(append(dst, f.ClientIP...), "\r\n"...)
	}
	ours &^= theirs
	if f.Proto != nil && ours.has(KindForwardedProto) {
		dst = append(append(append(dst, "X-Forwarded-Proto: "...), f.Proto...), "\r\n"...)
	}
	if r.Host != nil && ours.has(KindForwardedHost) {
		dst = append(append(append(dst, "X-Forwarded-Host: "...), r.Host...), "\r\n"...)
	}
	return dst
}

// appendValues appends the values of all fields of a kind, each with a comma.
func (r *Request) appendValues(dst []byte, k Kind) []byte {
	for i := range r.Fields {
		if f := &r.Fields[i]; f.Kind == k && len(f.Value) > 0 {
			dst = append(append(dst, f.Value...), ", "...)
		}
	}
	return dst
}
