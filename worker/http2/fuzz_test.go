package http2

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/proxyd/proxyd/worker/http1"
)

// script makes frames of fuzzed bytes: most of them well-formed enough to get
// past the first check.
func script(r *raw, b []byte) {
	for len(b) >= 4 {
		op, id, flags, n := b[0]%12, uint32(b[1]%9), b[2], int(b[3])
		b = b[4:]
		n = min(n, len(b))
		arg := b[:n]
		b = b[n:]
		switch op {
		case 0, 1:
			_ = r.WriteRawFrame(http2.FrameHeaders, http2.Flags(flags&^flagPriority|flagEndHeaders), id, r.pairs(arg, getFields))
		case 2:
			_ = r.WriteRawFrame(http2.FrameHeaders, http2.Flags(flags&^flagPriority|flagEndHeaders), id, r.pairs(arg, []string{":status", "200"}))
		case 3:
			_ = r.WriteRawFrame(http2.FrameHeaders, http2.Flags(flags), id, r.pairs(arg, nil))
		case 4, 5:
			_ = r.WriteRawFrame(http2.FrameData, http2.Flags(flags), id, arg)
		case 6:
			_ = r.WriteRawFrame(http2.FrameContinuation, http2.Flags(flags), id, arg)
		case 7:
			_ = r.WriteWindowUpdate(id, uint32(n)<<(flags%25))
		case 8:
			_ = r.WriteRSTStream(id, http2.ErrCode(flags))
		case 9:
			_ = r.WriteSettings(http2.Setting{ID: http2.SettingID(id), Val: uint32(n) << (flags % 25)})
		case 10:
			_ = r.WriteRawFrame(http2.FrameType(flags), http2.Flags(id), id, arg)
		case 11:
			r.in.Write(arg)
		}
	}
}

// pairs encodes fields that follow first: lines of arg.
func (r *raw) pairs(arg []byte, first []string) []byte {
	list := with(first)
	for _, line := range bytes.Split(arg, []byte("\n\n")) {
		if name, value, ok := bytes.Cut(line, []byte("=")); ok {
			list = append(list, string(name), string(value))
		}
	}
	return r.fields(list...)
}

// seeds are scripts of some of everything.
func seeds(f *testing.F) {
	op := func(op, id, flags byte, arg string) string {
		return string([]byte{op, id, flags, byte(len(arg))}) + arg
	}
	for _, s := range []string{
		op(0, 1, 5, "a=b") + op(0, 3, 5, "cookie=a\n\ncookie=b"),
		op(0, 1, 4, "content-length=5") + op(4, 1, 0, "hel") + op(4, 1, 1, "lo"),
		op(0, 1, 4, "") + op(4, 1, 8, "\x02hellopp") + op(3, 1, 5, "x-sum=1") + op(8, 1, 8, ""),
		op(0, 1, 4, "") + op(7, 0, 10, "aaaa") + op(9, 4, 3, "aaa") + op(8, 1, 5, ""),
		op(3, 1, 0, ":method=GET") + op(6, 1, 4, "\x84\x87"),
		op(2, 1, 4, "content-length=3") + op(4, 1, 1, "abc") + op(2, 1, 4, ""),
		op(2, 1, 4, "") + op(4, 1, 0, "abc") + op(3, 1, 5, "grpc-status=0"),
		op(3, 1, 4, ":status=103\n\nlink=a") + op(2, 1, 5, ""),
		op(10, 0, 7, "\x00\x00\x00\x01\x00\x00\x00\x00") + op(11, 0, 0, "garbage and more of it"),
		op(3, 1, 4, ":method=CONNECT\n\n:protocol=websocket\n\n:scheme=https\n\n:authority=a\n\n:path=/\n\nsec-websocket-version=13") + op(4, 1, 1, "raw"),
	} {
		for _, step := range []byte{1, 7, 255} {
			f.Add([]byte(s), step)
		}
	}
}

// A reader checks what is read from one stream.
type reader struct {
	s        *Stream
	got      []byte
	err      error
	answered int // bytes of the answer written
}

// Whatever a client sends: no panic, a bound on what is kept, and what streams
// give is a request with exactly one meaning, or they are reset.
func FuzzServer(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte, step byte) {
		r := newRaw(t, &Limits{Streams: 5, HeaderBytes: 2000, Fields: 20, StreamWindow: 300})
		script(r, b)
		in := bytes.Clone(r.in.Bytes())
		var all, open []*reader
		r.c.open = func(s *Stream) {
			x := &reader{s: s}
			all, open = append(all, x), append(open, x)
		}
		for turn := 0; len(in) > 0 && r.err == nil; turn++ {
			n, err := r.c.Receive(in[:min(len(in), frameHeader+int(step))])
			in, r.err = in[n:], err
			open = advance(t, open, turn, step)
			if turn%3 == 0 {
				r.c.Sent(len(r.c.Output()))
			}
			checkBounds(t, r.c)
			if n == 0 && len(in) <= 8 {
				break
			}
		}
		for range 3 {
			open = advance(t, open, 0, 255)
			r.c.Sent(len(r.c.Output()))
		}
		for _, x := range open {
			x.s.Close()
		}
		if !r.c.Idle() || r.c.live != 0 {
			t.Fatalf("at the end: %d streams, %d live", r.c.Streams(), r.c.live)
		}
		for _, x := range all {
			checkRequest(t, x)
		}
	})
}

// advance reads and answers what it can; some readers are slow.
func advance(t *testing.T, list []*reader, turn int, step byte) (open []*reader) {
	answer := []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n")
	buf := make([]byte, 1+int(step))
	for i, x := range list {
		if (turn+i)%2 == 0 && x.err == nil {
			n, err := x.s.TryRead(buf)
			if x.got = append(x.got, buf[:n]...); err != ErrAgain {
				x.err = err
			}
			if x.answered < len(answer) {
				n, err = x.s.TryWrite(answer[x.answered:min(len(answer), x.answered+len(buf))])
				if x.answered += n; err != nil && err != ErrAgain && !x.s.Gone() {
					t.Fatalf("answer: %v", err)
				}
			}
		}
		if x.err != nil && (x.err != io.EOF || x.answered == len(answer) || x.s.Gone()) {
			x.s.Close()
			continue
		}
		open = append(open, x)
	}
	return open
}

func checkBounds(t *testing.T, c *Conn) {
	t.Helper()
	if n := len(c.Output()); n > outputMost+1000 {
		t.Fatalf("Output: got %d bytes", n)
	}
	if n := c.Streams(); n > 2*c.lim.Streams {
		t.Fatalf("streams: got %d", n)
	}
	for _, s := range c.streams {
		if s.data.len() > max(c.lim.StreamWindow, baseWindow) || len(s.text)-s.at > 2*c.maxBlock() || len(s.trailers) > http1.MaxTrailerBytes {
			t.Fatalf("stream: got %d bytes of data, %d of heads, %d of trailers", s.data.len(), len(s.text), len(s.trailers))
		}
	}
}

// refusals are what package http1 may still have against a request: what is
// well-formed in HTTP/2 and means nothing, or more than it does.
var refusals = []string{
	"connect", "host", "target", "method too long", "too many fields", "head too large", "expectation",
	"max-forwards", "trace with content", "through this proxy",
}

func checkRequest(t *testing.T, x *reader) {
	t.Helper()
	var req http1.Request
	n, err := req.Parse(x.got, &testLimits)
	if n == 0 && err == nil {
		if x.err == io.EOF {
			t.Fatalf("%q: a whole message without a whole head", x.got)
		}
		return
	}
	if err != nil {
		for _, reason := range refusals {
			if strings.Contains(err.Error(), reason) {
				return
			}
		}
		t.Fatalf("%q: %v", x.got, err)
	}
	checkBody(t, x, x.got[n:], req.BodyKind(), req.ContentLength, req.WebSocket)
}

// checkBody checks that the body is whole if and only if the stream says so.
func checkBody(t *testing.T, x *reader, body []byte, kind http1.BodyKind, length int64, raw bool) {
	t.Helper()
	whole := false
	switch {
	case raw:
		return
	case kind == http1.BodyNone:
		whole = len(body) == 0
	case kind == http1.BodyLength:
		whole = int64(len(body)) == length
		if int64(len(body)) > length {
			t.Fatalf("%q: body longer than %d", x.got, length)
		}
	case kind == http1.BodyChunked:
		var dec http1.Chunked
		for len(body) > 0 && !whole {
			_, n, done, err := dec.Next(body)
			if err != nil {
				t.Fatalf("%q: %v", x.got, err)
			}
			whole, body = done, body[n:]
		}
		if len(body) > 0 {
			t.Fatalf("%q: %q behind the end", x.got, body)
		}
	}
	if x.err == io.EOF && !whole {
		t.Fatalf("%q: ends, and is not whole", x.got)
	}
}

// The same of servers and responses.
func FuzzClient(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte, step byte) {
		r := newRawServer(t, &Limits{Streams: 5, HeaderBytes: 2000, Fields: 20, StreamWindow: 300})
		p := &pair{TB: t}
		var open []*reader
		for i := range 4 {
			s, err := r.c.Open()
			if err != nil {
				t.Fatal(err)
			}
			text := []string{get, post + "3\r\nabc\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", handshake}[i]
			p.write(s, text)
			open = append(open, &reader{s: s})
		}
		all := open
		r.frames()
		script(r, b)
		in := bytes.Clone(r.in.Bytes())
		buf := make([]byte, 1+int(step))
		for turn := 0; len(in) > 0 && r.err == nil; turn++ {
			n, err := r.c.Receive(in[:min(len(in), frameHeader+int(step))])
			in, r.err = in[n:], err
			for i, x := range all {
				if (turn+i)%2 == 0 && x.err == nil {
					n, err := x.s.TryRead(buf)
					if x.got = append(x.got, buf[:n]...); err != ErrAgain {
						x.err = err
					}
				}
			}
			r.c.Sent(len(r.c.Output()))
			checkBounds(t, r.c)
			if n == 0 && len(in) <= 8 {
				break
			}
		}
		for i, x := range all {
			for x.err == nil {
				n, err := x.s.TryRead(buf)
				x.got = append(x.got, buf[:n]...)
				if x.err = err; err == ErrAgain {
					break
				}
			}
			x.s.Close()
			checkResponse(t, x, i == 2)
		}
		if !r.c.Idle() || r.c.live != 0 {
			t.Fatalf("at the end: %d streams, %d live", r.c.Streams(), r.c.live)
		}
	})
}

func checkResponse(t *testing.T, x *reader, head bool) {
	t.Helper()
	var resp http1.Response
	method := []byte("GET")
	if head {
		method = []byte("HEAD")
	}
	for rest := x.got; ; {
		n, err := resp.Parse(rest, &testLimits)
		if err != nil {
			t.Fatalf("%q: %v", x.got, err)
		}
		if n == 0 {
			if x.err == io.EOF {
				t.Fatalf("%q: a whole message without a whole head", x.got)
			}
			return
		}
		if rest = rest[n:]; !resp.Interim() {
			checkBody(t, x, rest, resp.BodyKind(method), resp.ContentLength, resp.WebSocket)
			return
		}
		resp.Reset()
	}
}

// What is a message of HTTP/1.1 to package http1 is the same one after it went
// through a client's side and a server's side.
func FuzzRoundTrip(f *testing.F) {
	for _, m := range messages {
		if len(m.request) < 1000 {
			f.Add([]byte(m.request), []byte(m.response), uint16(7))
		}
	}
	f.Fuzz(func(t *testing.T, request, response []byte, step uint16) {
		var req http1.Request
		var resp http1.Response
		lim := http1.Limits{HeadBytes: 4000, Fields: 50, TargetBytes: 1000, Pseudonym: "\x00"}
		n, err := req.Parse(request, &lim)
		if n == 0 || err != nil || req.Minor == 0 || req.WebSocket {
			return
		}
		request, body, ok := message(request, n, req.BodyKind(), req.ContentLength)
		k, err := resp.Parse(response, &lim)
		if k == 0 || err != nil || !ok || resp.Status < 200 && !resp.Interim() {
			return
		}
		response, answer, ok := message(response, k, resp.BodyKind(req.Method), resp.ContentLength)
		if !ok || resp.BodyKind(req.Method) == http1.BodyUntilClose || resp.Interim() {
			return
		}
		p := newPair(t, &Limits{StreamWindow: 100}, &Limits{StreamWindow: 100})
		p.step = int(step)
		server, client := p.exchangeIfTaken(request, response, 1+int(step))
		if server == nil {
			return // a method or scheme that HTTP/2 has no words for
		}
		var again http1.Request
		n, err = again.Parse(server.got, &testLimits)
		if n == 0 {
			if errors.As(err, new(*http1.Error)) && strings.Contains(err.Error(), "through") {
				return
			}
			t.Fatalf("%q became %q: %v", request, server.got, err)
		}
		if _, got, ok := message(server.got, n, again.BodyKind(), again.ContentLength); !ok || !bytes.Equal(got, body) ||
			!bytes.Equal(again.Method, req.Method) || !bytes.Equal(again.URI, req.URI) || !bytes.EqualFold(again.Host, req.Host) {
			t.Fatalf("%q became %q: body %q; want %q", request, server.got, got, body)
		}
		var back http1.Response
		k, err = back.Parse(client.got, &testLimits)
		if k == 0 {
			t.Fatalf("%q became %q: %v", response, client.got, err)
		}
		if _, got, ok := message(client.got, k, back.BodyKind(req.Method), back.ContentLength); !ok || !bytes.Equal(got, answer) || back.Status != resp.Status {
			t.Fatalf("%q became %q: body %q; want %q", response, client.got, got, answer)
		}
	})
}

// message returns the message at the start of b, whose head has n bytes, and its
// body with its trailers; ok says that it is whole.
func message(b []byte, n int, kind http1.BodyKind, length int64) (whole, body []byte, ok bool) {
	switch kind {
	case http1.BodyLength:
		if int64(len(b)-n) < length {
			return nil, nil, false
		}
		end := n + int(length)
		return b[:end], b[n:end], true
	case http1.BodyChunked:
		var dec http1.Chunked
		for at := n; ; {
			data, k, done, err := dec.Next(b[at:])
			if err != nil || !done && k == 0 {
				return nil, nil, false
			}
			body, at = append(body, data...), at+k
			if done {
				for line := range bytes.Lines(dec.Trailers()) {
					name, value, _ := bytes.Cut(line, []byte(":"))
					body = append(append(append(body, '|'), bytes.ToLower(name)...), bytes.TrimSpace(value)...)
				}
				return b[:at], body, true
			}
		}
	}
	return b[:n], nil, true
}

// exchangeIfTaken is exchange for messages that one of the sides may refuse.
func (p *pair) exchangeIfTaken(request, response []byte, step int) (server, client *end) {
	client = &end{s: p.open(), todo: request, step: step}
	for moved := true; moved; {
		moved = client.advance()
		p.pump()
		if len(p.accepted) > 0 {
			server = &end{s: p.accepted[0], todo: response, step: step}
			p.accepted = nil
		}
		if server != nil && server.advance() {
			moved = true
		}
		p.pump()
	}
	if p.clientErr != nil || p.serverErr != nil {
		p.Fatalf("client: %v; server: %v", p.clientErr, p.serverErr)
	}
	if server == nil || server.err != io.EOF || client.err != io.EOF {
		if codeOf(client.err) == "<nil>" && server != nil {
			p.Fatalf("%q, %q: stuck: server read %q, %v; client read %q, %v", request, response, server.got, server.err, client.got, client.err)
		}
		return nil, nil
	}
	return server, client
}
