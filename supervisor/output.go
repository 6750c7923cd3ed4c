package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the log on its way.
const (
	maxQueued  = 4 << 20 // bytes of log that may wait for a slow disk or pipe
	maxLine    = 64 << 10
	flushLimit = 2 * time.Second
)

// An output is where the log goes: the supervisor's own lines and those of the
// workers. Write never waits for the disk or for a reader of standard error,
// and so cannot hold up the supervisor: what does not fit is dropped, and the
// log says how much. All methods may be called by any goroutine, Close by the
// last.
type output struct {
	path    string // "": to w only
	std     bool   // the file is standard output and error too, where a panic of ours goes
	queue   chan entry
	queued  atomic.Int64 // bytes
	dropped atomic.Int64 // lines
	closing sync.Once
	done    chan struct{}
}

type entry struct {
	line   []byte
	reopen bool
}

// newOutput opens the file at path, or takes w if path is "". With std the file
// becomes standard output and error too.
func newOutput(path string, w io.Writer, std bool) (*output, error) {
	o := &output{path: path, std: std, queue: make(chan entry, 4096), done: make(chan struct{})}
	if path != "" {
		f, err := o.open()
		if err != nil {
			return nil, err
		}
		w = f
	}
	go o.run(w)
	return o, nil
}

func (o *output) open() (*os.File, error) {
	// Opening a FIFO would else wait for its reader, and the start or the log with it.
	f, err := os.OpenFile(o.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o640)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	if o.std {
		err = errors.Join(unix.Dup3(int(f.Fd()), 1, 0), unix.Dup3(int(f.Fd()), 2, 0))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("log %s: %w", o.path, err)
	}
	return f, nil
}

// Write queues a copy of p, which is one or more lines. It never fails.
func (o *output) Write(p []byte) (int, error) {
	if o.queued.Add(int64(len(p))) <= maxQueued {
		select {
		case o.queue <- entry{line: bytes.Clone(p)}:
			return len(p), nil
		default:
		}
	}
	o.queued.Add(-int64(len(p)))
	o.dropped.Add(1)
	return len(p), nil
}

// Reopen opens the file anew, after someone has renamed the old one.
func (o *output) Reopen() {
	if o.path == "" {
		return
	}
	select {
	case o.queue <- entry{reopen: true}:
	default:
		o.dropped.Add(1) // so far behind that the disk is the problem
	}
}

// Close writes what is queued, but does not wait for ever.
func (o *output) Close() {
	o.closing.Do(func() { close(o.queue) })
	select {
	case <-o.done:
	case <-time.After(flushLimit):
	}
}

// run owns w. A write that fails has nowhere to be told.
func (o *output) run(w io.Writer) {
	defer close(o.done)
	for e := range o.queue {
		if e.reopen {
			w = o.reopen(w)
			continue
		}
		_, _ = w.Write(e.line)
		o.queued.Add(-int64(len(e.line)))
		if n := o.dropped.Swap(0); n > 0 {
			_, _ = fmt.Fprintf(w, "level=WARN msg=\"log lines dropped: the log could not be written fast enough\" lines=%d\n", n)
		}
	}
	if o.path != "" {
		_ = w.(*os.File).Close()
	}
}

func (o *output) reopen(old io.Writer) io.Writer {
	f, err := o.open()
	if err != nil {
		_, _ = fmt.Fprintf(old, "level=ERROR msg=\"log not reopened, the old file stays\" error=%q\n", err)
		return old
	}
	_ = old.(*os.File).Close()
	return f
}
