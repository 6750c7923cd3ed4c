package limiter

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// The exact table of the estimator
//
// The table is an array of buckets. A bucket is one cache line: a header word and
// seven slots. The header is the window that the bucket is in, a number that only
// grows. A slot is
//
//	1 | fingerprint of the key: 27 bits | its window mod 16: 4 bits | count: 32 bits
//
// or, where no count can be above a million, 1, 39, 4 and 20 bits; or zero. It lives
// if it is of the header's window and not zero. All other slots are free.
//
// A key has three buckets, in this order: one of the first few, as many as suit the
// number of keys in the last window, so that a limit with some thousands of keys
// stays in the processor's caches and within 256 KiB; and two of the rest of the
// table, which as a whole has room for all of the rule's keys. It is counted in the first of them that
// is not full of other keys, and if all are, in the sketch. How many the first few
// are is a word beside the table, together with the window that it holds for: whoever
// is the first in a window decides it for all, by one compare-and-swap.
//
// Why it is exact across processes, from one window to the next: while a bucket
// is in window w, no slot that lives changes its key. A key is looked for in slot
// order and takes the first slot that does not live, so those that live come
// first, and two processes that bring the same new key meet at the same slot. One
// of them wins the compare-and-swap and the other begins again, and finds the
// key. A bucket that is full in w stays so in w, so that a key which had to go on
// to the next bucket once in w always has to. A key thus has one place in w, and
// every request admitted is one successful compare-and-swap of it from n-1 to n,
// with n <= limit. A refund is one from n to n-1; a slot whose count is 0 lives on.
//
// No process goes by its own clock if a header is ahead: it begins again, in the
// header's window and in the key's first bucket there, where the key may now find
// room. And what if a header moves on while a process is still in w? Free slots may
// get keys of the next window, and the process would take such a slot for free, as
// it is not of w, and wipe out a count. Therefore it looks at the header once more
// after it has read the slot that it wants: still w, so what it read is not of a
// later window. If the slot changes after that, the compare-and-swap fails. If the
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
	bucketWords = 8
	spares      = 2  // buckets that a key has beside its first
	fewBits     = 12 // at least as many buckets are the first few, as a power of two; 256 KiB
	tagBits     = 4
	tagMask     = 1<<tagBits - 1
	maxAge      = 8 // windows; a slot as old is cleared
	usedBit     = 1 << 63
)

type bucket [bucketWords]atomic.Uint64

type table struct {
	words []atomic.Uint64
	mask  uint64 // number of buckets - 1
	bits  uint   // of a count
}

// newTable is the table of the name for that many keys, which may have counts up to most.
func newTable(seg *shm.Segment, name string, keys int, most int64) (table, error) {
	countBits := uint(32)
	if most < 1<<20 {
		countBits = 20
	}
	// Two to four keys per bucket, of seven slots: one key in ten needs a spare bucket,
	// one in a thousand the sketch. Twice the memory would be slower by a tenth.
	n := bucketsFor((keys + 1) / 2)
	words, err := seg.Words(fmt.Sprintf("%s/table%d", name, countBits), n*bucketWords)
	return table{words, uint64(n - 1), countBits}, err
}

func (t *table) bucket(i uint64) *bucket { return (*bucket)(t.words[(i&t.mask)*bucketWords:]) }

// sizeFor is how many bits of a hash say which of the first few buckets is a key's,
// if there are that many keys.
func (t *table) sizeFor(keys uint64) uint64 {
	return uint64(min(max(bits.Len64(keys/2), fewBits), bits.Len64(t.mask)))
}

// take counts a request of the key with that hash, or if dry does not, but says
// the same. Place is the request's place in the window, from 1, more than limit if
// it is refused, 0 if all its buckets are full. If one is in a later window already,
// that is returned instead and nothing is counted.
func (t *table) take(now, size, hash, limit uint64, dry bool) (window, place uint64) {
	window, place = t.bucket(hash&(1<<(size&63)-1)).take(now, hash, limit, t.bits, dry)
	for i := range uint64(spares) {
		if place != 0 || window != now {
			break
		}
		window, place = t.spare(hash, size, i).take(now, hash, limit, t.bits, dry)
	}
	return window, place
}

// change lowers the count of the key with that hash in window: by one, or to zero
// if all. It does nothing if that window is over or the key is not in the table.
func (t *table) change(window, size, hash uint64, all bool) {
	found := t.bucket(hash&(1<<(size&63)-1)).lower(window, hash, t.bits, all)
	for i := range uint64(spares) {
		if found {
			break
		}
		found = t.spare(hash, size, i).lower(window, hash, t.bits, all)
	}
}

// spare is bucket i of those that a key goes to when its first is full. It is not
// one of the first few, which then are full too, unless they are the whole table.
func (t *table) spare(hash, size, i uint64) *bucket {
	at := mix(hash+i) & t.mask
	if at>>(size&63) == 0 {
		at |= 1 << (size & 63)
	}
	return t.bucket(at)
}

func (b *bucket) take(now, hash, limit uint64, countBits uint, dry bool) (window, place uint64) {
	for {
		window = b[0].Load()
		if window < now {
			b.advance(window, now, countBits)
			continue
		}
		if window > now {
			return window, 0
		}
		place, ok := b.takeIn(window, hash, limit, countBits, dry)
		if ok {
			return window, place
		}
	}
}

// takeIn is one attempt to count in window; not ok means that another process was
// quicker somewhere, and that nothing is counted.
func (b *bucket) takeIn(window, hash, limit uint64, countBits uint, dry bool) (place uint64, ok bool) {
	id := idOf(window, hash, countBits)
	for i := 1; i < bucketWords; i++ {
		slot := b[i].Load()
		top := slot >> (countBits & 63)
		switch {
		case top == id:
			n := slot - top<<(countBits&63)
			if n >= limit {
				return limit + 1, true
			}
			return n + 1, dry || b[i].CompareAndSwap(slot, slot+1)
		case top&tagMask == window&tagMask && slot != 0: // another key's
		case dry:
			return 1, true
		default:
			return 1, b[0].Load() == window && b[i].CompareAndSwap(slot, id<<(countBits&63)|1)
		}
	}
	return 0, true
}

// lower lowers the count of a key, and reports whether the key was found.
func (b *bucket) lower(window, hash uint64, countBits uint, all bool) bool {
	id := idOf(window, hash, countBits)
	for i := 1; i < bucketWords; i++ {
		for {
			slot := b[i].Load()
			if slot>>countBits != id || b[0].Load() != window {
				break
			}
			to := id << countBits
			if slot != to && !all {
				to = slot - 1
			}
			if b[i].CompareAndSwap(slot, to) {
				return true
			}
		}
	}
	return false
}

// idOf is the upper part of the slot of a key.
func idOf(window, hash uint64, countBits uint) uint64 {
	return (hash|usedBit)>>((countBits+tagBits)&63)<<tagBits | window&tagMask
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
		// As in takeIn: the header proves that the slot is not of a later window.
		if b[0].Load() != from || !b[i].CompareAndSwap(slot, 0) {
			return
		}
	}
	b[0].CompareAndSwap(from, to)
}
