package e2e

import (
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestUnixSockets(t *testing.T) {
	p := newProxy(t)
	path := p.path("web.sock")
	o := newOrigin(t, "origin", "unix:"+p.path("origin.sock"), nil, nil)
	p.write(site{address: []string{"unix:" + path, p.address}, servers: []string{o.address}, upstream: `health "tcp" {}`})
	p.start()
	c := connect(t, "unix:"+path)
	for range 3 {
		a := c.get(t, "/x")
		a.want(t, http.StatusOK)
		if want := "origin GET /x host=test sni= for= body="; a.body != want {
			t.Errorf("got %q; want %q", a.body, want)
		}
	}
	if a := p.get("/x"); !strings.Contains(a.body, "for=127.0.0.1") {
		t.Errorf("over TCP: got %q; want the client's address", a.body)
	}
	o.kill(false)
	if err := os.RemoveAll(p.path("origin.sock")); err != nil {
		t.Fatal(err)
	}
	p.awaitLog(`server unix:` + p.path("origin.sock") + ` is down`)
	c.get(t, "/x").want(t, http.StatusServiceUnavailable)
	o.start()
	await(t, "service again", func() bool { return c.get(t, "/x").status == http.StatusOK })
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("there is no IPv6 here:", err)
	}
	address := l.Addr().String()
	l.Close()
	p := newProxy(t)
	o := newOrigin(t, "origin", "[::1]:0", nil, nil)
	p.write(site{address: []string{address}, servers: []string{o.address}, upstream: `health "tcp" {}`})
	p.start()
	a := connect(t, address).get(t, "/")
	a.want(t, http.StatusOK)
	if !strings.Contains(a.body, "for=::1") && !strings.Contains(a.body, `for="[::1]"`) {
		t.Errorf("got %q; want the client's address in it", a.body)
	}
	if o.connections.Load() == 0 {
		t.Errorf("connections to the origin: got 0; want some")
	}
}

// ":port" is every address of both families.
func TestEveryAddress(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	p := newProxy(t)
	p.write(site{address: []string{":" + port}, servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	p.start()
	a := connect(t, "127.0.0.1:"+port).get(t, "/")
	if !strings.Contains(a.body, "for=127.0.0.1 ") {
		t.Errorf("over IPv4: got %q; want the client's address as one of IPv4", a.body)
	}
	if c, err := dial("[::1]:" + port); err == nil {
		defer c.Close()
		c.get(t, "/").want(t, http.StatusOK)
	}
}
