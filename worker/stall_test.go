package worker

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
)

// A turn that blocks is logged with what it does, and goroutines that only wait
// are not.
func TestStallIsLogged(t *testing.T) {
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Run() }()
	log := new(lockedBuffer)
	stop := watchStalls(l, slog.New(slog.NewTextHandler(log, nil)))
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(log.String(), "blockTheLoop") && time.Now().Before(deadline) {
		done := make(chan bool)
		l.Post(func() { blockTheLoop(); close(done) })
		<-done // again and again: a busy machine may hide one
	}
	stop()
	l.Stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	l.Close()
	if got := log.String(); !strings.Contains(got, "the loop is stalled") || !strings.Contains(got, "blockTheLoop") {
		t.Errorf("log %q; want the stall and its stack", got)
	}
}

//go:noinline
func blockTheLoop() { time.Sleep(4 * loop.StallAfter) }
