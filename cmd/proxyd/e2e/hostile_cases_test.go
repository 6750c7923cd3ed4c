package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Responses that cases are made of.
const (
	status200 = "HTTP/1.1 200 OK\r\n"
	inChunks  = status200 + "Transfer-Encoding: chunked\r\n\r\n"
	whole     = status200 + "Content-Length: 5\r\n\r\nhello"
	hostile10 = "GET /hostile HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n"
)

// hostilities lists all cases, those that take a time-out first.
func hostilities() []hostility {
	return slices.Concat(
		stalls(), floods(), cuts(), lengths(), codings(), chunkLines(), fieldLines(), statusLines(), unasked(), bodiless(), uploads(),
	)
}

// endings are the ways in which a connection breaks off.
var endings = []struct {
	name string
	end  func(net.Conn)
}{{"FIN", fin}, {"RST", abort}}

// cuts breaks responses off at every byte.
func cuts() (list []hostility) {
	const (
		head = status200 + "X-A: b\r\nContent-Length: 11\r\n\r\n"
		text = "hello world"
		body = "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: v\r\n\r\n"
	)
	cut := func(name, head, says, want string, end func(net.Conn), request string) {
		list = append(list, hostility{name: name, request: request, says: head + says, ends: end, body: text, want: want})
	}
	for _, e := range endings {
		// RST can overtake what the proxy has not read yet.
		lost := ""
		if e.name == "RST" {
			lost = "|502"
		}
		for i := range head {
			cut(fmt.Sprintf("head cut at byte %d by %s", i, e.name), "", head[:i], "502", e.end, "")
		}
		for i := range text {
			cut(fmt.Sprintf("body by length cut at byte %d by %s", i, e.name), head, text[:i], "cut"+lost, e.end, "")
		}
		for i := range body {
			cut(fmt.Sprintf("chunks cut at byte %d by %s", i, e.name), inChunks, body[:i], "cut"+lost, e.end, "")
			cut(fmt.Sprintf("chunks for HTTP/1.0 cut at byte %d by %s", i, e.name), inChunks, body[:i], "cut"+lost, e.end, hostile10)
		}
	}
	for i := range text {
		cut(fmt.Sprintf("body to the end cut at byte %d by RST", i), status200+"\r\n", text[:i], "cut|502", abort, "")
		cut(fmt.Sprintf("body to the end for HTTP/1.0 cut at byte %d by RST", i), status200+"\r\n", text[:i], "cut|502", abort, hostile10)
	}
	return list
}

// after makes a case of each text that follows before, named by it.
func after(name, before, want string, texts ...string) (list []hostility) {
	for i, text := range texts {
		list = append(list, hostility{name: fmt.Sprintf("%s %.40q, %d", name, text, i), says: before + text, want: want})
	}
	return list
}

// lengths lies in Content-Length.
func lengths() (list []hostility) {
	for _, v := range []string{
		"-5", "+5", "0x5", "5.0", "5 5", "5,5", "5, 5", "5, 6", "5,", "", "a", "5a", "\"5\"", "1_0", "9223372036854775808",
		"18446744073709551621", "99999999999999999999999999", "\u0665", "5\x0b", "5;",
	} {
		list = append(list, after("length", status200+"Content-Length: ", "502", v+"\r\n\r\nhello")...)
	}
	list = append(list, after("two lengths", status200, "502",
		"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
		"content-length: 6\r\nX: y\r\nCONTENT-LENGTH: 5\r\n\r\nhello!", "Content-Length: 0\r\nContent-Length: 40\r\n\r\n"+whole)...)
	for _, e := range endings {
		list = append(list, hostility{name: "length too long, " + e.name, says: status200 + "Content-Length: 50\r\n\r\nhello", ends: e.end, body: "hello", want: "cut|502"})
	}
	for i, more := range []string{"x", "\r\n", "hello", whole, strings.Repeat(whole, 20), "HTTP/1.1 100 Continue\r\n\r\n", "\x00\x00\x00"} {
		list = append(list, hostility{name: fmt.Sprintf("length too short, %d", i), says: whole + more, body: "hello", want: "200"})
	}
	return list
}

// codings lies in Transfer-Encoding.
func codings() (list []hostility) {
	for _, v := range []string{
		"identity", "gzip", "gzip, chunked", "chunked, chunked", "chunked, identity", "xchunked", "chunkedx", "chun ked", "chunked;q=1",
		"\"chunked\"", "", ",", "chunked,", ", chunked", "\x0bchunked", "chunked\x0c", "chunked chunked", "\xffchunked",
	} {
		list = append(list, after("coding", status200+"Transfer-Encoding: ", "502", v+"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")...)
	}
	return append(list, after("codings", "", "502",
		status200+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		status200+"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		status200+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		status200+"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		status200+"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", status200+"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")...)
}

// chunkLines breaks the chunked coding, in the first chunk and in the second.
func chunkLines() (list []hostility) {
	const good = "5\r\nhello\r\n"
	for _, bad := range []string{
		"+5\r\nworld\r\n", "-5\r\nworld\r\n", " 5\r\nworld\r\n", "5 \r\nworld\r\n", "0x5\r\nworld\r\n", "\r\nworld\r\n", "g\r\nworld\r\n", "5g\r\nworld\r\n", "5,\r\nworld\r\n",
		"10000000000000005\r\nworld\r\n", "FFFFFFFFFFFFFFFF\r\nworld\r\n", "00000000000000005\r\nworld\r\n", "5\nworld\r\n", "5\rworld\r\n", "5\r\nworld0\r\n", "5\r\nworld\n",
		"5\r\nworldX\r\n", "5\r\nworldX\n", "6\r\nworld\r\n", "4\r\nworld\r\n", "5;a\nb\r\nworld\r\n", "5;a\rb\r\nworld\r\n", "5;\x00\r\nworld\r\n", "5;" + strings.Repeat("a", 8<<10) + "\r\nworld\r\n",
	} {
		list = append(list, hostility{name: fmt.Sprintf("first chunk %.30q", bad), says: inChunks + bad + "0\r\n\r\n", body: "world", want: "502|cut"})
		list = append(list, hostility{name: fmt.Sprintf("second chunk %.30q", bad), says: inChunks + good + bad + "0\r\n\r\n", body: "helloworld", want: "502|cut"})
	}
	for _, bad := range []string{
		"nocolon\r\n\r\n", "X : y\r\n\r\n", " X: y\r\n\r\n", "X: y\r\n z\r\n\r\n", "X: \x00\r\n\r\n", "X: a\rb\r\n\r\n", "X: y\n\r\n", ": y\r\n\r\n", "\n", "X: y\r\n\n",
		"X: " + strings.Repeat("y", 16<<10) + "\r\n\r\n", strings.Repeat("X: y\r\n", 4<<10) + "\r\n",
	} {
		list = append(list, hostility{name: fmt.Sprintf("trailer %.30q", bad), says: inChunks + good + "0\r\n" + bad, body: "hello", want: "502|cut"})
	}
	for _, field := range []string{"Content-Length: 99", "Transfer-Encoding: gzip", "Connection: close", "Set-Cookie: a=b", "Host: evil"} {
		list = append(list, hostility{name: "trailer that must not be one, " + field, says: inChunks + good + "0\r\n" + field + "\r\n\r\n", body: "hello", want: "200", good: true})
	}
	return append(list, hostility{name: "bytes behind the last chunk", says: inChunks + good + "0\r\n\r\n" + whole, body: "hello", want: "200"})
}

// fieldLines breaks the syntax of a head's fields.
func fieldLines() (list []hostility) {
	const tail = "\r\nContent-Length: 5\r\n\r\nhello"
	for _, bad := range []string{
		"X-A: a\rb", "X-A: a\nX-B: b", "X-A: a\r", "X-A: \x00", "X-A: a\x07b", "X-A: \x7f", "X-A: a\r\n b", "X-A: a\r\n\tb", " X-A: b", "\tX-A: b", "nocolon", "X-A : b", "X-A\t: b",
		"X A: b", ": b", "X(a: b", "X@a: b", "X\x00a: b", "X\xe9: b", "X\x7f: b", "\"X\": b", "X-A: b\n", "Content-Length : 3", "Connection: a b", "Connection: Content-Length",
		"Connection: Transfer-Encoding", "Connection: " + strings.Repeat("a,", 100), strings.Repeat("X-A: b\r\n", 300) + "X-A: b", "X-A: " + strings.Repeat("b", 40<<10), strings.Repeat("X", 40<<10) + ": b",
	} {
		list = append(list, after("field", status200, "502", bad+tail)...)
	}
	list = append(list, after("line ends", "", "502", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "HTTP/1.1 200 OK\r\nContent-Length: 5\n\nhello", "HTTP/1.1 200 OK\rContent-Length: 5\r\rhello")...)
	split := status200 + "Location: /x\r\nContent-Length: 0\r\n\r\n" + whole
	return append(list, hostility{name: "split response", says: split, want: "200"})
}

// statusLines says what is no response of HTTP/1.
func statusLines() (list []hostility) {
	const tail = "\r\nContent-Length: 5\r\n\r\nhello"
	for _, bad := range []string{
		"HTTP/2 200 OK", "HTTP/2.0 200 OK", "HTTP/3 200 OK", "HTTP/0.9 200 OK", "HTTP/1 200 OK", "HTTP/1.10 200 OK", "HTTP/11 200 OK", "HTTP/1.a 200 OK", "http/1.1 200 OK", "HTTQ/1.1 200 OK", "ICY 200 OK",
		"HTTP/1.1 99 X", "HTTP/1.1 099 X", "HTTP/1.1 000 X", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 2#0 OK", "HTTP/1.1 5## OK", "HTTP/1.# 200 OK", "HTTP/1.1 -20 OK", "HTTP/1.1 +20 OK", "HTTP/1.1  200 OK", "HTTP/1.1\t200 OK",
		"HTTP/1.1 200\tOK", "HTTP/1.1 200OK", "HTTP/1.1 OK", "HTTP/1.1", "200 OK", "\r\nHTTP/1.1 200 OK", " HTTP/1.1 200 OK", "HTTP/1.1 200 O\x00K", "HTTP/1.1 200 O\rK", "HTTP/1.1 200 OK\n", "HTTP/1.1 200 O\x1bK",
	} {
		list = append(list, after("status line", "", "502", bad+tail)...)
	}
	list = append(list, after("bytes", "", "502",
		"hello world\r\n", "<html><body>HTTP/0.9</body></html>\n", "\x15\x03\x01\x00\x02\x02\x28", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64",
		"SSH-2.0-OpenSSH_9.6\r\n", "220 mail.example ESMTP\r\n", "GET / HTTP/1.1\r\nHost: test\r\n\r\n", strings.Repeat("\x00", 1000), strings.Repeat("\xff", 1000))...)
	return append(list, hostility{name: "HTTP/0.9", says: "hello", ends: fin, want: "502"})
}

// unasked answers what was not asked, or more than once.
func unasked() (list []hostility) {
	const early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
	list = append(list, after("switch", "", "502",
		"HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", early+"HTTP/1.1 101 Switching Protocols\r\n\r\n")...)
	list = append(list, after("interim", "", "502",
		strings.Repeat(early, interims+1)+whole, "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello"+whole, early+"junk\r\n\r\n", early+"HTTP/1.1 103 E\r\nX : y\r\n\r\n"+whole)...)
	for _, e := range endings {
		list = append(list, hostility{name: "interim, then " + e.name, says: early, ends: e.end, want: "502"})
		list = append(list, hostility{name: "asked, then " + e.name, ends: e.end, want: "502"})
		list = append(list, hostility{name: "more on an idle connection, then " + e.name, says: whole, later: whole, ends: e.end, body: "hello", want: "200"})
		list = append(list, hostility{name: "answered, then " + e.name, says: whole, ends: e.end, body: "hello", want: "200|502"})
		list = append(list, hostility{name: "accepted, then " + e.name, before: e.end, want: "502"})
	}
	for _, more := range []string{"x", "\r\n", whole, early, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", strings.Repeat("x", 1<<20)} {
		list = append(list, hostility{name: fmt.Sprintf("on an idle connection %.30q", more), says: whole, later: more, body: "hello", want: "200"})
	}
	return append(list,
		hostility{name: "as many interims as may be", says: strings.Repeat(early, interims) + whole, body: "hello", want: "200", good: true},
		hostility{name: "response before the request", before: sends(whole), body: "hello", want: "200|502", good: true},
		hostility{name: "responses before and after the request", before: sends(whole), says: whole, body: "hello", want: "200|502"},
		hostility{name: "banner before the request", before: sends("220 mail.example ESMTP\r\n"), want: "502"},
		hostility{name: "alert before the request", before: sends("\x15\x03\x01\x00\x02\x02\x28"), ends: abort, want: "502"})
}

func sends(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) } // the proxy may have closed it by now
}

// bodiless sends bodies where there are none.
func bodiless() (list []hostility) {
	head := request(http.MethodHead, "/hostile", "")
	for _, r := range []struct{ name, text string }{
		{"by length", "Content-Length: 5\r\n\r\nhello"},
		{"in chunks", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"a whole response", "Content-Length: 85\r\n\r\n" + whole + whole},
		{"to the end", "\r\nhello"},
	} {
		list = append(list,
			hostility{name: "HEAD with a body " + r.name, request: head, method: http.MethodHead, says: status200 + r.text, want: "200"},
			hostility{name: "204 with a body " + r.name, says: "HTTP/1.1 204 No Content\r\n" + r.text, want: "204"},
			hostility{name: "304 with a body " + r.name, says: "HTTP/1.1 304 Not Modified\r\n" + r.text, want: "304"})
	}
	return list
}

// uploads misbehaves towards a request that must not be sent twice.
func uploads() (list []hostility) {
	text := request(http.MethodPost, "/hostile", strings.Repeat("x", 1000))
	for _, e := range endings {
		for i, says := range []string{"", "HTTP/1.1 2", "HTTP/1.1 100 Continue\r\n\r\n"} {
			list = append(list, hostility{name: fmt.Sprintf("POST, %d and %s", i, e.name), request: text, method: http.MethodPost, says: says, ends: e.end, want: "502"})
		}
		list = append(list, hostility{name: "POST, short and " + e.name, request: text, method: http.MethodPost, says: inChunks + "5\r\nhel", ends: e.end, body: "hel", want: "cut|502"})
	}
	return list
}

// stalls says nothing, or too little, for longer than the proxy waits.
func stalls() (list []hostility) {
	for name, h := range map[string]hostility{
		"silence":                    {want: "504"},
		"silence in the head":        {says: status200 + "Content-", want: "504"},
		"silence after an interim":   {says: "HTTP/1.1 103 Early Hints\r\n\r\n", want: "504"},
		"silence in the body":        {says: status200 + "Content-Length: 10\r\n\r\nhello", body: "hello", want: "cut"},
		"silence before the body":    {says: status200 + "Content-Length: 10\r\n\r\n", want: "cut"},
		"silence in a size":          {says: inChunks + "5", want: "cut"},
		"silence in a chunk":         {says: inChunks + "9\r\nhello", body: "hello", want: "cut"},
		"silence before trailers":    {says: inChunks + "5\r\nhello\r\n0\r\n", body: "hello", want: "cut"},
		"silence in a trailer":       {says: inChunks + "5\r\nhello\r\n0\r\nX-T: ", body: "hello", want: "cut"},
		"silence before the end":     {says: status200 + "\r\nhello", body: "hello", want: "cut"},
		"silence for HTTP/1.0":       {request: hostile10, says: status200 + "\r\nhello", body: "hello", want: "cut"},
		"head that drips":            {says: strings.Repeat("HTTP/1.1 200 OK\r\nX-A: b\r\n", 9), pace: 30 * time.Millisecond, want: "504|502"},
		"interims that drip":         {says: strings.Repeat("HTTP/1.1 103 E\r\n\r\n", 9), pace: 30 * time.Millisecond, want: "504"},
		"POST and silence":           {request: request(http.MethodPost, "/hostile", "x"), method: http.MethodPost, want: "504"},
		"body that drips to its end": {says: status200 + "Content-Length: 60\r\n\r\n" + strings.Repeat("x", 60), pace: 15 * time.Millisecond, body: strings.Repeat("x", 60), want: "200", good: true},
	} {
		if h.name = name; h.want != "200" {
			h.ends = hang
		}
		list = append(list, h)
	}
	return list
}

// floods sends without an end what is small in good messages.
func floods() []hostility {
	return []hostility{
		{name: "flood of bytes", flood: "x", want: "502"},
		{name: "flood of blank lines", flood: "\r\n", want: "502"},
		{name: "flood of fields", says: status200, flood: "X-A: b\r\n", want: "502"},
		{name: "flood of one field", says: status200 + "X-A: ", flood: "b", want: "502"},
		{name: "flood of a name", says: status200, flood: "X", want: "502"},
		{name: "flood of a reason", says: "HTTP/1.1 200 ", flood: "OK", want: "502"},
		{name: "flood of interims", flood: "HTTP/1.1 103 Early Hints\r\n\r\n", want: "502"},
		{name: "flood of large interims", flood: "HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", want: "502"},
		{name: "flood of an extension", says: inChunks + "5;", flood: "x", want: "502|cut"},
		{name: "flood of extensions", says: inChunks, flood: "1;x=y\r\na\r\n", body: strings.Repeat("a", 64<<10), want: "502|cut"},
		{name: "flood of digits", says: inChunks, flood: "0", want: "502|cut"},
		{name: "flood of a trailer", says: inChunks + "0\r\nX-T: ", flood: "x", want: "502|cut"},
		{name: "flood of trailers", says: inChunks + "0\r\n", flood: "X-T: v\r\n", want: "502|cut"},
		{name: "flood of trailers that are dropped", says: inChunks + "0\r\n", flood: "Set-Cookie: a=b\r\n", want: "502|cut"},
		{name: "flood behind the end", says: whole, flood: whole, body: "hello", want: "200"},
		{name: "flood behind 204", says: "HTTP/1.1 204 No Content\r\n\r\n", flood: "x", want: "204"},
	}
}
