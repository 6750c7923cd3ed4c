package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// http2Client returns a client that speaks HTTP/2 only, with prior knowledge if
// config is nil.
func http2Client(t *testing.T, config *tls.Config) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(config != nil)
	protocols.SetUnencryptedHTTP2(config == nil)
	tr := &http.Transport{Protocols: protocols, TLSClientConfig: config}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// Whatever becomes of the workers, each request of HTTP/2 is answered.
func TestHTTP2LosesNothingInRollsAndReloads(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			p, a := newProxy(t), newAuthority(t)
			s := site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}, rest: "access_log \"json\" { output = \"access.log\" }\n"}
			config := (*tls.Config)(nil)
			if scheme == "https" {
				s, config = p.secure(a, s), a.trusting()
			} else {
				s.listener = "h2c = true"
			}
			p.write(s)
			p.start()
			var (
				all      sync.WaitGroup
				requests atomic.Int64
				stop     = make(chan struct{})
			)
			for i := range 4 {
				c := http2Client(t, config)
				for range 8 {
					all.Go(func() {
						body := bytes.Repeat([]byte{'x'}, 100*(i+1))
						for {
							select {
							case <-stop:
								return
							default:
							}
							resp, err := c.Post(scheme+"://"+p.address+"/", "", bytes.NewReader(body))
							if err != nil {
								t.Error(err)
								return
							}
							got, err := io.ReadAll(resp.Body)
							resp.Body.Close()
							if err != nil || resp.StatusCode != 200 || resp.ProtoMajor != 2 || !bytes.HasSuffix(got, body) {
								t.Errorf("got %d by %s, %d bytes, %v; want all by HTTP/2", resp.StatusCode, resp.Proto, len(got), err)
								return
							}
							requests.Add(1)
						}
					})
				}
			}
			more := func() {
				n := requests.Load() + 200
				await(t, "more requests", func() bool { return t.Failed() || requests.Load() >= n })
			}
			more()
			for range 2 {
				if out, code := p.run("roll", "-c", p.path("proxy.hcl")); code != 0 {
					t.Errorf("roll: %d: %s", code, out)
				}
				more()
			}
			p.signal(syscall.SIGHUP)
			p.awaitLog(`config 2 active|no change|unchanged`)
			more()
			close(stop)
			all.Wait()
			t.Logf("%d requests", requests.Load())
		})
	}
}

// A request under way when its worker is to end has until drain_timeout.
func TestHTTP2RequestOutlivesRoll(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	slow := newSlowOrigin(t)
	p.write(site{servers: []string{slow.address}, listener: "h2c = true"})
	p.start()
	c := http2Client(t, nil)
	answered := make(chan error, 1)
	go func() {
		resp, err := c.Get("http://" + p.address)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 {
				err = fmt.Errorf("status %d", resp.StatusCode)
			}
		}
		answered <- err
	}()
	<-slow.began
	if out, code := p.run("roll", "-c", p.path("proxy.hcl")); code != 0 {
		t.Fatalf("roll: %d: %s", code, out)
	}
	time.AfterFunc(2*time.Second, func() { close(slow.release) }) // after both steps of GOAWAY
	if err := <-answered; err != nil {
		t.Errorf("got %v; want the response", err)
	}
}

func TestHTTP2ForNghttp(t *testing.T) {
	installed(t, "nghttp")
	t.Parallel()
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}, listener: "h2c = true"})
	p.start()
	p.put("body", strings.Repeat("0123456789", 30_000))
	got := p.tool("nghttp", "-v", "-d", "body", "--trailer", "x-sum: 1", "http://"+p.address+"/path")
	if !strings.Contains(got, ":status: 200") || !strings.Contains(got, "origin POST /path") || strings.Contains(got, "RST_STREAM") {
		t.Errorf("nghttp: got\n%.3000s", got)
	}
}
