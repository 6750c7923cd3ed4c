package http1

import "strconv"

// An Answer is a reply of the proxy itself, with the status as a short text.
type Answer struct {
	Status    int    // 200 or more, not 204 or 304
	Date      []byte // a whole "Date: ...\r\n" line
	Extra     []byte // further field lines, each with its CRLF
	Close     bool   // say Connection: close
	KeepAlive bool   // say Connection: keep-alive, to an HTTP/1.0 client that asked
	HeadOnly  bool   // the request was HEAD: no body
}

// Append appends the whole reply.
func (a *Answer) Append(dst []byte) []byte {
	text := StatusText(a.Status)
	dst = append(dst, "HTTP/1.1 "...)
	dst = appendStatus(dst, a.Status, text)
	dst = append(dst, "\r\n"...)
	dst = append(dst, a.Date...)
	if a.Status == 405 {
		// RFC 9110 section 15.5.6 wants the field.
		dst = append(dst, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"...)
	}
	dst = append(dst, a.Extra...)
	dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len("000 \n")+len(text)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, ending(a.Close, a.KeepAlive)...)
	if a.HeadOnly {
		return dst
	}
	return append(appendStatus(dst, a.Status, text), '\n')
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
