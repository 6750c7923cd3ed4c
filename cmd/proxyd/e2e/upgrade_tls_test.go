package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Upgrades under plain, WebSocket, TLS and HTTP/2 load cost no request.
func TestAcceptanceUpgradesUnderEveryProtocol(t *testing.T) {
	long(t)
	upgrades := 2
	if tortured() {
		upgrades = 20
	}
	traffic := lightly
	traffic.life = shortLife
	z := newTrial(t, traffic)
	a, address := newAuthority(t), freeAddress(t)
	z.more = fmt.Sprintf("listener \"secure\" {\n address = %q\n%s\n route \"all\" { upstream = \"one\" }\n}\n", address, z.secure(a, site{}).listener)
	z.hup()
	z.awaitConfig()

	h1 := &http.Transport{TLSClientConfig: a.trusting()}
	t.Cleanup(h1.CloseIdleConnections)
	var posts [2]atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for i, c := range []*http.Client{{Transport: h1, Timeout: patience}, http2Client(t, a.trusting())} {
		for range 8 {
			all.Go(func() { postUntil(t, c, "https://"+address+"/", stop, &posts[i]) })
		}
	}
	more := func() {
		t.Helper()
		for i := range posts {
			n := posts[i].Load() + 100
			await(t, fmt.Sprintf("more requests by HTTP/%d", i+1), func() bool { return t.Failed() || posts[i].Load() >= n })
		}
	}
	more()
	for i := range upgrades {
		z.upgrade(i%2 == 0)
		more()
	}
	close(stop)
	all.Wait()
	z.more = "" // as those who look at the descriptors at the end expect it
	z.hup()
	z.awaitConfig()
	t.Logf("over TLS: %d requests by HTTP/1.1, %d by HTTP/2, %d upgrades", posts[0].Load(), posts[1].Load(), upgrades)
	z.end(t)
}

// postUntil sends requests that nobody may repeat, each to a path of its own, one
// after the other, until stop.
func postUntil(t *testing.T, c *http.Client, url string, stop <-chan struct{}, answered *atomic.Int64) {
	body := strings.Repeat("x", 100)
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-stop:
			return
		case <-pace.C:
		}
		resp, err := c.Post(url+rand.Text(), "", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || resp.TLS == nil || resp.TLS.Version != tls.VersionTLS13 || !bytes.Contains(got, []byte("POST")) {
			t.Errorf("got %d by %s, %q, %v; want 200 over TLS", resp.StatusCode, resp.Proto, got, err)
			return
		}
		answered.Add(1)
	}
}
