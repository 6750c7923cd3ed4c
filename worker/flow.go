package worker

import (
	"errors"
	"io"

	"github.com/proxyd/proxyd/worker/http1"
	"github.com/proxyd/proxyd/worker/loop"
)

// flowBudget is how many bytes a flow moves before the loop has another turn.
const flowBudget = 256 << 10

// A flowError is a failure of one side of a flow.
type flowError struct {
	src bool // of the side that sends the message; else of the side that takes it
	err error
}

func (e *flowError) Error() string { return e.err.Error() }
func (e *flowError) Unwrap() error { return e.err }

// fromSrc reports whether err is a failure of the side that sends.
func fromSrc(err error) bool {
	var f *flowError
	return errors.As(err, &f) && f.src
}

var (
	errTruncated = errors.New("connection closed before the end of the body")
	errTooLong   = errors.New("body is longer than allowed")
)

// A flow moves one message from src to dst: a head that is ready, then a body
// that is checked and framed anew. It never waits: step moves what can be moved,
// so that one coroutine serves both directions of an exchange at once. At most
// one buffer, or one pipe, of a body is held: while dst takes nothing, src is not read.
type flow struct {
	src, dst   *stream
	buf        []byte
	start, end int        // buf[start:end] is received and not yet framed
	out        vector     // framed and not yet taken by dst
	pipe       *loop.Pipe // what is received and not yet taken by dst, nil while that is nothing

	kind  http1.BodyKind // how src frames the body
	chunk bool           // dst gets it chunked
	last  bool           // dst is closed when f is done
	left  int64          // of a body by length
	limit int64          // body bytes allowed; 0: any number
	keep  bool           // buf has room for all of a body by length, which stays in it
	moved int64          // body bytes framed
	dec   http1.Chunked
	size  [20]byte // a chunk's size line
	tail  []byte   // what ends a chunk, and the body

	bulk    bool  // src is likely to have much to send at once
	fresh   bool  // out holds the head only
	refill  bool  // buf was written to since begin
	mixed   bool  // what was received has been moved within it
	ended   bool  // the whole body is framed
	done    bool  // and taken by dst
	onSrc   bool  // step stopped for want of input, not of room
	sent    bool  // dst has taken at least one byte
	partial bool  // step stopped because its budget was used up
	since   int64 // loop time of the last progress
}

// begin makes f ready to move head, then a body of which buf[:received] has come.
func (f *flow) begin(src, dst *stream, head, buf []byte, received int, now int64) {
	f.release()
	tail, dec := f.tail, f.dec
	*f = flow{src: src, dst: dst, buf: buf, end: received, tail: tail, dec: dec, since: now, fresh: true}
	f.out.add(head)
}

// intact reports whether begin can be called again with the same bytes.
func (f *flow) intact() bool { return (f.keep || !f.refill) && !f.mixed }

// body says how src frames the body, its length if that is how, and whether dst
// gets it chunked.
func (f *flow) body(kind http1.BodyKind, length int64, chunk bool) {
	f.kind, f.left, f.chunk = kind, length, chunk
	f.ended = kind == http1.BodyNone
	f.bulk = kind == http1.BodyLength && length >= spliceBytes
	if kind == http1.BodyChunked {
		f.dec.Reset()
	}
}

// step moves what can be moved without waiting. Errors are *flowError.
func (f *flow) step(now int64) error {
	f.partial = false
	for budget := flowBudget; !f.done; {
		if f.fresh && f.start < f.end && !f.ended {
			if err := f.frame(); err != nil { // to go out with the head, in one call
				return &flowError{true, err}
			}
		}
		f.fresh = false
		if f.out.n > 0 || f.pipe != nil || f.dst.unsent() {
			n, err := f.send()
			if n > 0 {
				f.sent, f.since = true, now
			}
			if err != nil {
				f.onSrc = false
				return err
			}
			budget -= n
			continue
		}
		if f.ended {
			f.done = true
			return nil
		}
		if budget <= 0 {
			f.partial = true
			return nil
		}
		if err := f.next(now); err != nil {
			f.onSrc = true
			return err
		}
	}
	return nil
}

// next receives more, if need be, and makes it ready to be sent.
func (f *flow) next(now int64) error {
	if f.start == f.end {
		if f.splices() {
			if ok, err := f.fill(); ok {
				if err == nil {
					f.since = now
				}
				return err
			}
		}
		if err := f.receive(); err != nil {
			return err
		}
		f.since = now
	}
	if err := f.frame(); err != nil {
		return &flowError{true, err}
	}
	return nil
}

// blocked reports whether err of step only means that it has to wait.
func blocked(err error) bool { return err == loop.ErrAgain }

func (f *flow) send() (int, error) {
	err := f.dst.flush()
	n := 0
	switch {
	case err != nil:
	case f.pipe != nil:
		n, err = f.drain()
	case f.out.n > 0:
		if f.last && f.ended {
			n, err = f.dst.tryWriteLast(&f.out)
		} else {
			n, err = f.dst.tryWrite(&f.out)
		}
		f.out.consume(n)
	}
	if err != nil && err != loop.ErrAgain {
		err = &flowError{false, err}
	}
	return n, err
}

func (f *flow) receive() error {
	f.refill = true
	if !f.keep {
		f.start, f.end = 0, 0
	}
	room := f.buf[f.end:]
	n, err := f.src.tryRead(room)
	f.end += n
	f.bulk = n >= bulkBytes || n == len(room)
	return f.received(err)
}

// received turns err of a read into one of step's.
func (f *flow) received(err error) error {
	switch {
	case err == nil, err == loop.ErrAgain:
		return err
	case err != io.EOF:
		return &flowError{true, err}
	case f.kind == http1.BodyUntilClose:
		f.ended = true
		return nil
	}
	return &flowError{true, errTruncated}
}

// frame puts what was received into out.
func (f *flow) frame() error {
	var data []byte
	switch f.kind {
	case http1.BodyLength:
		n := int(min(f.left, int64(f.end-f.start)))
		data = f.buf[f.start : f.start+n]
		f.start += n
	case http1.BodyUntilClose:
		data = f.buf[f.start:f.end]
		f.start = f.end
		f.ended = len(data) == 0
	case http1.BodyChunked:
		var err error
		if data, err = f.dechunk(); err != nil {
			return err
		}
	}
	if err := f.count(len(data)); err != nil {
		return err
	}
	if !f.chunk {
		f.out.add(data)
		return nil
	}
	f.tail = f.tail[:0]
	if len(data) > 0 {
		f.out.add(http1.AppendChunkHeader(f.size[:0], len(data)))
		f.out.add(data)
		f.tail = append(f.tail, "\r\n"...)
	}
	if f.ended {
		var trailers []byte
		if f.kind == http1.BodyChunked {
			trailers = f.dec.Trailers()
		}
		f.tail = http1.AppendLastChunk(f.tail, trailers)
	}
	f.out.add(f.tail)
	return nil
}

// count notes that n more bytes of the body have come.
func (f *flow) count(n int) error {
	if f.kind == http1.BodyLength {
		f.left -= int64(n)
		f.ended = f.left == 0
	}
	if f.moved += int64(n); f.limit > 0 && f.moved > f.limit {
		return errTooLong
	}
	return nil
}

// dechunk decodes all that was received and gathers the data of its chunks, so
// that however small they came, they go on as one.
func (f *flow) dechunk() (data []byte, err error) {
	for f.start < f.end && !f.ended {
		piece, n, done, err := f.dec.Next(f.buf[f.start:f.end])
		if err != nil {
			return nil, err
		}
		f.start += n
		f.ended = done
		switch {
		case data == nil:
			data = piece
		case len(piece) > 0:
			data = append(data, piece...) // moves within buf, over bytes already decoded
			f.mixed = true
		}
	}
	return data, nil
}

// rest returns what was received behind the end of the message.
func (f *flow) rest() []byte { return f.buf[f.start:f.end] }
