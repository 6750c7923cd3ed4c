package e2e

import (
	"context"
	bigendian "encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// newGRPCServer runs a server that answers each message of a call by itself and,
// after the last, with grpc-status 0. It speaks HTTP/2 without TLS only.
func newGRPCServer(t *testing.T) string {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Te") != "trailers" {
			t.Errorf("te: got %q; want trailers", r.Header.Get("Te"))
		}
		w.Header().Set("Content-Type", "application/grpc")
		if r.URL.Path == "/test.Echo/Nothing" {
			w.Header().Set("Grpc-Status", "5")
			return
		}
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		_ = http.NewResponseController(w).Flush()
		for {
			m, err := readMessage(r.Body)
			if err != nil {
				break
			}
			_, _ = w.Write(m)
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set("Grpc-Message", "fine")
	})}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

// readMessage reads a message of gRPC, with the five bytes before it.
func readMessage(r io.Reader) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	m := make([]byte, 5+bigendian.BigEndian.Uint32(head[1:]))
	copy(m, head[:])
	_, err := io.ReadFull(r, m[5:])
	return m, err
}

func message(text string) []byte {
	return append(bigendian.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

// call begins a call of gRPC and returns what it is sent by.
func call(ctx context.Context, c *http.Client, url string) (*io.PipeWriter, *http.Response, error) {
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, "POST", url, r)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := c.Do(req)
	return w, resp, err
}

// A stream of messages both ways goes on while the workers are replaced, and
// although nothing is said on it for longer than bodies may pause.
func TestGRPCStream(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.write(site{
		servers: []string{newGRPCServer(t)}, listener: "h2c = true\n timeouts = { body_idle = \"1s\" }",
		upstream: "protocol = \"h2c\"\n timeouts = { body_idle = \"1s\" }",
	})
	p.start()
	w, resp, err := call(t.Context(), http2Client(t, nil), "http://"+p.address+"/test.Echo/Stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for i := range 6 {
		text := fmt.Sprint("message ", i)
		if _, err := w.Write(message(text)); err != nil {
			t.Fatal(err)
		}
		if m, err := readMessage(resp.Body); err != nil || string(m[5:]) != text {
			t.Fatalf("got %q, %v; want %q", m, err, text)
		}
		switch i {
		case 1:
			if out, code := p.run("roll", "-c", p.path("proxy.hcl")); code != 0 {
				t.Fatalf("roll: %d: %s", code, out)
			}
		case 3:
			silence := time.NewTimer(2 * time.Second)
			<-silence.C
		}
	}
	w.Close()
	if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
		t.Errorf("after the last: got %q, %v", rest, err)
	}
	if resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Grpc-Message") != "fine" {
		t.Errorf("trailers: got %v", resp.Trailer)
	}
}

// A status without messages comes as the server has sent it; one of our own looks
// like that.
func TestGRPCStatus(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.write(site{servers: []string{newGRPCServer(t)}, listener: "h2c = true", upstream: "protocol = \"h2c\"", route: "paths = [\"/test.Echo/*\"]"})
	p.start()
	c := http2Client(t, nil)
	for path, want := range map[string]string{"/test.Echo/Nothing": "5", "/test.None/x": "12"} {
		w, resp, err := call(t.Context(), c, "http://"+p.address+path)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		if body, err := io.ReadAll(resp.Body); len(body) > 0 || err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: got %d %q, %v", path, resp.StatusCode, body, err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status"); got != want {
			t.Errorf("%s: grpc-status: got %q; want %s", path, got, want)
		}
	}
}

// A client that gives up ends the call at the server, too.
func TestGRPCCancel(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(ended)
	})}
	go func() { _ = s.Serve(ln) }()
	defer s.Close()
	p := newProxy(t)
	p.write(site{servers: []string{ln.Addr().String()}, listener: "h2c = true", upstream: "protocol = \"h2c\""})
	p.start()
	ctx, cancel := context.WithCancel(t.Context())
	w, resp, err := call(ctx, http2Client(t, nil), "http://"+p.address+"/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cancel()
	w.CloseWithError(context.Canceled) // else the client waits for what it was to send
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the call goes on at the server")
	}
}
