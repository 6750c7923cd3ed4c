package worker

import (
	"io"
	"log/slog"

	"github.com/proxyd/proxyd/internal/shm"
)

// eventQueue is how many lines may wait for a slow reader of the log.
const eventQueue = 1024

// events is an io.Writer that never blocks, for the lines of the worker's log:
// a goroutine writes them; what it cannot keep up with is dropped and counted.
type events struct {
	lines   chan []byte // nil asks for flushed to be closed
	flushed chan struct{}
	shared  *shm.Slot
}

// newLog returns a logger on w, and what to flush before the process ends.
func newLog(w io.Writer, shared *shm.Slot) (*slog.Logger, *events) {
	e := &events{lines: make(chan []byte, eventQueue), flushed: make(chan struct{}), shared: shared}
	go func() {
		for line := range e.lines {
			if line == nil {
				close(e.flushed)
				return
			}
			_, _ = w.Write(line) // if the supervisor is gone, nobody is left to tell
		}
	}()
	return slog.New(slog.NewTextHandler(e, nil)), e
}

func (e *events) Write(line []byte) (int, error) {
	select {
	case e.lines <- append([]byte(nil), line...):
	default:
		e.shared.Counters[shm.LogDropped].Add(1)
	}
	return len(line), nil
}

// flush waits until what was logged so far is written, and ends the goroutine.
func (e *events) flush() {
	e.lines <- nil
	<-e.flushed
}
