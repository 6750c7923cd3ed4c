package worker

import (
	"bytes"
	"log/slog"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
)

const (
	stallLogEvery = time.Minute // at most one stall is logged in this time; all are counted
	stallLogBytes = 4 << 10     // of stacks
)

// watchStalls logs what the loop is doing when a turn of it takes too long. A
// machine that gives the process no time looks the same from here.
func watchStalls(l *loop.Loop, log *slog.Logger) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(loop.StallAfter)
		defer tick.Stop()
		var last time.Time
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if time.Since(last) < stallLogEvery {
				continue
			}
			if stacks := l.Stalled(); stacks != nil {
				last = time.Now()
				log.Warn("the loop is stalled, or starved", "stacks", string(busy(stacks)))
			}
		}
	}()
	return func() { close(done); <-ended }
}

// busy picks the stacks of the goroutines that do something, less the watcher's
// own, which comes first.
func busy(stacks []byte) []byte {
	var out []byte
	for i, s := range bytes.Split(stacks, []byte("\n\n")) {
		state, _, _ := bytes.Cut(s, []byte("\n"))
		if i == 0 || bytes.Contains(state, []byte("[coroutine")) || bytes.Contains(state, []byte("[chan")) ||
			bytes.Contains(state, []byte("[select")) || bytes.Contains(state, []byte("[IO wait")) {
			continue
		}
		if len(out)+len(s) > stallLogBytes {
			break
		}
		out = append(append(out, s...), "\n\n"...)
	}
	return out
}
