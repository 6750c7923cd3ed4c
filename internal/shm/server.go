package shm

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// MaxServers bounds the servers that a segment can know.
const MaxServers = maxServers

// A Server is what all workers know of one server of one upstream. Zero words
// mean that nothing is known. What they hold is package lb's affair.
type Server struct {
	key    atomic.Uint64 // hash of upstream and address; 0: the cell is free
	Health atomic.Uint64 // state, streaks, time of the last change, reason
	Lease  atomic.Uint64 // who probes it, and until when that holds
	Due    atomic.Uint64 // when it is to be probed next
	Avoid  atomic.Uint64 // until when it is passed over after a failed connect
	Admin  atomic.Uint64 // what the operator says of it: state, weight
	Eject  atomic.Uint64 // errors in a row, and until when it is ejected for them
	_      [1]uint64     // spare, zero
}

// Server finds the cell of a server, or claims one for it. Cells are kept until
// the segment goes, so that a server which a reload drops and another one brings
// back is known.
func (s *Segment) Server(upstream, address string) (*Server, error) {
	key := s.Hash(upstream, []byte(address)) | 1 // never 0
	for i := range uint64(maxServers) {
		c := &s.layout.servers[(key>>1+i)%maxServers]
		// Losing the claim to the same server is finding it. A killed
		// claimant leaves an empty cell that bears its name.
		if c.key.Load() == key || c.key.CompareAndSwap(0, key) || c.key.Load() == key {
			return c, nil
		}
	}
	return nil, fmt.Errorf("find cell of server %s of upstream %s: shared segment full: it has known %d servers; a restart frees it",
		address, upstream, maxServers)
}

// Index is the place of a cell that Server returned, less than MaxServers and
// the same in every process: for tables beside that have a row for each server.
func (s *Segment) Index(c *Server) int {
	first := uintptr(unsafe.Pointer(&s.layout.servers[0]))
	return int((uintptr(unsafe.Pointer(c)) - first) / unsafe.Sizeof(*c))
}
