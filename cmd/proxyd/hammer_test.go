package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A hammer keeps asking for a page over kept-alive and over new connections and
// counts what is not a whole 200.
type hammer struct {
	url     string
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu       sync.Mutex
	requests int
	failed   int
	slow     int    // answered, after more than a second
	why      string // the first failure
}

// cmdHammer puts load on a proxy while the script does something to it.
//
//	hammer start [-kept N] [-new N] URL   N clients with a kept-alive connection, N that connect anew each time
//	hammer stop                           prints requests=N failed=N slow=N
func cmdHammer(ts *testscript.TestScript, neg bool, args []string) {
	mustNotNegate(ts, neg, "hammer")
	state := stateOf(ts)
	switch {
	case len(args) > 0 && args[0] == "start" && state.hammer == nil:
		flags := flag.NewFlagSet("hammer start", flag.ContinueOnError)
		kept := flags.Int("kept", 4, "")
		fresh := flags.Int("new", 2, "")
		args = parse(ts, flags, args[1:], 1, 1)
		h := startHammer(args[0], *kept, *fresh)
		ts.Defer(h.stop)
		state.hammer = h
		if !within(patience, func() bool { requests, _ := h.counts(); return requests >= 10 }) {
			_, text := h.counts()
			ts.Fatalf("hammer: no load after %v: %s", patience, text)
		}
	case len(args) == 1 && args[0] == "stop" && state.hammer != nil:
		state.hammer.stop()
		_, text := state.hammer.counts()
		fmt.Fprintln(ts.Stdout(), text)
		state.hammer = nil
	default:
		ts.Fatalf("usage: hammer start [-kept N] [-new N] URL, then hammer stop")
	}
}

func startHammer(url string, kept, fresh int) *hammer {
	ctx, cancel := context.WithCancel(context.Background())
	h := &hammer{url: url, cancel: cancel}
	for i := range kept + fresh {
		client := &http.Client{
			Transport: &http.Transport{DisableKeepAlives: i >= kept},
			Timeout:   10 * time.Second,
		}
		h.workers.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				h.strike(client)
			}
		})
	}
	return h
}

// stop lets requests in progress end; they count.
func (h *hammer) stop() {
	h.cancel()
	h.workers.Wait()
}

// strike makes one request, which a stop does not cut short.
func (h *hammer) strike(client *http.Client) {
	began := time.Now()
	err := ask(client, h.url)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests++
	if err != nil {
		h.failed++
		if h.why == "" {
			h.why = err.Error()
		}
	} else if time.Since(began) > time.Second {
		h.slow++
	}
}

// ask posts, because Go's client makes a GET again by itself if a kept-alive
// connection breaks, and so hides what the hammer is after.
func ask(client *http.Client, url string) error {
	response, err := client.Post(url, "text/plain", strings.NewReader("hammer"))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		return errors.New(response.Status)
	case len(body) == 0:
		return errors.New("empty body")
	}
	return nil
}

func (h *hammer) counts() (requests int, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests, fmt.Sprintf("requests=%d failed=%d slow=%d %s", h.requests, h.failed, h.slow, h.why)
}
