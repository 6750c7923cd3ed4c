package shm

import (
	"encoding/binary"
	"sync/atomic"
)

// A Decision is the record of the configuration that is in force: what a reload
// has decided before it tells the workers. The supervisor writes, all may read.
type Decision struct {
	state   atomic.Uint64 // number<<1 | which of digests goes with it
	digests [2][4]atomic.Uint64
	_       [pageSize - 9*8]byte
}

// Decision is the segment's decision record.
func (s *Segment) Decision() *Decision { return &s.layout.decision }

// Commit records that configuration number config, with that digest, is in force.
// One process at a time may call it. The digest goes into the half that no reader
// looks at, then one store makes both visible: a kill between leaves the old.
func (d *Decision) Commit(config uint64, digest [32]byte) {
	half := ^d.state.Load() & 1
	for i := range d.digests[half] {
		d.digests[half][i].Store(binary.NativeEndian.Uint64(digest[i*8:]))
	}
	d.state.Store(config<<1 | half)
}

// Committed is the number and the digest of the configuration in force. Number 0
// is none yet.
func (d *Decision) Committed() (config uint64, digest [32]byte) {
	for {
		state := d.state.Load()
		for i := range d.digests[state&1] {
			binary.NativeEndian.PutUint64(digest[i*8:], d.digests[state&1][i].Load())
		}
		if d.state.Load() == state {
			return state >> 1, digest
		}
	}
}
