package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A load keeps asking a proxy and counts what is not a whole answer as wanted.
// Requests are POSTs, which nothing on the way may send twice, or bare GETs.
type load struct {
	address string
	method  string
	body    string
	check   func(*answer) error
	stopped chan struct{}
	all     sync.WaitGroup

	mu       sync.Mutex
	answered int
	failures []string
}

func newLoad(t *testing.T, address string) *load {
	l := &load{address: address, method: http.MethodPost, body: "body", check: (*answer).ok, stopped: make(chan struct{})}
	t.Cleanup(l.stop)
	return l
}

// stop lets requests in progress end; they count. It may be called twice.
func (l *load) stop() {
	select {
	case <-l.stopped:
	default:
		close(l.stopped)
	}
	l.all.Wait()
}

func (l *load) running() bool {
	select {
	case <-l.stopped:
		return false
	default:
		return true
	}
}

// note counts one request.
func (l *load) note(a *answer, err error) error {
	if err == nil {
		err = l.check(a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failures = append(l.failures, err.Error())
	} else {
		l.answered++
	}
	return err
}

// counts returns how many requests were answered and how many failed.
func (l *load) counts() (answered, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered, len(l.failures)
}

// why shows some of the failures.
func (l *load) why() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures[:min(len(l.failures), 5)]
}

// keep asks over n kept-alive connections, on each once in every pause; 0: at once
// again. A connection whose end is announced is followed by another.
func (l *load) keep(n int, pause time.Duration, fields ...string) {
	for i := range n {
		l.all.Go(func() {
			c, err := dial(l.address)
			if err != nil {
				_ = l.note(nil, err)
				return
			}
			defer func() { c.Close() }()
			for turn := 0; l.pause(pause); turn++ {
				a, err := c.ask(l.method, fmt.Sprintf("/kept/%d/%d", i, turn), l.body, fields...)
				_ = l.note(a, err)
				if err == nil && !a.closing {
					continue
				}
				c.Close()
				if err != nil {
					return
				}
				next, err := dial(l.address)
				if err != nil {
					_ = l.note(nil, err)
					return
				}
				c = next
			}
		})
	}
}

// pause waits, and reports whether the load goes on.
func (l *load) pause(d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-l.stopped:
		case <-timer.C:
		}
	}
	return l.running()
}

// renew asks over a new connection each time, n times a second, without waiting
// for the answers of those before.
func (l *load) renew(n int, fields ...string) {
	l.all.Go(func() {
		ticker := time.NewTicker(time.Second / time.Duration(n))
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-l.stopped:
				return
			case <-ticker.C:
			}
			l.all.Go(func() {
				c, err := dial(l.address)
				if err != nil {
					_ = l.note(nil, err)
					return
				}
				defer c.Close()
				_ = l.note(c.ask(l.method, fmt.Sprintf("/new/%d", i), l.body, fields...))
			})
		}
	})
}

// awaitMore waits until n more requests are answered.
func (l *load) awaitMore(t *testing.T, n int) {
	t.Helper()
	before, _ := l.counts()
	await(t, fmt.Sprintf("%d more answers", n), func() bool { now, _ := l.counts(); return now >= before+n })
}

// end stops the load and fails the test if any request failed.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	answered, failed := l.counts()
	t.Logf("%d requests answered, %d failed", answered, failed)
	if failed > 0 {
		t.Errorf("got %d failed requests, such as %q; want none", failed, l.why())
	}
}
