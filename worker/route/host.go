package route

import "bytes"

// maxHost bounds the hosts that are looked up, in bytes: DNS names have 253.
const maxHost = 255

// canonical returns the host as the table holds it: without port, brackets and
// the dot of the root, in lower case. The result is part of host, or of buf if
// letters had to change. It is empty if there is no host, or too long a one.
func canonical(buf *[maxHost]byte, host []byte) []byte {
	if len(host) > 0 && host[0] == '[' {
		host = host[1:]
		if i := bytes.IndexByte(host, ']'); i >= 0 {
			host = host[:i]
		}
	} else if i := bytes.IndexByte(host, ':'); i >= 0 && i == bytes.LastIndexByte(host, ':') {
		host = host[:i] // more than one colon: an IPv6 address of a rule
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	if len(host) > maxHost {
		return nil
	}
	for i, c := range host {
		if 'A' <= c && c <= 'Z' {
			return lower(buf, host, i)
		}
	}
	return host
}

// lower copies host to buf, letters from i on in lower case.
func lower(buf *[maxHost]byte, host []byte, i int) []byte {
	n := copy(buf[:], host)
	for ; i < n; i++ {
		if c := buf[i]; 'A' <= c && c <= 'Z' {
			buf[i] = c | 0x20
		}
	}
	return buf[:n]
}

// scope returns where the search for a request to host starts.
func (t *Table) scope(host []byte) *scope {
	if len(t.exact)+len(t.wild) == 0 {
		return t.any
	}
	var buf [maxHost]byte
	host = canonical(&buf, host)
	if s := t.exact[string(host)]; s != nil {
		return s
	}
	return t.wildcard(host)
}

// wildcard returns the scope of the narrowest wildcard that covers host.
func (t *Table) wildcard(host []byte) *scope {
	if len(t.wild) == 0 {
		return t.any
	}
	for i := max(1, len(host)-t.longest-1); i < len(host); i++ {
		if host[i] != '.' {
			continue
		}
		if s := t.wild[string(host[i+1:])]; s != nil {
			return s
		}
	}
	return t.any
}
