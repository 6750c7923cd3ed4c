package shm

import (
	"encoding/binary"
	"sync/atomic"
)

// A Decision is the record of what is in force: what a supervisor has decided
// before it tells the workers, and what the next supervisor goes by if that one
// dies between. The supervisor writes, all may read.
type Decision struct {
	state       atomic.Uint64 // config<<1 | which of digests and generations goes with it
	digests     [2][4]atomic.Uint64
	generations [2]atomic.Uint64
	incarnation atomic.Uint64
	_           [pageSize - 12*8]byte
}

// A Record is what is in force.
type Record struct {
	Config     uint64 // number of the configuration; 0: none yet
	Digest     [32]byte
	Generation uint32 // of the workers that are to serve
}

// Decision is the segment's decision record.
func (s *Segment) Decision() *Decision { return &s.layout.decision }

// Commit records that r is in force. One process at a time may call it. The
// record goes into the half that no reader looks at, then one store makes all of
// it visible: a kill between leaves the old.
func (d *Decision) Commit(r Record) {
	half := ^d.state.Load() & 1
	for i := range d.digests[half] {
		d.digests[half][i].Store(binary.NativeEndian.Uint64(r.Digest[i*8:]))
	}
	d.generations[half].Store(uint64(r.Generation))
	d.state.Store(r.Config<<1 | half)
}

// Committed is what is in force.
func (d *Decision) Committed() Record {
	for {
		var r Record
		state := d.state.Load()
		half := state & 1
		for i := range d.digests[half] {
			binary.NativeEndian.PutUint64(r.Digest[i*8:], d.digests[half][i].Load())
		}
		r.Generation = uint32(d.generations[half].Load())
		if d.state.Load() == state {
			r.Config = state >> 1
			return r
		}
	}
}

// Incarnation counts the supervisors that have owned the segment, from 1.
func (d *Decision) Incarnation() uint64 { return d.incarnation.Load() }

// Own is called by a supervisor that becomes the owner. It returns its incarnation.
func (d *Decision) Own() uint64 { return d.incarnation.Add(1) }
