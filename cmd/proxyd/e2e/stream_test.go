package e2e

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
	"time"
)

const (
	streamBytes = 16 << 20
	pieceBytes  = 64 << 10
)

// streamBack returns each piece of the body as soon as it has come.
func streamBack(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		return
	}
	if r.ContentLength > 0 {
		w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
	}
	buf := make([]byte, pieceBytes)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			_ = control.Flush() // a client that is gone shows at the next write
		}
		if err != nil {
			return
		}
	}
}

// TestBodiesStreamBothWaysAtOnce sends 16 MiB to an origin that sends them back
// as they come. The first pieces wait for each other, so that a body that is
// held anywhere stops all; the rest goes as fast as it can.
func TestBodiesStreamBothWaysAtOnce(t *testing.T) {
	ca := newAuthority(t)
	for _, test := range []struct {
		name    string
		tls     *tls.Config
		chunked bool
	}{
		{"plain, by length", nil, false},
		{"plain, in chunks", nil, true},
		{"TLS, by length", ca.server(oneHost), false},
		{"TLS, in chunks", ca.server(oneHost), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t)
			ca.write(p.path("ca.pem"))
			s := site{servers: []string{newOrigin(t, "origin", "", test.tls, streamBack).address}}
			if test.tls != nil {
				s.upstream = "tls {\n sni = \"one.one.one.one\"\n ca = \"ca.pem\"\n }"
			}
			p.write(s)
			p.start()
			// Each on its own connection: a response that began before its
			// request ended closes it.
			for range 2 {
				connect(t, p.address).stream(t, test.chunked)
			}
		})
	}
}

// stream sends a body and checks that the same comes back.
func (c *client) stream(t *testing.T, chunked bool) {
	t.Helper()
	body := make([]byte, streamBytes)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(body) // never fails
	field := fmt.Sprintf("Content-Length: %d", streamBytes)
	var out io.WriteCloser = keepOpen{c}
	if chunked {
		field = "Transfer-Encoding: chunked"
		out = httputil.NewChunkedWriter(c)
	}
	if err := c.send(request(http.MethodPost, "/", "", field)); err != nil {
		t.Fatal(err)
	}
	lockstep := make(chan struct{}, 1)
	sent := make(chan error, 1)
	began := time.Now()
	go func() { sent <- sendBody(out, body, lockstep, chunked, c) }()
	r, err := http.ReadResponse(c.r, &http.Request{Method: http.MethodPost})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	piece := make([]byte, pieceBytes)
	for i := 0; i < streamBytes; i += pieceBytes {
		if _, err := io.ReadFull(r.Body, piece); err != nil {
			t.Fatalf("after %d bytes: %v", i, err)
		}
		sum.Write(piece)
		if i/pieceBytes < steps {
			lockstep <- struct{}{}
		}
	}
	rest, err := io.ReadAll(r.Body)
	if err != nil || len(rest) > 0 {
		t.Errorf("after the body: got %d bytes, %v; want its end", len(rest), err)
	}
	if err := <-sent; err != nil {
		t.Errorf("send: %v", err)
	}
	if want := sha256.Sum256(body); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Errorf("the body came back changed")
	}
	if r.StatusCode != http.StatusOK || strings.Contains(strings.Join(r.TransferEncoding, ""), "chunked") != chunked {
		t.Errorf("got %d, %v; want 200, chunked %v", r.StatusCode, r.TransferEncoding, chunked)
	}
	took := time.Since(began)
	t.Logf("16 MiB both ways in %v, %.0f MiB/s each", took.Round(time.Millisecond), streamBytes/took.Seconds()/(1<<20))
}

// steps is how many pieces wait until the one before has come back.
const steps = 16

func sendBody(out io.WriteCloser, body []byte, lockstep <-chan struct{}, chunked bool, c *client) error {
	for i := 0; len(body) > 0; i++ {
		if _, err := out.Write(body[:pieceBytes]); err != nil {
			return err
		}
		body = body[pieceBytes:]
		if i < steps {
			<-lockstep
		}
	}
	err := out.Close()
	if err == nil && chunked {
		_, err = io.WriteString(c, "\r\n") // the end of no trailers
	}
	return err
}

// keepOpen is a writer whose end is no end of what is below.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// A client that does not read holds up its own response and nothing else: the
// proxy takes no more from the server than a few buffers hold.
func TestASlowReaderIsNotBufferedFor(t *testing.T) {
	sent := make(chan int, 1)
	o := newOrigin(t, "origin", "", nil, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/big" {
			fmt.Fprint(w, "small")
			return
		}
		control := http.NewResponseController(w)
		buf := make([]byte, pieceBytes)
		total := 0
		for total < 1<<30 {
			_ = control.SetWriteDeadline(time.Now().Add(time.Second)) // it is a TCP connection
			n, err := w.Write(buf)
			if total += n; err != nil {
				break
			}
		}
		sent <- total
	})
	p := newSite(t, o)
	c := connect(t, p.address)
	if err := c.send(request(http.MethodGet, "/big", "")); err != nil {
		t.Fatal(err)
	}
	total := <-sent
	if total > 64<<20 {
		t.Errorf("the proxy took %d MiB for a client that reads none; want little", total>>20)
	}
	for range 10 {
		if a := p.get("/"); a.body != "small" {
			t.Errorf("another client: got %q; want small", a.body)
		}
	}
	t.Logf("%d KiB taken until the server was held up", total>>10)
}
