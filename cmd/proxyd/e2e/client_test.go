package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client is one connection to a proxy. Unlike net/http's it never dials or
// sends anything again by itself, so that every failure shows.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(address string) (*client, error) {
	network, where := network(address)
	c, err := net.DialTimeout(network, where, patience)
	if err != nil {
		return nil, err
	}
	return &client{Conn: c, r: bufio.NewReader(c)}, nil
}

// connect is dial for as long as the test runs.
func connect(t *testing.T, address string) *client {
	t.Helper()
	c, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// port is the client's own.
func (c *client) port() int { return c.LocalAddr().(*net.TCPAddr).Port }

// An answer is a response that has been received to its end.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	length  int64 // as announced; -1: not
	chunked bool
	closing bool // the server closes the connection after it
}

// request writes out a request; each field is "name: value".
func request(method, target, body string, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: test\r\n", method, target)
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

func (c *client) send(text string) error {
	_ = c.SetDeadline(time.Now().Add(patience)) // fails if it is closed, as what follows does
	_, err := io.WriteString(c, text)
	return err
}

// receive reads one response to a request of method, interim ones too.
func (c *client) receive(method string) (*answer, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	r, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return &answer{
		status: r.StatusCode, header: r.Header, trailer: r.Trailer, body: string(body), length: r.ContentLength,
		chunked: len(r.TransferEncoding) > 0, closing: r.Close,
	}, err
}

// ask makes one request.
func (c *client) ask(method, target, body string, fields ...string) (*answer, error) {
	if err := c.send(request(method, target, body, fields...)); err != nil {
		return nil, err
	}
	return c.receive(method)
}

// get is ask for a test that cannot go on without an answer.
func (c *client) get(t *testing.T, target string, fields ...string) *answer {
	t.Helper()
	a, err := c.ask(http.MethodGet, target, "", fields...)
	if err != nil {
		t.Fatalf("GET %s: %v", target, err)
	}
	return a
}

// get asks on a new connection.
func (p *proxy) get(target string, fields ...string) *answer {
	p.t.Helper()
	c, err := dial(p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	return c.get(p.t, target, fields...)
}

// want fails the test unless a has the status.
func (a *answer) want(t *testing.T, status int) {
	t.Helper()
	if a.status != status {
		t.Fatalf("got %d, %q; want %d", a.status, a.body, status)
	}
}

// ok is nil if a is a 200 with a body.
func (a *answer) ok() error {
	switch {
	case a.status != http.StatusOK:
		return fmt.Errorf("%d %q", a.status, a.body)
	case a.body == "":
		return errors.New("empty body")
	}
	return nil
}

// closed reports whether the server ends the connection without another byte.
func (c *client) closed(t *testing.T) bool {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(c.r)
	if len(rest) > 0 {
		t.Errorf("before the end of the connection: got %q; want nothing", rest)
	}
	return err == nil
}
