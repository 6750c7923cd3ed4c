package worker

import (
	"math"

	"github.com/proxyd/proxyd/worker/http1"
)

const (
	spliceBytes = 64 << 10 // of a body, from which on it is spliced from its beginning
	bulkBytes   = 16 << 10 // in one read, from which on the next is by splicing
)

// splices reports whether the next bytes of the body go through a pipe: those of
// a plain connection, that plain connection takes as they are. A trickle and an
// end are copied: it costs a call less, for a short read says that the source is
// drained.
func (f *flow) splices() bool {
	switch {
	case !f.bulk, f.keep, f.chunk, !f.src.plain(), !f.dst.plain():
		return false
	case f.kind == http1.BodyLength:
		return f.left >= bulkBytes
	}
	return f.kind == http1.BodyUntilClose
}

// fill receives into a pipe, and reports whether there was one to be had.
func (f *flow) fill() (ok bool, err error) {
	p := f.src.Loop().TakePipe()
	if p == nil {
		return false, nil
	}
	most := int64(math.MaxInt32) // p sees to it that this is too much
	if f.kind == http1.BodyLength {
		most = min(most, f.left)
	}
	n, err := p.Fill(&f.src.Conn, int(most))
	if err != nil {
		p.Release()
		return true, f.received(err)
	}
	f.pipe, f.refill, f.bulk = p, true, n >= bulkBytes
	if err := f.count(n); err != nil {
		return true, &flowError{true, err}
	}
	return true, nil
}

// drain sends what is in the pipe.
func (f *flow) drain() (int, error) {
	n, err := f.pipe.Drain(&f.dst.Conn)
	if f.pipe.Held() == 0 {
		f.release()
	}
	return n, err
}

// release gives up the pipe, which is f's only while it holds bytes.
func (f *flow) release() {
	if f.pipe != nil {
		f.pipe.Release()
		f.pipe = nil
	}
}

// releasePipes gives up what flows that were broken off have left.
func (x *exchange) releasePipes() {
	x.up.release()
	x.down.release()
}
