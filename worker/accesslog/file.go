package accesslog

import (
	"sync"
	"sync/atomic"
)

const (
	batchBytes = 64 << 10
	maxBatches = 32 // 2 MiB: 50 ms of a worker's utmost, half a second at 10,000 requests/s
)

// A File is an access log of one worker.
type File struct {
	dropped *atomic.Uint64 // lines

	// The loop's.
	calendar calendar
	batch    []byte // what the loop fills: a newline, and lines; nil: none
	batches  int    // made so far

	// Between the two sides; either channel has room for all batches.
	full, free chan []byte
	written    chan struct{} // closed when the writer ends

	failed atomic.Pointer[error] // how the last write ended; nil: well

	mu     sync.Mutex // guards what follows, a pointer at a time
	out    *output
	closed bool
}

// NewFile returns a log that writes to fd, which it owns and makes non-blocking,
// and adds to dropped each line that it could not write. Its goroutine ends with
// Close.
func NewFile(fd int, dropped *atomic.Uint64) *File {
	f := &File{
		dropped:  dropped,
		calendar: newCalendar(),
		full:     make(chan []byte, maxBatches),
		free:     make(chan []byte, maxBatches),
		written:  make(chan struct{}),
		out:      newOutput(fd),
	}
	go f.run()
	return f
}

// JSON adds a line with r as a JSON object. It is for the loop only, as are
// Combined, Line and Tick; none of them waits or, in the steady state, allocates.
func (f *File) JSON(r *Record) {
	if f.room() {
		f.add(f.calendar.appendJSON(f.batch, r))
	}
}

// Combined adds a line with r in the combined format of Apache and nginx.
func (f *File) Combined(r *Record) {
	if f.room() {
		f.add(f.calendar.appendCombined(f.batch, r))
	}
}

// Line adds b as a line, up to 16 KiB of it. Bytes that could end the line or
// command a terminal are escaped; tabs stand.
func (f *File) Line(b []byte) {
	if f.room() {
		f.add(appendText(f.batch, b, lineBytes-1, inLine))
	}
}

// Tick passes a partly filled batch to the writer, for lines to reach the file
// when there are few of them. While the writer is behind, the batch goes on
// filling instead: small ones would use up all there are.
func (f *File) Tick() {
	if len(f.full) == 0 {
		f.pass()
	}
}

// room reports whether the batch has room for a line, and counts one as dropped
// otherwise.
func (f *File) room() bool {
	if cap(f.batch)-len(f.batch) >= lineBytes {
		return true
	}
	f.pass()
	select {
	case f.batch = <-f.free:
		return true
	default:
	}
	if f.batches == maxBatches {
		f.dropped.Add(1)
		return false
	}
	f.batches++
	f.batch = append(make([]byte, 0, batchBytes), '\n')
	return true
}

func (f *File) add(batch []byte) { f.batch = append(batch, '\n') }

// pass gives what the batch holds to the writer.
func (f *File) pass() {
	if len(f.batch) > 1 {
		f.full <- f.batch
		f.batch = nil
	}
}
