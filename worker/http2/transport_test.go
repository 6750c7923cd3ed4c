//lint:file-ignore SA1019 x/net's Transport is another client than net/http's

package http2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/proxyd/proxyd/worker/http1"
)

// serveTransport answers as its path says.
func serveTransport(s *testStream) {
	if err := s.head(); err != nil {
		refuse(s, err)
		return
	}
	switch path := string(s.req.Path); path {
	case "/echo":
		_ = s.write([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
		body, trailers, err := s.body()
		if err != nil {
			return
		}
		_ = s.write([]byte(fmt.Sprintf("%x\r\n%s\r\n", len(body), body)))
		_ = s.write(http1.AppendLastChunk(nil, trailers))
	case "/early":
		_ = s.write([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"))
	case "/hints":
		_ = s.write([]byte("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"))
		_ = s.write([]byte(ok))
	case "/cut":
		_ = s.write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"))
	case "/wait":
		for !s.Gone() {
			s.wake.Wait()
		}
	default:
		s.hello()
	}
}

// clients are those that the server's side is to get along with.
func clients(t *testing.T) map[string]struct {
	*http.Client
	url string
} {
	plain, secure := listen(t), listen(t)
	host := httptest.NewUnstartedServer(nil)
	host.StartTLS() // for its certificate
	config := host.TLS.Clone()
	config.NextProtos = []string{"h2"}
	trust := host.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	host.Close()
	newTestServer(t, nil, plain, serveTransport)
	newTestServer(t, nil, tls.NewListener(secure, config), serveTransport)
	xnet := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	h2 := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{RootCAs: trust, ServerName: "example.com"}}
	h2.Protocols.SetHTTP2(true)
	t.Cleanup(func() {
		xnet.CloseIdleConnections()
		h2c.CloseIdleConnections()
		h2.CloseIdleConnections()
	})
	type client = struct {
		*http.Client
		url string
	}
	return map[string]client{
		"x/net":        {&http.Client{Transport: xnet}, "http://" + plain.Addr().String()},
		"net/http h2c": {&http.Client{Transport: h2c}, "http://" + plain.Addr().String()},
		"net/http TLS": {&http.Client{Transport: h2}, "https://" + secure.Addr().String()},
	}
}

func TestServerWithClients(t *testing.T) {
	for name, c := range clients(t) {
		t.Run(name, func(t *testing.T) {
			r, err := c.Get(c.url + "/")
			if got := bodyOf(t, r, err); got != "hello 0\n" || r.ProtoMajor != 2 {
				t.Errorf("GET: got %s %q; want HTTP/2.0", r.Proto, got)
			}
			if r, err = c.Head(c.url + "/"); bodyOf(t, r, err) != "" || r.StatusCode != 200 {
				t.Errorf("HEAD: got %d", r.StatusCode)
			}
			echo(t, c.Client, c.url, 3<<20)
			r, err = c.Post(c.url+"/early", "text/plain", io.LimitReader(zeros{}, 50<<20))
			if got := bodyOf(t, r, err); r.StatusCode != 403 || got != "no" {
				t.Errorf("early: got %d %q; want 403", r.StatusCode, got)
			}
			if r, err = c.Get(c.url + "/hints"); bodyOf(t, r, err) != "ok" {
				t.Error("early hints: got another body")
			}
			if r, err = c.Get(c.url + "/cut"); err == nil {
				_, err = io.ReadAll(r.Body)
				r.Body.Close()
			}
			if err == nil {
				t.Error("cut: got no error")
			}
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := http.NewRequestWithContext(ctx, "GET", c.url+"/wait", nil)
			go cancel()
			if _, err := c.Do(req); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: got %v", err)
			}
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() { echo(t, c.Client, c.url, 200<<10) })
			}
			all.Wait()
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func bodyOf(t *testing.T, r *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if r.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// echo sends size bytes and a trailer and wants both back.
func echo(t *testing.T, c *http.Client, url string, size int) {
	want := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	req, _ := http.NewRequest("POST", url+"/echo", io.MultiReader(bytes.NewReader(want), strings.NewReader("")))
	req.Trailer = http.Header{"X-Sum": {"5"}}
	r, err := c.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	got, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || !bytes.Equal(got, want) || r.Trailer.Get("X-Sum") != "5" {
		t.Errorf("echo of %d bytes: got %d, %v, trailers %v", size, len(got), err, r.Trailer)
	}
}
