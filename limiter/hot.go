package limiter

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// A HotKey is a key of a limit that is in much use.
type HotKey struct {
	Key     string // its first 64 bytes
	Cut     bool   // it has more
	Count   uint64 // requests of it that were admitted in the window; of a concurrency limit, places in use
	Refused uint64 // requests of it that were refused in the window; above 64 by a sample
}

// hot is the hottest keys of a limit, in two books: that of the running window and
// that of the one before.
type hot struct {
	books  [2]book
	hasher shm.Hasher
	held   func(hash uint64) uint64 // places in use of a concurrency limit, nil of others
}

// newHot opens the books of the limit of that name in the segment. Those of a
// concurrency limit are one: what is in use does not begin anew with each window.
func newHot(seg *shm.Segment, name string, hasher shm.Hasher, held func(uint64) uint64) (hot, error) {
	h := hot{hasher: hasher, held: held}
	for i := range h.books {
		if held != nil && i > 0 {
			h.books[i] = h.books[0]
			break
		}
		words, err := seg.Words(fmt.Sprintf("%s/hot%d", name, i), bookSets*setWords)
		if err != nil {
			return hot{}, err
		}
		h.books[i] = words
	}
	return h, nil
}

// note hears of each request of a limit: key, whose hash that is, has used that much
// in window. It looks at the key only if it is little, or one in 64, or refused.
func (h *hot) note(window, hash uint64, key []byte, used uint64, refused bool) {
	if used <= step || used%step == 0 || refused {
		h.record(window, hash, key, used, refused)
	}
}

// record is note for what is to be looked at.
func (h *hot) record(window, hash uint64, key []byte, used uint64, refused bool) {
	s := h.books[window&1].set(hash >> 32 % bookSets)
	if !refused && s.below(window, used) {
		return
	}
	at := s.find(hash)
	if at < 0 {
		demand := used
		if refused {
			demand++
		}
		var id, least uint64
		if at, id, least = h.least(s, window); demand <= least {
			s[floorAt].Store(window<<32 | min(least, countMask))
			return
		}
		if !s[idsAt+at].CompareAndSwap(id, hash) {
			return // another process has given the place away: the key will come again
		}
		s.write(at, h.hasher, hash, key)
	}
	if s.raise(at, window, used) && (used%step == 0 || used&(used-1) == 0) {
		s.repair(at, h.hasher, hash, key)
	}
	if refused {
		s.refuse(at, window)
	}
}

// least is the key of the set that has to be exceeded in window, and how much it has.
func (h *hot) least(s *keySet, window uint64) (at int, id, least uint64) {
	least = math.MaxUint64
	for i := range ways {
		hash, n := s[idsAt+i].Load(), s.demand(i, window)
		if h.held != nil {
			n = max(n, h.held(hash))
		}
		if n < least {
			at, id, least = i, hash, n
		}
	}
	return at, id, least
}

// Hottest is the n keys with the most requests in the running window or the last
// one, whichever has more of the key, the hottest first. Counts are exact up to 64,
// and above that less than 64 too low.
func (l *Limiter) Hottest(n int) []HotKey { return l.hot.list(n, l.windowAt(shm.Now())) }

// list is the n hottest keys of window and the one before, each with what it has in
// the one in which it has more.
func (h *hot) list(n int, window uint64) []HotKey {
	found := make(map[uint64]HotKey)
	for _, w := range []uint64{window, window - 1} {
		for set := range uint64(bookSets) {
			for i := range ways {
				hash, key, ok := h.books[w&1].set(set).read(i, h.hasher, w)
				if ok && h.held != nil {
					key.Count = h.held(hash)
				}
				if old, known := found[hash]; ok && key.Count+key.Refused > 0 && (!known || h.compare(key, old) < 0) {
					found[hash] = key
				}
			}
		}
	}
	keys := slices.SortedFunc(maps.Values(found), h.compare)
	return keys[:min(max(n, 0), len(keys))]
}

// compare orders the hotter key first: of a rate limit the one that was asked for
// more often, of a concurrency limit the one with more in use.
func (h *hot) compare(a, b HotKey) int {
	x, y := a.Count, b.Count
	if h.held == nil {
		x, y = x+a.Refused, y+b.Refused
	}
	return cmp.Or(cmp.Compare(y, x), cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.Key, b.Key))
}

type book []atomic.Uint64

func (b book) set(i uint64) *keySet { return (*keySet)(b[i*setWords:]) }
