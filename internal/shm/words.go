package shm

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// A region is an entry in the directory of Words.
type region struct {
	key    atomic.Uint64 // hash of name and size; 0: free
	offset atomic.Uint64 // where it is in the segment, in bytes; 0: not allocated yet
}

// Words finds the region of that name and size, or allocates it: n words, zero
// at first, on a page boundary. The size is part of its identity: the same name
// with another n is another region. Regions are kept until the segment goes.
func (s *Segment) Words(name string, n int) ([]atomic.Uint64, error) {
	words, err := s.find(name, n)
	if err != nil {
		return nil, fmt.Errorf("allocate %s in shared segment: %w", name, err)
	}
	return words, nil
}

func (s *Segment) find(name string, n int) ([]atomic.Uint64, error) {
	if n <= 0 || n > segmentSize/8 {
		return nil, fmt.Errorf("%d words is not between 1 and %d", n, segmentSize/8)
	}
	r, err := s.region(name, n)
	if err != nil {
		return nil, err
	}
	bytes := (uint64(n)*8 + pageSize - 1) &^ (pageSize - 1)
	if r.offset.Load() == 0 {
		if err := s.allocate(r, bytes); err != nil {
			return nil, err
		}
	}
	off := r.offset.Load()
	if off < uint64(arenaStart) || off > s.size() || s.size()-off < bytes {
		return nil, fmt.Errorf("segment is damaged: it puts %d bytes at %d", bytes, off)
	}
	return s.words(off, n), nil
}

func (s *Segment) region(name string, n int) (*region, error) {
	size := binary.LittleEndian.AppendUint64(nil, uint64(n))
	key := s.Hash(name, size) | 1 // never 0
	for i := range uint64(maxRegions) {
		r := &s.layout.regions[(key>>1+i)%maxRegions]
		if r.key.Load() == key || r.key.CompareAndSwap(0, key) || r.key.Load() == key {
			return r, nil
		}
	}
	return nil, fmt.Errorf("its directory is full: it has held %d regions; a restart frees it", maxRegions)
}

// allocate gives r its place. Whoever finds it without one may: the claimant of
// the entry may be dead. A place is taken from the arena first and written into
// the entry second, so that a process killed in between wastes address space and
// nothing else; so does the one of two that is second to write it.
func (s *Segment) allocate(r *region, bytes uint64) error {
	arena := &s.layout.header.arena
	for {
		off := arena.Load()
		if off > s.size() || s.size()-off < bytes {
			return fmt.Errorf("%d of its %d bytes are taken, %d are wanted; a restart frees it", off, s.size(), bytes)
		}
		if !arena.CompareAndSwap(off, off+bytes) {
			continue
		}
		if !r.offset.CompareAndSwap(0, off) {
			arena.CompareAndSwap(off+bytes, off) // give it back if it is still the last
		}
		return nil
	}
}

func (s *Segment) size() uint64 { return uint64(len(s.data)) }
