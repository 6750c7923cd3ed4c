package http1

import "strconv"

// An Answer is a reply of the proxy itself.
type Answer struct {
	Status      int         // 200 to 599; 204, 205 and 304 have no body, whatever the rest says
	Body        []byte      // nil: the status as a short text
	ContentType string      // of Body; "" leaves the field out
	Date        []byte      // a whole "Date: ...\r\n" line
	Edit        *HeaderEdit // the names of those of our own fields that are left out, such as Date
	Extra       []byte      // further field lines, each with its CRLF
	Close       bool        // say Connection: close
	KeepAlive   bool        // say Connection: keep-alive, to an HTTP/1.0 client that asked
	HeadOnly    bool        // the request was HEAD: no body, but its length
}

// Append appends the whole reply.
func (a *Answer) Append(dst []byte) []byte {
	text := StatusText(a.Status)
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(appendStatus(dst, a.Status, text), "\r\n"...)
	if !a.Edit.takes().has(KindDate) {
		dst = append(dst, a.Date...)
	}
	if a.Status == 405 && !a.Edit.has([]byte("Allow")) {
		// RFC 9110 section 15.5.6 wants the field.
		dst = append(dst, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"...)
	}
	dst = a.appendContent(append(dst, a.Extra...), len("000 \n")+len(text))
	dst = append(dst, ending(a.Close, a.KeepAlive)...)
	switch {
	case a.HeadOnly, a.bodiless():
		return dst
	case a.Body == nil:
		return append(appendStatus(dst, a.Status, text), '\n')
	}
	return append(dst, a.Body...)
}

func (a *Answer) bodiless() bool { return a.Status == 204 || a.Status == 205 || a.Status == 304 }

// appendContent appends the fields that describe the body; length is that of the
// short text.
func (a *Answer) appendContent(dst []byte, length int) []byte {
	contentType := "text/plain; charset=utf-8"
	switch {
	case a.Status == 205:
		return append(dst, "Content-Length: 0\r\n"...) // RFC 9110 section 15.3.6
	case a.bodiless():
		return dst
	case a.Body != nil:
		contentType, length = a.ContentType, len(a.Body)
	}
	if contentType != "" && !a.Edit.has([]byte("Content-Type")) {
		dst = append(append(append(dst, "Content-Type: "...), contentType...), "\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	return append(strconv.AppendInt(dst, int64(length), 10), "\r\n"...)
}

func appendStatus(dst []byte, status int, text string) []byte {
	return append(append(strconv.AppendInt(dst, int64(status), 10), ' '), text...)
}

// StatusText returns the reason phrase of a status, "Status" for an unknown one.
func StatusText(status int) string {
	if s := statusTexts[status]; s != "" {
		return s
	}
	return "Status"
}

// statusTexts are the phrases of the IANA registry.
var statusTexts = map[int]string{
	100: "Continue", 101: "Switching Protocols", 103: "Early Hints",
	200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
	205: "Reset Content", 206: "Partial Content",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
	307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout", 409: "Conflict", 410: "Gone",
	411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large", 414: "URI Too Long",
	415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed", 421: "Misdirected Request",
	422: "Unprocessable Content", 425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required",
	429: "Too Many Requests", 431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Gateway Timeout", 505: "HTTP Version Not Supported", 508: "Loop Detected",
}
