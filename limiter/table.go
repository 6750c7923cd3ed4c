package limiter

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// The exact tables
//
// A table is an array of buckets. A bucket is one cache line: a header word and
// seven slots, and a key belongs to one bucket. The header is the window that the
// bucket is in, a number that only grows. A slot is
//
//	fingerprint of the key: 28 bits | its window mod 16: 4 bits | count: 32 bits
//
// or, where no count can be above a million, 40, 4 and 20 bits. It lives if it is
// of the header's window and not zero. All other slots are free.
//
// A key whose bucket is full is looked for in the next table, and after the last
// in the sketch. The first table is small, so that a limit with some thousands of
// keys stays in the processor's caches and within 256 KiB; the second has
// room for all of the rule's keys.
//
// Why it is exact across processes, from one window to the next: while a bucket
// is in window w, no slot that lives changes its key. A key is looked for in slot
// order and takes the first slot that does not live, so those that live come
// first, and two processes that bring the same new key meet at the same slot. One
// of them wins the compare-and-swap and the other begins again, and finds the
// key. A bucket that is full in w stays so in w, so that a key which had to go on
// to the next table once in w always has to. A key thus has one place in w, and
// every request admitted is one successful compare-and-swap of it from n-1 to n,
// with n <= limit.
//
// No process goes by its own clock if a header is ahead: it begins again, in the
// header's window and in the first table, where the key may now find room. And
// what if a header moves on while a process is still in w? Free slots may get keys
// of the next window, and the process would take such a slot for free, as it is
// not of w, and wipe out a count. Therefore it looks at the header once more after
// it has read the slot that it wants: still w, so what it read is not of a later
// window. If the slot changes after that, the compare-and-swap fails. If the
// header alone changes, the request is counted in w, where its verdict was given.
//
// Four bits tell 16 windows apart. So that old slots do not come to life again,
// whoever moves a header on first clears those that will be 8 windows old or more:
// half of the circle. What remains is a process that stops for a multiple of 16
// whole windows between two adjacent instructions: its write may then count as one
// request too many in the later window, or wipe out a count if the slot that it
// overwrites has the very key and count that it had. A worker that stops for ten
// seconds is replaced, and windows from the configuration last a second or more.

const (
	bucketWords  = 8
	smallBuckets = 1 << 12 // of the first table; 256 KiB
	tagBits      = 4
	tagMask      = 1<<tagBits - 1
	maxAge       = 8 // windows; a slot as old is cleared
)

type bucket [bucketWords]atomic.Uint64

type table struct {
	words []atomic.Uint64
	mask  uint64 // number of buckets - 1
	bits  uint   // of a count
}

// newTables is the tables of a rule: the last has room for all its keys, and if
// that is large, a small one comes first.
func newTables(seg *shm.Segment, name string, r Rule) ([]table, error) {
	// A power of two with at most two keys per bucket on average. Of a Poisson
	// distribution with mean 2, one key in 1,400 finds seven others in its bucket.
	sizes := []int{1 << bits.Len(uint(max(r.Keys/2, 1)-1))}
	if sizes[0] > 2*smallBuckets {
		sizes = []int{smallBuckets, sizes[0]}
	}
	countBits := uint(32)
	if r.Max < 1<<20 {
		countBits = 20
	}
	tables := make([]table, len(sizes))
	for i, n := range sizes {
		words, err := seg.Words(fmt.Sprintf("%s/table%d.%d", name, i, countBits), n*bucketWords)
		if err != nil {
			return nil, err
		}
		tables[i] = table{words, uint64(n - 1), countBits}
	}
	return tables, nil
}

// take counts a request of the key with that hash. Place is the request's place
// in the window, from 1, more than limit if it is refused, 0 if the bucket is
// full. If the bucket is in a later window already, that is returned instead and
// nothing is counted.
func (t *table) take(now, hash, limit uint64) (window, place uint64) {
	b := (*bucket)(t.words[(hash&t.mask)*bucketWords:])
	for {
		window = b[0].Load()
		if window < now {
			b.advance(window, now, t.bits)
			continue
		}
		if window > now {
			return window, 0
		}
		place, ok := b.take(window, hash, limit, t.bits)
		if ok {
			return window, place
		}
	}
}

// take is one attempt to count in window; not ok means that another process was
// quicker somewhere, and that nothing is counted.
func (b *bucket) take(window, hash, limit uint64, countBits uint) (place uint64, ok bool) {
	tag := window & tagMask
	id := hash>>((countBits+tagBits)&63)<<tagBits | tag
	for i := 1; i < bucketWords; i++ {
		slot := b[i].Load()
		top := slot >> (countBits & 63)
		switch {
		case top == id && slot != 0:
			n := slot - top<<(countBits&63)
			if n >= limit {
				return limit + 1, true
			}
			return n + 1, b[i].CompareAndSwap(slot, slot+1)
		case top&tagMask == tag && slot != 0: // another key's
		default:
			return 1, b[0].Load() == window && b[i].CompareAndSwap(slot, id<<(countBits&63)|1)
		}
	}
	return 0, true
}

// advance moves the bucket on to window to, unless it is not in window from any
// more or something else gets in the way: the caller looks again.
func (b *bucket) advance(from, to uint64, countBits uint) {
	for i := 1; i < bucketWords; i++ {
		slot := b[i].Load()
		age := (from - slot>>countBits) & tagMask
		if slot == 0 || age+(to-from) < maxAge {
			continue
		}
		// As in take: the header proves that the slot is not of a later window.
		if b[0].Load() != from || !b[i].CompareAndSwap(slot, 0) {
			return
		}
	}
	b[0].CompareAndSwap(from, to)
}
