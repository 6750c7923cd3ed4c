package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const soakBytes = 4 << 20 // the largest body

// soakText is what all bodies are parts of.
var soakText = string(text(soakBytes))

// A soak is clients of all kinds, and what became of their requests.
type soak struct {
	address string
	stopped chan struct{}
	all     sync.WaitGroup

	mu       sync.Mutex
	answered map[string]int // by kind
	aborted  int
	failures []failure
	deaths   []period
}

// A period is when something was so.
type period struct{ from, to time.Time }

func (s period) overlaps(other period) bool {
	return !s.from.After(other.to) && !other.from.After(s.to)
}

// A failure is a request, or a WebSocket, that did not go as it should.
type failure struct {
	period
	what string
	err  error
}

// errCut is what a client sees of a request whose server dies under it.
var errCut = errors.New("cut")

func newSoak(t *testing.T, address string) *soak {
	s := &soak{address: address, stopped: make(chan struct{}), answered: make(map[string]int)}
	t.Cleanup(s.stop)
	return s
}

// run starts the clients.
func (s *soak) run() {
	for range 8 {
		s.all.Go(s.keep)
	}
	for range 4 {
		s.all.Go(s.renew)
		s.all.Go(s.abort)
		s.all.Go(s.converse)
	}
}

// stop lets what is in progress end. It may be called twice.
func (s *soak) stop() {
	if !s.over() {
		close(s.stopped)
	}
	s.all.Wait()
}

func (s *soak) over() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

// pause waits for up to 20ms, and reports whether the soak goes on.
func (s *soak) pause() bool {
	timer := time.NewTimer(rand.N(20 * time.Millisecond))
	defer timer.Stop()
	select {
	case <-s.stopped:
	case <-timer.C:
	}
	return !s.over()
}

// died notes that a server died.
func (s *soak) died(from, to time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaths = append(s.deaths, period{from, to})
}

// note counts what began at a time and ends now.
func (s *soak) note(kind, what string, began time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.answered[kind]++
		return
	}
	s.failures = append(s.failures, failure{period{began, time.Now()}, kind + " " + what, err})
}

// end stops the soak and fails the test for each failure that no death of a
// server explains: one that was cut while a server died.
func (s *soak) end(t *testing.T) {
	t.Helper()
	s.stop()
	explained := make(map[string]int)
	for _, f := range s.failures {
		cause := false
		for _, death := range s.deaths {
			cause = cause || death.overlaps(f.period)
		}
		if cause && errors.Is(f.err, errCut) {
			explained[f.err.Error()]++
			continue
		}
		t.Errorf("%s: got %v after %v; want it answered (a server died meanwhile: %v)", f.what, f.err, f.to.Sub(f.from), cause)
	}
	t.Logf("answered: %v; aborted as planned: %d; failed as their server died: %v", s.answered, s.aborted, explained)
	for _, kind := range []string{"kept", "new", "socket"} {
		if s.answered[kind] == 0 {
			t.Errorf("%s: got none answered; want some", kind)
		}
	}
}

// A soakJob is a request and what its answer must hold.
type soakJob struct{ method, target, body, want string }

// newJob makes up a request. Small bodies are as frequent as large ones.
func newJob() soakJob {
	n := rand.N(1 + soakBytes>>rand.N(23))
	from := rand.N(soakBytes - n + 1)
	part := soakText[from : from+n]
	switch rand.N(4) {
	case 0:
		return soakJob{http.MethodPost, "/echo", part, part}
	case 1:
		return soakJob{http.MethodPost, "/sum", part, fmt.Sprintf("%x", sha256.Sum256([]byte(part)))}
	default:
		return soakJob{http.MethodGet, fmt.Sprintf("/get?from=%d&n=%d", from, n), "", part}
	}
}

func (j soakJob) String() string {
	return fmt.Sprintf("%s %s, %d bytes there, %d back", j.method, j.target, len(j.body), len(j.want))
}

// do carries j out on c, and reports whether c can carry another.
func (j soakJob) do(c *client) (again bool, err error) {
	sent := make(chan error, 1)
	go func() { sent <- c.send(request(j.method, j.target, j.body)) }()
	a, err := c.receive(j.method)
	if err != nil || a.closing {
		c.Close() // which ends the sending too
	}
	unsent := <-sent
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, err
	case err != nil && a == nil:
		return false, fmt.Errorf("%w without an answer: %w", errCut, err)
	case a.status == http.StatusBadGateway:
		return !a.closing, fmt.Errorf("%w: 502", errCut)
	case err != nil:
		return false, fmt.Errorf("%w in the answer", errCut)
	case a.status != http.StatusOK || a.body != j.want:
		return false, fmt.Errorf("%d with %d bytes", a.status, len(a.body))
	}
	return !a.closing && unsent == nil, nil
}

// keep asks over one connection for as long as that lasts, then over the next.
func (s *soak) keep() {
	var c *client
	for s.pause() {
		j, began := newJob(), time.Now()
		var err error
		if c == nil {
			if c, err = dial(s.address); err != nil {
				s.note("kept", "connect", began, err)
				continue
			}
		}
		again, err := j.do(c)
		s.note("kept", j.String(), began, err)
		if !again {
			c.Close()
			c = nil
		}
	}
	if c != nil {
		c.Close()
	}
}

// renew asks over a new connection each time.
func (s *soak) renew() {
	for s.pause() {
		j, began := newJob(), time.Now()
		c, err := dial(s.address)
		if err == nil {
			_, err = j.do(c)
			c.Close()
		}
		s.note("new", j.String(), began, err)
	}
}

// abort leaves somewhere in the middle of a request or of its answer.
func (s *soak) abort() {
	for s.pause() {
		j, began := newJob(), time.Now()
		c, err := dial(s.address)
		if err != nil {
			s.note("aborted", "connect", began, err)
			continue
		}
		sent := request(j.method, j.target, j.body)
		if rand.N(2) == 0 {
			sent = sent[:rand.N(len(sent))]
		}
		// Neither need succeed: there may be an early answer, or a dead server.
		if c.send(sent) == nil && rand.N(2) == 0 {
			_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond)) // half a request has no answer
			_, _ = io.CopyN(io.Discard, c.r, int64(rand.N(len(j.want)+1)))
		}
		if rand.N(2) == 0 {
			abort(c.Conn)
		}
		c.Close()
		s.mu.Lock()
		s.aborted++
		s.mu.Unlock()
	}
}

// converse opens one WebSocket after the other and has messages echoed.
func (s *soak) converse() {
	for s.pause() {
		began := time.Now()
		s.note("socket", "conversation", began, s.conversation())
	}
}

func (s *soak) conversation() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, r, err := websocket.Dial(ctx, "ws://"+s.address+"/socket", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: new(net.Dialer).DialContext}},
	})
	switch {
	case r != nil && r.StatusCode == http.StatusBadGateway:
		return fmt.Errorf("%w: 502", errCut)
	case err != nil:
		return err
	}
	defer c.CloseNow()
	c.SetReadLimit(soakBytes)
	for range 1 + rand.N(100) {
		n := rand.N(1 + (1<<20)>>rand.N(20))
		from := rand.N(soakBytes - n + 1)
		message := []byte(soakText[from : from+n])
		err := c.Write(ctx, websocket.MessageText, message)
		var got []byte
		if err == nil {
			_, got, err = c.Read(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("%w in a WebSocket", errCut)
		case !bytes.Equal(got, message):
			return fmt.Errorf("%d bytes back; want the same %d", len(got), n)
		}
		if !s.pause() {
			break
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		return fmt.Errorf("%w at the close", errCut)
	}
	return nil
}
