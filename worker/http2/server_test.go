package http2

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// handler is what net/http serves to the client's side.
func handler(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
	case "/hints":
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		_, _ = io.WriteString(w, "hinted")
	case "/early":
		w.WriteHeader(403)
	case "/empty":
		w.WriteHeader(204)
	case "/cut":
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "ab")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	default:
		fmt.Fprintf(w, "%s %s %s", r.Method, r.Host, r.Header.Get("X-A"))
	}
}

// ask sends a request on a stream of d and returns what net/http makes of the
// HTTP/1.1 that the stream gives.
func (d *driver) ask(method, path, body string) (*http.Response, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	st, err := d.c.Open()
	if err != nil {
		return nil, "", err
	}
	s := d.stream(st)
	defer s.Close()
	text := method + " " + path + " HTTP/1.1\r\nHost: x.test\r\nX-A: b\r\n"
	switch {
	case path == "/early": // net/http takes trailers behind its reset for a mistake
		text += fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	case body != "":
		text += "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\nX-Sum: 5\r\n\r\n", len(body), body)
	default:
		text += "\r\n"
	}
	var all []byte
	buf := make([]byte, 32<<10)
	for todo := []byte(text); ; {
		n, writeErr := 0, ErrAgain
		if len(todo) > 0 {
			n, writeErr = s.TryWrite(todo)
			todo = todo[n:]
		}
		m, readErr := s.TryRead(buf)
		all = append(all, buf[:m]...)
		if readErr != nil && readErr != ErrAgain {
			err = readErr
			break
		}
		if writeErr != nil && readErr == ErrAgain {
			s.wake.Wait()
		}
	}
	if err != io.EOF {
		return nil, string(all), err
	}
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), &http.Request{Method: method})
	if err != nil {
		return nil, string(all), err
	}
	got, err := io.ReadAll(r.Body)
	return r, string(got), err
}

func TestClientWithServers(t *testing.T) {
	for name, dial := range map[string]func(*httptest.Server) (net.Conn, error){
		"h2c": func(s *httptest.Server) (net.Conn, error) {
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
			return net.Dial("tcp", s.Listener.Addr().String())
		},
		"TLS": func(s *httptest.Server) (net.Conn, error) {
			s.EnableHTTP2 = true
			s.StartTLS()
			config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			config.NextProtos, config.ServerName = []string{"h2"}, "example.com"
			return tls.Dial("tcp", s.Listener.Addr().String(), config)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(handler))
			conn, err := dial(server)
			defer server.Close()
			if err != nil {
				t.Fatal(err)
			}
			d := newDriver(conn)
			d.c = NewClient(&Limits{StreamWindow: 50000}, map[string]string{"h2c": "http", "TLS": "https"}[name])
			var running sync.WaitGroup
			running.Go(d.run)
			d.suite(t)
			d.mu.Lock()
			d.c.Shutdown(true)
			d.output.Broadcast()
			d.mu.Unlock()
			running.Wait()
		})
	}
}

func (d *driver) suite(t *testing.T) {
	long := strings.Repeat(long, 5)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/", "", 200, "GET x.test b"},
		{"HEAD", "/", "", 200, ""},
		{"POST", "/", "", 200, "POST x.test b"},
		{"PUT", "/echo", "hello", 200, "hello"},
		{"POST", "/echo", long, 200, long},
		{"GET", "/hints", "", 103, ""},
		{"POST", "/early", long, 403, ""},
		{"DELETE", "/empty", "", 204, ""},
	} {
		r, got, err := d.ask(c.method, c.path, c.body)
		if err != nil || r.StatusCode != c.status || got != c.want {
			t.Errorf("%s %s: got %v, %.100q, %v; want %d, %.100q", c.method, c.path, r, got, err, c.status, c.want)
		} else if c.path == "/echo" && r.Trailer.Get("X-Sum") != "5" {
			t.Errorf("%s %s: got trailers %v", c.method, c.path, r.Trailer)
		}
	}
	if _, got, err := d.ask("GET", "/cut", ""); codeOf(err) != "INTERNAL_ERROR" {
		t.Errorf("cut: got %q, %v; want INTERNAL_ERROR", got, err)
	}
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if _, got, err := d.ask("POST", "/echo", long); got != long || err != nil {
				t.Errorf("many at once: got %d bytes, %v; want %d", len(got), err, len(long))
			}
		})
	}
	all.Wait()
}
