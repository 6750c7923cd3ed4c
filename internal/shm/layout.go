package shm

import (
	"sync/atomic"
	"unsafe"
)

const (
	magic = uint64('p') | 'r'<<8 | 'o'<<16 | 'x'<<24 | 'y'<<32 | 'd'<<40 | 's'<<48 | 'h'<<56

	// A process refuses a segment of another major layout. A minor change only
	// appends, or gives a meaning to a word that was spare and zero.
	layoutMajor = 1
	layoutMinor = 1

	pageSize = 4096 // of the layout; the kernel's may be larger

	// segmentSize is address space, not memory: a page costs nothing until it
	// is touched. It bounds the sum of what Words has ever handed out.
	segmentSize = 4 << 30

	maxServers = 8192 // health cells; a power of two
	maxRegions = 1024 // regions of Words; a power of two
)

// layout is the start of the segment; what follows it is the arena of Words.
type layout struct {
	header   header
	decision Decision
	slots    [MaxSlots]Slot
	servers  [maxServers]Server
	regions  [maxRegions]region
}

// arenaStart is where Words begins to hand out memory, in bytes.
const arenaStart = (unsafe.Sizeof(layout{}) + pageSize - 1) &^ (pageSize - 1)

// header is written once, by the creator, before any other process can see the
// segment; only arena changes afterwards.
type header struct {
	magic   uint64
	layout  uint64 // major<<32 | minor
	size    uint64 // of the whole segment, in bytes
	seed    uint64 // of every hash whose result is kept in the segment
	creator uint64 // pid, for people who look at it
	created uint64 // Unix time in ns, for people who look at it
	arena   atomic.Uint64
	_       [pageSize - 7*8]byte
}

// words makes n words at byte offset off of the mapping; the caller has checked
// the bounds.
func (s *Segment) words(off uint64, n int) []atomic.Uint64 {
	return unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&s.data[off])), n)
}

// at lays the layout over the mapping.
func at(data []byte) *layout {
	return (*layout)(unsafe.Pointer(unsafe.SliceData(data)))
}
