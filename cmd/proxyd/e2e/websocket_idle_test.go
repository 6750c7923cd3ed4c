package e2e

import (
	"fmt"
	"testing"
)

// A thousand tunnels that wait for something to say hold little, and all of
// them can say it then.
func TestWebSocketsThatIdle(t *testing.T) {
	long(t)
	const (
		tunnels = 1000
		most    = 72 << 10 // of a worker's memory, for each
	)
	eachServer(t, "", func(t *testing.T, site *socketSite) {
		openSocket(t, site.address, "/echo").echo(t, "the first of all")
		before := site.workersUse(t)
		sockets := make([]*socket, tunnels)
		for i := range sockets {
			sockets[i] = openSocket(t, site.address, "/echo")
		}
		for _, size := range []int{0, 1, 64 << 10} { // the last fills all buffers
			for i, s := range sockets {
				if size > 0 {
					s.echo(t, fmt.Sprintf("%d %s", i, text(size)))
				}
			}
			idle := site.workersUse(t)
			each := (idle.rss - before.rss) / tunnels
			t.Logf("%d tunnels that have carried %d bytes: %d bytes of the worker's memory each", tunnels, size, each)
			if each > most {
				t.Errorf("got %d bytes for an idle tunnel; want %d at most", each, most)
			}
			if got := idle.descriptors - before.descriptors; got < 2*tunnels || got > 2*tunnels+spare {
				t.Errorf("got %d descriptors; want %d", got, 2*tunnels)
			}
		}
		for i, s := range sockets {
			s.send(t, 0, closing(1000, "enough"))
			if f := s.next(t); f.op != opClose {
				t.Fatalf("tunnel %d: got a frame of kind %d; want the end", i, f.op)
			}
			s.Close()
		}
		await(t, "the descriptors given back", func() bool { return site.workersUse(t).descriptors <= before.descriptors+spare })
	})
}
