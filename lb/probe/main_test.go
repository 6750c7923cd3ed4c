package probe

import (
	"context"
	"io"
	"log"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyd/proxyd/lb/reason"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serveConns has handle serve each connection to a socket of ours until the test
// ends; handle returns once its connection is closed, which happens then.
func serveConns(t *testing.T, network, address string, handle func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = c.Close() })
			wg.Go(func() { defer c.Close(); handle(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); cancel(); wg.Wait() })
	return l
}

// verdict runs a probe for at most limit, and some time more to return, and gives
// its error and the reason in it as texts.
func verdict(t *testing.T, limit time.Duration, p func(context.Context, string) error, address string) (text, why string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	err := p(ctx, address)
	if took := time.Since(began); took > limit+5*time.Second {
		t.Errorf("returned after %v; want within %v", took, limit)
	}
	if err != nil {
		text = err.Error()
	}
	return text, reason.Of(err).String()
}

// quiet is for servers that are asked nonsense on purpose.
var quiet = log.New(io.Discard, "", 0)
