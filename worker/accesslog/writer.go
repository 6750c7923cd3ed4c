package accesslog

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// closeTimeout is how long Close lets the writer finish. The supervisor gives a
// worker a second after its last request.
const closeTimeout = 500 * time.Millisecond

// Replace makes fd, which f then owns, what lines are written to, and closes what
// was. Lines that wait go to fd; a write under way ends where it began, unless
// its reader has stalled. Any goroutine may call it, the loop too: it waits for
// nothing.
func (f *File) Replace(fd int) {
	unused := newOutput(fd)
	f.mu.Lock()
	if !f.closed {
		f.out, unused = unused, f.out
	}
	f.mu.Unlock()
	go unused.file.Close() // may wait for the disk, and the caller may be the loop
}

// Err returns why the last write failed, nil if it did not: the lines of that
// write are dropped and counted, and the next is tried all the same. Any
// goroutine may call it.
func (f *File) Err() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Close writes what there is, as far as half a second suffices, and closes the
// file. The loop must be done with f.
func (f *File) Close() {
	f.pass()
	close(f.full)
	f.mu.Lock()
	f.closed = true
	out := f.out
	f.mu.Unlock()
	_ = out.file.SetWriteDeadline(time.Now().Add(closeTimeout)) // impossible, and needless, unless it can be polled
	select {
	case <-f.written:
	case <-time.After(closeTimeout * 5 / 4): // a disk that hangs: the writer ends when that comes back
	}
}

func (f *File) current() *output {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out
}

// run is the writer.
func (f *File) run() {
	defer close(f.written)
	for batch := range f.full {
		f.write(batch)
		f.free <- batch[:1]
	}
	f.current().file.Close() // the last: f is closed, and takes no other
}

func (f *File) write(batch []byte) {
	for {
		rest, err := f.current().write(batch)
		if errors.Is(err, os.ErrClosed) { // by Replace
			batch = rest
			continue
		}
		if err != nil {
			f.dropped.Add(uint64(bytes.Count(rest[1:], newline)))
			failure := err // err itself would be allocated for each write
			f.failed.Store(&failure)
		} else if f.failed.Load() != nil {
			f.failed.Store(nil)
		}
		return
	}
}

var newline = []byte{'\n'}

// An output is what a descriptor leads to. Apart from closing, it is the
// writer's.
type output struct {
	file *os.File
	fifo bool
	torn bool // the last write ended in mid-line
}

// newOutput makes fd non-blocking, so that os.File waits for a FIFO's reader in
// the poller, where a deadline or Close ends the wait. A disk does not mind.
func newOutput(fd int) *output {
	var stat unix.Stat_t
	fifo := unix.Fstat(fd, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFIFO
	_ = syscall.SetNonblock(fd, true) // if that fails, so will the first write
	return &output{file: os.NewFile(uintptr(fd), "access log"), fifo: fifo}
}

// write writes a newline, needed only after a torn line, and the lines behind it.
// It returns what could not be written, in the same form, and why.
func (o *output) write(batch []byte) (rest []byte, err error) {
	at := 1
	if o.torn {
		at = 0
	}
	for at < len(batch) {
		n, err := o.file.Write(batch[at:o.end(batch, at)])
		at += n
		if n > 0 {
			o.torn = batch[at-1] != '\n'
		}
		if err != nil {
			return batch[bytes.LastIndexByte(batch[:max(at, 1)], '\n'):], err
		}
	}
	return nil, nil
}

// end returns where to end a write that starts at at. Files that are appended to
// take any write whole; a FIFO only what is within PIPE_BUF (pipe(7)), and more
// may mix with what other workers write.
func (o *output) end(batch []byte, at int) int {
	const pipeBuf = 4096
	if !o.fifo || len(batch)-at <= pipeBuf {
		return len(batch)
	}
	if n := bytes.LastIndexByte(batch[at:at+pipeBuf], '\n'); n > 0 {
		return at + n + 1
	}
	return at + pipeBuf + bytes.IndexByte(batch[at+pipeBuf:], '\n') + 1
}
