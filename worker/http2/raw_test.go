package http2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A raw peer makes frames with x/net's Framer, whatever the protocol says.
type raw struct {
	testing.TB
	*http2.Framer
	c       *Conn
	in      bytes.Buffer // what the framer wrote
	out     bytes.Buffer // what the Conn sent
	block   bytes.Buffer
	encoder *hpack.Encoder
	opened  []*Stream
	err     error
}

// newRaw returns the client of a server, settled.
func newRaw(t testing.TB, lim *Limits) *raw {
	r := &raw{TB: t}
	r.c = NewServer(lim, func(s *Stream) { r.opened = append(r.opened, s) })
	r.start()
	r.in.WriteString(Preface)
	return r.settle()
}

// newRawServer returns the server of a client, settled.
func newRawServer(t testing.TB, lim *Limits) *raw {
	r := &raw{TB: t, c: NewClient(lim, "https")}
	r.start()
	r.c.Sent(len(Preface))
	return r.settle()
}

func (r *raw) start() {
	r.Framer = http2.NewFramer(&r.in, &r.out)
	r.AllowIllegalWrites = true
	r.AllowIllegalReads = true
	r.encoder = hpack.NewEncoder(&r.block)
}

func (r *raw) settle() *raw {
	_ = r.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	_ = r.WriteSettingsAck()
	r.send()
	r.frames()
	r.c.Calm()
	return r
}

// fields encodes pairs of name and value.
func (r *raw) fields(pairs ...string) []byte {
	r.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = r.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return bytes.Clone(r.block.Bytes())
}

var getFields = []string{":method", "GET", ":scheme", "https", ":authority", "x.test", ":path", "/"}

func with(fields []string, more ...string) []string {
	return append(fields[:len(fields):len(fields)], more...)
}

// headers writes a HEADERS frame.
func (r *raw) headers(id uint32, end bool, pairs ...string) {
	_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.fields(pairs...), EndStream: end, EndHeaders: true})
}

// send gives the Conn what was written.
func (r *raw) send() {
	if r.err != nil {
		r.in.Reset()
		return
	}
	n, err := r.c.Receive(r.in.Bytes())
	r.in.Next(n)
	r.err = err
}

// frames returns what the Conn has sent, as text.
func (r *raw) frames() (list []string) {
	r.out.Write(r.c.Output())
	r.c.Sent(len(r.c.Output()))
	for {
		f, err := r.ReadFrame()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			r.Fatalf("frame: %v", err)
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			list = append(list, fmt.Sprintf("RST_STREAM %d %v", f.StreamID, f.ErrCode))
		case *http2.GoAwayFrame:
			list = append(list, fmt.Sprintf("GOAWAY %d %v", f.LastStreamID, f.ErrCode))
		case *http2.WindowUpdateFrame:
			list = append(list, fmt.Sprintf("WINDOW_UPDATE %d %d", f.StreamID, f.Increment))
		case *http2.DataFrame:
			list = append(list, fmt.Sprintf("DATA %d %d %t", f.StreamID, len(f.Data()), f.StreamEnded()))
		case *http2.HeadersFrame:
			list = append(list, fmt.Sprintf("HEADERS %d %t", f.StreamID, f.StreamEnded()))
		default:
			list = append(list, f.Header().Type.String())
		}
	}
}

func (r *raw) sent() string {
	r.send()
	return strings.Join(r.frames(), ", ")
}

// A request that is malformed never reaches an owner; its stream is reset.
func TestMalformedRequests(t *testing.T) {
	for name, pairs := range map[string][]string{
		"no method":                 {":scheme", "https", ":authority", "a", ":path", "/"},
		"no scheme":                 {":method", "GET", ":authority", "a", ":path", "/"},
		"no path":                   {":method", "GET", ":scheme", "https", ":authority", "a"},
		"empty path":                {":method", "GET", ":scheme", "https", ":authority", "a", ":path", ""},
		"path without slash":        {":method", "GET", ":scheme", "https", ":authority", "a", ":path", "a"},
		"path with a space":         {":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/ HTTP/1.1"},
		"path with CRLF":            {":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/ HTTP/1.1\r\nHost: b"},
		"method with a space":       {":method", "GET /x", ":scheme", "https", ":authority", "a", ":path", "/"},
		"authority with CRLF":       {":method", "GET", ":scheme", "https", ":authority", "a\r\nX: y", ":path", "/"},
		"bad scheme":                {":method", "GET", ":scheme", "1\r\n", ":authority", "a", ":path", "/"},
		"two paths":                 with(getFields, ":path", "/"),
		"unknown pseudo header":     with(getFields, ":x", "y"),
		"status":                    with(getFields, ":status", "200"),
		"pseudo header behind":      {":method", "GET", ":scheme", "https", "a", "b", ":path", "/"},
		"upper case":                with(getFields, "A", "b"),
		"empty name":                with(getFields, "", "b"),
		"colon in a name":           with(getFields, "a:b", "c"),
		"space in a name":           with(getFields, "a b", "c"),
		"CRLF in a name":            with(getFields, "a\r\nb", "c"),
		"CR in a value":             with(getFields, "a", "b\rc"),
		"LF in a value":             with(getFields, "a", "b\nc"),
		"NUL in a value":            with(getFields, "a", "b\x00c"),
		"LF in a cookie":            with(getFields, "cookie", "b\nc"),
		"blank before a value":      with(getFields, "a", " b"),
		"blank behind a value":      with(getFields, "a", "b\t"),
		"connection":                with(getFields, "connection", "close"),
		"keep-alive":                with(getFields, "keep-alive", "5"),
		"proxy-connection":          with(getFields, "proxy-connection", "close"),
		"transfer-encoding":         with(getFields, "transfer-encoding", "chunked"),
		"upgrade":                   with(getFields, "upgrade", "websocket"),
		"te":                        with(getFields, "te", "gzip"),
		"another host":              with(getFields, "host", "y.test"),
		"two lengths":               with(getFields, "content-length", "0", "content-length", "0"),
		"signed length":             with(getFields, "content-length", "+1"),
		"length without a body":     with(getFields, "content-length", "1"),
		"connect with a path":       {":method", "CONNECT", ":authority", "a:1", ":path", "/"},
		"connect without authority": {":method", "CONNECT"},
		"protocol without connect":  with(getFields, ":protocol", "websocket"),
		"websocket without path":    {":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "a"},
		"websocket with a length":   {":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "a", ":path", "/", "content-length", "0"},
	} {
		r := newRaw(t, nil)
		r.headers(1, true, pairs...)
		if got := r.sent(); got != "RST_STREAM 1 PROTOCOL_ERROR" || len(r.opened) > 0 {
			t.Errorf("%s: got %q and %d streams; want RST_STREAM and none", name, got, len(r.opened))
		}
		r.headers(3, true, getFields...) // HPACK is in step, and the connection goes on
		if got := r.sent(); got != "" || len(r.opened) != 1 {
			t.Errorf("%s: request after it: got %q and %d streams; want one", name, got, len(r.opened))
		}
	}
}

// What is well-formed and odd gets to the one place that decides.
func TestOddRequests(t *testing.T) {
	for want, pairs := range map[string][]string{
		"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n":                   {":method", "CONNECT", ":authority", "a:1"},
		"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n":                {":method", "GET", ":scheme", "https", ":path", "/", "host", "a", "host", "b"},
		"GET / HTTP/1.1\r\nHost: x.test\r\na: b\r\n\r\n":              with(getFields, "host", "X.test", "a", "b"),
		"GET / HTTP/1.1\r\n\r\n":                                      {":method", "GET", ":scheme", "https", ":path", "/"},
		"OPTIONS * HTTP/1.1\r\nHost: x.test\r\n\r\n":                  {":method", "OPTIONS", ":scheme", "https", ":path", "*", ":authority", "x.test"},
		"GET / HTTP/1.1\r\nHost: x.test\r\ncookie: a; b; c\r\n\r\n":   with(getFields, "cookie", "a", "cookie", "b; c"),
		"GET / HTTP/1.1\r\nHost: x.test\r\nContent-Length: 0\r\n\r\n": with(getFields, "content-length", "0"),
	} {
		r := newRaw(t, nil)
		r.headers(1, true, pairs...)
		if got := r.sent(); got != "" || len(r.opened) != 1 {
			t.Errorf("%q: got %q and %d streams; want one", want, got, len(r.opened))
			continue
		}
		p := &pair{TB: t}
		if got, err := p.read(r.opened[0]); got != want || err != io.EOF {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}

// Data must be what content-length says.
func TestLengthMustMatch(t *testing.T) {
	for name, send := range map[string]func(*raw){
		"more":              func(r *raw) { _ = r.WriteData(1, false, []byte("abcd")) },
		"less":              func(r *raw) { _ = r.WriteData(1, true, []byte("ab")) },
		"less and trailers": func(r *raw) { _ = r.WriteData(1, false, []byte("a")); r.headers(1, true, "a", "b") },
	} {
		r := newRaw(t, nil)
		r.headers(1, false, with(getFields, "content-length", "3")...)
		send(r)
		if got := r.sent(); got != "RST_STREAM 1 PROTOCOL_ERROR" {
			t.Errorf("%s: got %q; want RST_STREAM", name, got)
		}
		p := &pair{TB: t}
		if got, err := p.read(r.opened[0]); codeOf(err) != "PROTOCOL_ERROR" {
			t.Errorf("%s: read: got %q, %v; want PROTOCOL_ERROR", name, got, err)
		}
	}
}

// What is too long is answered 431 on its stream, and no owner sees some of it.
func TestHeadTooLong(t *testing.T) {
	many := getFields
	for i := range 20 {
		many = with(many, fmt.Sprintf("a%d", i), "b")
	}
	for name, pairs := range map[string][]string{
		"bytes":  with(getFields, "a", strings.Repeat("b", 1100)),
		"fields": many,
	} {
		for _, end := range []bool{true, false} {
			r := newRaw(t, &Limits{HeaderBytes: 1024, Fields: 10})
			r.headers(1, end, pairs...)
			want := "HEADERS 1 true"
			if !end {
				want += ", RST_STREAM 1 NO_ERROR"
			}
			if got := r.sent(); got != want || len(r.opened) > 0 {
				t.Errorf("%s, end %t: got %q and %d streams; want %q and none", name, end, got, len(r.opened), want)
			}
			r.headers(3, true, getFields...)
			if got := r.sent(); got != "" || len(r.opened) != 1 {
				t.Errorf("%s: request after it: got %q and %d streams; want one", name, got, len(r.opened))
			}
		}
	}
	r := newRaw(t, nil)
	r.headers(1, false, ":method", "CONNECT", ":protocol", "connect-udp", ":scheme", "https", ":authority", "a", ":path", "/")
	if got := r.sent(); got != "HEADERS 1 true, RST_STREAM 1 NO_ERROR" || len(r.opened) > 0 {
		t.Errorf("unknown protocol: got %q and %d streams; want an answer and none", got, len(r.opened))
	}
}

// A response that is malformed is an error to its owner.
func TestMalformedResponses(t *testing.T) {
	type send = func(*raw)
	for name, f := range map[string]send{
		"no status":            func(r *raw) { r.headers(1, true, "a", "b") },
		"status 99":            func(r *raw) { r.headers(1, true, ":status", "099") },
		"status word":          func(r *raw) { r.headers(1, true, ":status", "abc") },
		"status 2000":          func(r *raw) { r.headers(1, true, ":status", "2000") },
		"two statuses":         func(r *raw) { r.headers(1, true, ":status", "200", ":status", "200") },
		"switch":               func(r *raw) { r.headers(1, false, ":status", "101") },
		"interim and end":      func(r *raw) { r.headers(1, true, ":status", "103") },
		"data first":           func(r *raw) { _ = r.WriteData(1, false, []byte("a")) },
		"CRLF in a value":      func(r *raw) { r.headers(1, true, ":status", "200", "a", "b\r\nc: d") },
		"connection":           func(r *raw) { r.headers(1, true, ":status", "200", "connection", "close") },
		"length without body":  func(r *raw) { r.headers(1, true, ":status", "200", "content-length", "3") },
		"body of 204":          func(r *raw) { r.headers(1, false, ":status", "204"); _ = r.WriteData(1, true, []byte("a")) },
		"trailers without end": func(r *raw) { r.headers(1, false, ":status", "200"); r.headers(1, false, "a", "b") },
		"pseudo in trailers":   func(r *raw) { r.headers(1, false, ":status", "200"); r.headers(1, true, ":status", "200") },
	} {
		r := newRawServer(t, nil)
		s, err := r.c.Open()
		if err != nil {
			t.Fatal(err)
		}
		p := &pair{TB: t}
		p.write(s, get)
		r.frames()
		f(r)
		got := r.sent()
		if _, err := p.read(s); got != "RST_STREAM 1 PROTOCOL_ERROR" || codeOf(err) != "PROTOCOL_ERROR" {
			t.Errorf("%s: got %q, read: %v; want RST_STREAM and PROTOCOL_ERROR", name, got, err)
		}
	}
}

func http2Headers(id uint32, block []byte) http2.HeadersFrameParam {
	return http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}
}

// Frames may be cut anywhere: in headers, in what stands before data, in padding.
func TestFramesByteByByte(t *testing.T) {
	r := newRaw(t, nil)
	_ = r.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: r.fields(getFields...), EndHeaders: true, PadLength: 5,
		Priority: http2.PriorityParam{StreamDep: 3, Weight: 1},
	})
	_ = r.WriteDataPadded(1, false, []byte("abc"), make([]byte, 7))
	block := r.fields("x-sum", "5", "x-more", "6")
	_ = r.WriteDataPadded(1, false, nil, make([]byte, 3))
	_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:3], EndStream: true, PadLength: 2})
	_ = r.WriteContinuation(1, true, block[3:])
	_ = r.WriteRawFrame(0x77, 0xff, 9, make([]byte, 20))
	_ = r.WriteGoAway(0, 0, make([]byte, 30))
	_ = r.WritePing(false, [8]byte{})
	in := bytes.Clone(r.in.Bytes())
	r.in.Reset()
	var rest []byte
	for i := range in {
		rest = append(rest, in[i])
		n, err := r.c.Receive(rest)
		if err != nil {
			t.Fatal(err)
		}
		if rest = rest[n:]; len(rest) > 8 {
			t.Fatalf("byte %d: %d bytes are left; want at most 8", i, len(rest))
		}
	}
	p := &pair{TB: t}
	want := "GET / HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 5\r\nx-more: 6\r\n\r\n"
	if got, err := p.read(r.opened[0]); got != want || err != io.EOF {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if got := r.frames(); len(got) != 1 || got[0] != "PING" {
		t.Errorf("sent: got %q; want the answer to PING", got)
	}
}
