package http1

import "strconv"

// pseudonym is what Via calls this proxy.
const pseudonym = "proxyd"

// Forward says how a request goes upstream. The bytes are written as they are:
// they must be free of line ends, and Extra must be whole lines.
type Forward struct {
	Host     []byte // replaces the client's Host; nil keeps it
	ClientIP []byte // for X-Forwarded-For; nil leaves the field out
	Proto    []byte // for X-Forwarded-Proto: http or https; nil leaves the field out
	KeepXFF  bool   // the peer is trusted: its X-Forwarded-* are kept, -For is appended to
	Extra    []byte // further field lines, each with its CRLF
}

// AppendForward appends the head as the next hop gets it: HTTP/1.1, the target in
// origin-form, fields in their order and case without those that were for this
// hop, then what the proxy says of itself. The framing is the one that was
// received; a chunked body must be chunked anew, without extensions. Expect is
// kept if a body follows, so that the answer 100 comes from upstream.
func (r *Request) AppendForward(dst []byte, f *Forward) []byte {
	drop := hopByHop
	if f.Host != nil || r.Host == nil || r.Form == AbsoluteForm {
		drop |= KindHost.set()
	}
	if !f.KeepXFF {
		drop |= forwarded
	} else if f.ClientIP != nil {
		drop |= KindForwardedFor.set()
	}
	if !r.ExpectContinue {
		drop |= KindExpect.set()
	}
	if r.MaxForwards >= 0 {
		drop |= KindMaxForwards.set()
	}
	from := r.line // start of the run of lines that is to be copied next
	if r.Form == AbsoluteForm || r.head[r.first-3] != '1' {
		dst = append(append(dst, r.Method...), ' ')
		dst = append(append(dst, r.URI...), " HTTP/1.1\r\n"...)
		from = r.first
	}
	for i := range r.Fields {
		field := &r.Fields[i]
		if !drop.has(field.Kind) {
			continue
		}
		dst = append(dst, r.head[from:field.start]...)
		from = field.end
		if field.Kind == KindHost {
			dst = r.appendHost(dst, f)
		}
	}
	dst = append(dst, r.head[from:len(r.head)-2]...)
	if !r.seen.has(KindHost) {
		dst = r.appendHost(dst, f)
	}
	if r.Chunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if r.WebSocket {
		dst = append(dst, upgradeLines...)
	}
	if r.MaxForwards > 0 {
		dst = append(dst, "Max-Forwards: "...)
		dst = append(strconv.AppendInt(dst, r.MaxForwards-1, 10), "\r\n"...)
	}
	dst = r.appendForwarded(dst, f)
	dst = append(dst, f.Extra...)
	if r.Minor == 0 {
		return append(dst, "Via: 1.0 "+pseudonym+"\r\n\r\n"...)
	}
	return append(dst, "Via: 1.1 "+pseudonym+"\r\n\r\n"...)
}

// appendHost appends the Host field. Without any host its value is empty, as RFC
// 9112 section 3.2 asks.
func (r *Request) appendHost(dst []byte, f *Forward) []byte {
	host := f.Host
	if host == nil {
		host = r.Host
	}
	return append(append(append(dst, "Host: "...), host...), "\r\n"...)
}

// appendForwarded appends the X-Forwarded fields.
func (r *Request) appendForwarded(dst []byte, f *Forward) []byte {
	var theirs kindSet
	if f.KeepXFF {
		theirs = r.seen & forwarded
	}
	if f.ClientIP != nil {
		dst = append(dst, "X-Forwarded-For: "...)
		if theirs.has(KindForwardedFor) {
			dst = r.appendValues(dst, KindForwardedFor)
		}
		dst = append(append(dst, f.ClientIP...), "\r\n"...)
	}
	if f.Proto != nil && !theirs.has(KindForwardedProto) {
		dst = append(append(append(dst, "X-Forwarded-Proto: "...), f.Proto...), "\r\n"...)
	}
	if r.Host != nil && !theirs.has(KindForwardedHost) {
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

// ForwardResponse says how a response goes to the client; Response.For fills it.
type ForwardResponse struct {
	Date      []byte // a whole "Date: ...\r\n" line for a response without one
	Extra     []byte // further field lines, each with its CRLF
	Chunked   bool   // the body is sent chunked
	Close     bool   // say Connection: close
	KeepAlive bool   // say Connection: keep-alive, to an HTTP/1.0 client that asked
}

// For decides how r, the answer to req, goes out: its framing, and whether the
// connection to the client can go on. closing says that it must not.
func (r *Response) For(req *Request, closing bool) ForwardResponse {
	o := ForwardResponse{Close: closing || req.Close}
	if kind := r.BodyKind(req.Method); kind == BodyChunked || kind == BodyUntilClose {
		o.Chunked = req.Minor > 0
		o.Close = o.Close || req.Minor == 0
	}
	o.KeepAlive = req.Minor == 0 && !o.Close
	return o
}

// AppendForward appends the head as the client gets it: HTTP/1.1, fields in their
// order and case without those that were for this hop. A 1xx gets nothing
// added, a 204 loses a Content-Length.
func (r *Response) AppendForward(dst []byte, o *ForwardResponse) []byte {
	drop := hopByHop
	if r.Status < 200 || r.Status == 204 || o.Chunked {
		drop |= KindContentLength.set()
	}
	from := 0 // start of the run of lines that is to be copied next
	if r.head[7] != '1' || r.head[12] != ' ' {
		dst = append(append(dst, "HTTP/1.1"...), r.head[8:12]...)
		dst = append(append(append(dst, ' '), r.Reason...), "\r\n"...)
		from = r.first
	}
	if r.seen.any(drop) || r.options.named {
		for i := range r.Fields {
			field := &r.Fields[i]
			if drop.has(field.Kind) {
				dst = append(dst, r.head[from:field.start]...)
				from = field.end
			}
		}
	}
	dst = append(dst, r.head[from:len(r.head)-2]...)
	if r.Status < 200 {
		if r.WebSocket {
			dst = append(dst, upgradeLines...)
		}
		return append(dst, "\r\n"...)
	}
	if !r.seen.has(KindDate) {
		dst = append(dst, o.Date...)
	}
	if o.Chunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	dst = append(dst, o.Extra...)
	return append(dst, ending(o.Close, o.KeepAlive)...)
}

// ending is the end of a head: what it says of the connection and the blank line.
func ending(closing, keepAlive bool) string {
	switch {
	case closing:
		return "Connection: close\r\n\r\n"
	case keepAlive:
		return "Connection: keep-alive\r\n\r\n"
	}
	return "\r\n"
}
