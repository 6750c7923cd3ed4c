package http1

import "strconv"

// Forward says how a request goes upstream. The bytes are written as they are:
// they must be free of line ends, and Extra must be whole lines.
type Forward struct {
	URI       []byte      // replaces path and query; nil keeps them
	Host      []byte      // replaces the client's Host; nil keeps it
	ClientIP  []byte      // for X-Forwarded-For; nil leaves the field out
	Proto     []byte      // for X-Forwarded-Proto: http or https; nil leaves the field out
	KeepXFF   bool        // the peer is trusted: its X-Forwarded-* are kept, -For is appended to
	Edit      *HeaderEdit // the names of fields that do not go on, the proxy's own X-Forwarded-* included
	Extra     []byte      // further field lines, each with its CRLF
	Pseudonym string      // of the proxy in Via, a token; "" is DefaultPseudonym
	HTTP2     bool        // the request came by HTTP/2, says Via
}

// AppendForward appends the head as the next hop gets it: HTTP/1.1, the target in
// origin-form, fields in their order and case without those that were for this
// hop, then what the proxy says of itself. The framing is the one that was
// received; a chunked body must be chunked anew, without extensions. Expect is
// kept if a body follows, so that the answer 100 comes from upstream. Fields that
// f.Edit takes out stay in Fields, but no later call for this request brings them
// back.
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
	drop |= f.Edit.strike(r.Fields)
	from := r.line // start of the run of lines that is to be copied next
	if uri := f.URI; uri != nil || r.Form == AbsoluteForm || r.head[r.first-3] != '1' {
		if uri == nil {
			uri = r.URI
		}
		dst = append(append(dst, r.Method...), ' ')
		dst = append(append(dst, uri...), " HTTP/1.1\r\n"...)
		from = r.first
	}
	if r.seen.any(drop) || r.options.named || f.Edit != nil {
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
	if r.MaxForwards > 0 && !f.Edit.takes().has(KindMaxForwards) {
		dst = append(dst, "Max-Forwards: "...)
		dst = append(strconv.AppendInt(dst, r.MaxForwards-1, 10), "\r\n"...)
	}
	dst = append(r.appendForwarded(dst, f), f.Extra...)
	return r.appendVia(dst, f)
}

// appendVia appends the Via field and the end of the head.
func (r *Request) appendVia(dst []byte, f *Forward) []byte {
	via := "Via: 1.1 "
	switch {
	case f.HTTP2:
		via = "Via: 2.0 "
	case r.Minor == 0:
		via = "Via: 1.0 "
	}
	dst = append(append(dst, via...), pseudonymOr(f.Pseudonym)...)
	return append(dst, "\r\n\r\n"...)
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

// ForwardResponse says how a response goes to the client; Response.For fills it.
type ForwardResponse struct {
	Date      []byte      // a whole "Date: ...\r\n" line for a response without one
	Edit      *HeaderEdit // the names of fields that do not go on; with date in it, Date is not added either
	Extra     []byte      // further field lines, each with its CRLF
	Chunked   bool        // the body is sent chunked
	Close     bool        // say Connection: close
	KeepAlive bool        // say Connection: keep-alive, to an HTTP/1.0 client that asked
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
// order and case without those that were for this hop. An interim response gets
// nothing added, a 101 only Extra, and a 204 loses a Content-Length.
func (r *Response) AppendForward(dst []byte, o *ForwardResponse) []byte {
	drop := hopByHop
	if r.Status < 200 || r.Status == 204 || o.Chunked {
		drop |= KindContentLength.set()
	}
	edited := o.Edit.strike(r.Fields)
	drop |= edited
	from := 0 // start of the run of lines that is to be copied next
	if r.head[7] != '1' || r.head[12] != ' ' {
		dst = append(append(dst, "HTTP/1.1"...), r.head[8:12]...)
		dst = append(append(append(dst, ' '), r.Reason...), "\r\n"...)
		from = r.first
	}
	if r.seen.any(drop) || r.options.named || o.Edit != nil {
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
		if !r.Interim() {
			dst = append(dst, o.Extra...)
		}
		return append(dst, "\r\n"...)
	}
	if !(r.seen | edited).has(KindDate) {
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
