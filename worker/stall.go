package worker

import (
	"bytes"
	"log/slog"
	"syscall"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
)

const (
	stallLogEvery = time.Minute // at most one stall is logged in this time; all are counted
	stallLogBytes = 4 << 10     // of stacks
)

// watchStalls logs what the loop is doing when a turn of it takes too long, unless
// the machine is too busy to let the process run: such a turn is only counted.
func watchStalls(l *loop.Loop, log *slog.Logger) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(loop.StallAfter)
		defer tick.Stop()
		var last time.Time
		var before, preempted int64
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			before, preempted = preempted, preemptions()
			if preempted != before || time.Since(last) < stallLogEvery {
				continue
			}
			if stacks := l.Stalled(); stacks != nil {
				last = time.Now()
				log.Warn("the loop is stalled", "stacks", string(busy(stacks)))
			}
		}
	}()
	return func() { close(done); <-ended }
}

// preemptions is how often the kernel has taken a processor from this process.
func preemptions() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for ourselves
	return u.Nivcsw
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
