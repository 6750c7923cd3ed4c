package http2

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// floods of a client: each sends its i-th turn.
var clientFloods = map[string]func(r *raw, i int){
	"rapid reset": func(r *raw, i int) {
		id := uint32(1 + 2*i)
		r.headers(id, true, getFields...)
		_ = r.WriteRSTStream(id, http2.ErrCodeCancel)
	},
	"malformed requests": func(r *raw, i int) { r.headers(uint32(1+2*i), true, "a", "b") },
	"streams beyond the limit": func(r *raw, i int) {
		r.headers(uint32(1+2*i), true, getFields...)
	},
	"heads too long": func(r *raw, i int) {
		r.headers(uint32(1+2*i), true, with(getFields, "a", strings.Repeat("a", 5000))...)
	},
	"continuations": func(r *raw, i int) {
		if i == 0 {
			_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.fields(getFields...)})
			return
		}
		_ = r.WriteContinuation(1, false, nil)
	},
	"long continuations": func(r *raw, i int) {
		if i == 0 {
			_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.fields(getFields...)})
			return
		}
		_ = r.WriteContinuation(1, false, r.fields("a", strings.Repeat("a", 2000)))
	},
	"settings":          func(r *raw, _ int) { _ = r.WriteSettings() },
	"long settings":     func(r *raw, _ int) { _ = r.WriteSettings(make([]http2.Setting, 2000)...) },
	"settings ack":      func(r *raw, _ int) { _ = r.WriteSettingsAck() },
	"ping":              func(r *raw, _ int) { _ = r.WritePing(false, [8]byte{}) },
	"ping ack":          func(r *raw, _ int) { _ = r.WritePing(true, [8]byte{}) },
	"priority":          func(r *raw, _ int) { _ = r.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
	"unknown frames":    func(r *raw, _ int) { _ = r.WriteRawFrame(0x77, 0, 1, []byte("x")) },
	"goaway":            func(r *raw, _ int) { _ = r.WriteGoAway(0, 0, nil) },
	"window by one":     func(r *raw, _ int) { _ = r.WriteWindowUpdate(0, 1) },
	"resets of nothing": func(r *raw, i int) { onStream(r, i); _ = r.WriteRSTStream(1, http2.ErrCodeCancel) },
	"window of a stream by one": func(r *raw, i int) {
		onStream(r, i)
		_ = r.WriteWindowUpdate(1, 1)
	},
	"empty data": func(r *raw, i int) {
		onStream(r, i)
		_ = r.WriteData(1, false, nil)
	},
	"data of padding": func(r *raw, i int) {
		onStream(r, i)
		_ = r.WriteDataPadded(1, false, nil, make([]byte, 100))
	},
	"data on a closed stream": func(r *raw, i int) {
		id := uint32(1 + 2*i)
		r.headers(id, true, getFields...)
		_ = r.WriteData(id, true, []byte("x"))
	},
}

// onStream opens stream 1, the first time, with a body.
func onStream(r *raw, i int) {
	if i == 0 {
		r.headers(1, false, getFields...)
	}
}

// Each flood ends with the connection, and until then holds little: of streams,
// whose owners close them at the end of each turn or never, of Output, which
// the peer reads or does not, and of memory.
func TestFloods(t *testing.T) {
	for name, flood := range clientFloods {
		for _, reads := range []bool{true, false} {
			for _, closes := range []bool{true, false} {
				r := newRaw(t, &Limits{HeaderBytes: 4096})
				before := heap()
				turns, last := 0, ""
				for ; r.err == nil; turns++ {
					flood(r, turns)
					if reads {
						last = r.sent()
					} else {
						r.send()
					}
					for closes && len(r.opened) > 0 && r.opened[0].Gone() {
						r.opened[0].Close()
						r.opened = r.opened[1:]
					}
					if n := len(r.c.Output()); n > outputMost+1000 {
						t.Fatalf("%s: Output: got %d bytes", name, n)
					}
					if n := r.c.Streams(); n > 200 {
						t.Fatalf("%s: got %d streams; want at most twice the limit", name, n)
					}
					if turns > 20000 {
						t.Fatalf("%s: got no end after %d turns", name, turns)
					}
				}
				if !reads {
					last = strings.Join(r.frames(), ", ")
				}
				if !strings.HasSuffix(last, "ENHANCE_YOUR_CALM") || !r.c.Closed() {
					t.Errorf("%s: got %.200q, closed %t; want GOAWAY ENHANCE_YOUR_CALM", name, last, r.c.Closed())
				}
				if grown := heap() - before; grown > 2<<20 {
					t.Errorf("%s: grown by %d bytes in %d turns", name, grown, turns)
				}
				runtime.KeepAlive(r)
			}
		}
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A server can be as hostile: of what a client's owner does not read, little is
// kept.
func TestFloodsOfServers(t *testing.T) {
	for name, flood := range map[string]func(r *raw){
		"interim responses": func(r *raw) { r.headers(1, false, ":status", "103", "link", strings.Repeat("a", 500)) },
		"pings":             func(r *raw) { _ = r.WritePing(false, [8]byte{}) },
		"settings":          func(r *raw) { _ = r.WriteSettings() },
		"trailers": func(r *raw) {
			r.headers(1, false, ":status", "200")
			r.headers(1, true, "a", strings.Repeat("a", 9000), "b", "c")
		},
	} {
		r := newRawServer(t, nil)
		s, err := r.c.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.TryWrite([]byte(get)); err != nil {
			t.Fatal(err)
		}
		for turns := 0; r.err == nil && !s.Gone(); turns++ {
			flood(r)
			r.send()
			if n := len(s.text); n > r.c.maxBlock()+1000 || turns > 5000 {
				t.Fatalf("%s: %d bytes of heads after %d turns", name, n, turns)
			}
		}
		if got := strings.Join(r.frames(), ", "); !strings.HasSuffix(got, "ENHANCE_YOUR_CALM") {
			t.Errorf("%s: got %.200q; want it to end in ENHANCE_YOUR_CALM", name, got)
		}
	}
}

// Data beyond the windows ends the stream or the connection.
func TestDataBeyondWindow(t *testing.T) {
	r := newRaw(t, &Limits{StreamWindow: 20000, ConnWindow: 100000})
	r.headers(1, false, getFields...)
	_ = r.WriteData(1, false, make([]byte, 16000))
	_ = r.WriteData(1, false, make([]byte, 16000))
	if got := r.sent(); got != "RST_STREAM 1 FLOW_CONTROL_ERROR" {
		t.Errorf("beyond the window of a stream: got %q; want RST_STREAM", got)
	}
	for i := range uint32(7) {
		r.headers(3+2*i, false, getFields...)
		_ = r.WriteData(3+2*i, false, make([]byte, 16000))
	}
	if got := r.sent(); got != "GOAWAY 11 FLOW_CONTROL_ERROR" {
		t.Errorf("beyond the window of the connection: got %q; want GOAWAY", got)
	}
}

// Who does what clients do is not taken for an attacker, however long it lasts
// and without a call of Calm.
func TestHonestTraffic(t *testing.T) {
	r := newRaw(t, nil)
	p := &pair{TB: t}
	for i := range uint32(5000) {
		id := 1 + 2*i
		_ = r.WritePriority(id, http2.PriorityParam{StreamDep: 0, Weight: 5})
		r.headers(id, false, getFields...)
		_ = r.WriteData(id, true, nil)
		_ = r.WriteWindowUpdate(id, 1<<20)
		r.send()
		if i%2 == 0 { // a page that the user leaves
			_ = r.WriteRSTStream(id, http2.ErrCodeCancel)
			r.send()
		}
		s := r.opened[0]
		r.opened = nil
		if !s.Gone() {
			p.write(s, "HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n"+long[:30000])
		}
		s.Close()
		for _, f := range r.frames() {
			if strings.HasPrefix(f, "DATA") {
				_ = r.WriteWindowUpdate(0, 16384)
				_ = r.WriteWindowUpdate(id, 16384)
				_ = r.WritePing(false, [8]byte{})
			}
		}
		if got := r.sent(); r.err != nil {
			t.Fatalf("request %d: got %q, %v", i, got, r.err)
		}
	}
}

// Signs of life add up to no flood as long as there is time between them.
func TestQuietLongLivedConnection(t *testing.T) {
	r := newRaw(t, nil)
	for range 10 * r.c.lim.Noise {
		_ = r.WritePing(false, [8]byte{})
		r.sent()
		r.c.Calm() // there was a second between
	}
	if r.err != nil {
		t.Fatalf("pings with time between: got %v", r.err)
	}
}
