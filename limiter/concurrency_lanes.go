package limiter

import (
	"math/bits"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/proxyd/proxyd/internal/shm"
)

// The lanes
//
// Each worker slot has a lane: a table of how many places its worker holds of each
// key. Nobody else writes in it. What a key has in use is the sum over all lanes.
//
// A lane is an array of buckets. A bucket is one cache line, eight words, and a key
// belongs to the bucket of that number in every lane. Seven of its words are
//
//	fingerprint of the key: 28 bits | tenancy: 16 bits | places held: 20 bits
//
// and if none is held, the word may be taken for another key. If all seven are taken
// the key has a second bucket. The eighth word says how many places were found so:
//
//	tenancy: 16 bits | places in second buckets: 24 bits | places without a word: 24 bits
//
// Only if there are some are second buckets looked at. The last count is of those
// for which the second was full as well. They count against every key of the bucket:
// so with far more keys in it than it is made for, a lane admits too few of them,
// never too many, and only where as many as the limit are held by keys that found
// both their buckets full.
//
// Why no more than max of a key are held at once: to acquire is first to add to
// one's own lane, then to read all lanes, and to give back what one has added if
// the sum is above max. Of those that are held at some moment, take the one that was
// added last. The lanes were read after that, all the others were in them by then
// and have not gone since, so the sum was not less than all of them.
//
// Why no fewer: what is added by one who still asks may stand in the way of others
// who ask. But whoever is refused has seen max others, some of whom may only be
// asking, and the last of those has nobody beside it that still asks: it gets a
// place unless max are really held. Who has given back tries again, a bounded number
// of times: to meet another at the same nanosecond each time is the only way to be
// refused a place that is left free.
//
// Why a dead worker holds nothing: a lane belongs to its tenant, a word in front of
// the lanes:
//
//	tenancy, a number that grows: 16 bits | pid: 22 bits | random: 26 bits
//
// The rest of a tenant but its number says which process that is, and is zero if
// none is. Words of a lane that bear another tenancy than its tenant's count as
// zero. So one compare-and-swap of the tenant drops all that the dead one held in
// the lane: that of the next process in the slot, when it opens the limit, or before
// that the one of any process that was about to refuse, and has found that the tenant
// is no more, or that the slot has another worker now. When the number of tenancies
// overflows, the new tenant first clears the lane, so that no word of 65,536 tenants
// ago comes to life.
//
// A process that is stopped is not dead: what it holds stays held until it is killed.

const (
	laneWords   = 8 // of a bucket
	heldBits    = 20
	heldMask    = 1<<heldBits - 1
	spillBits   = 24 // of each count of the eighth word
	spillMask   = 1<<spillBits - 1
	inSecond    = 1 << spillBits // a place there
	inNone      = 1
	tenancyBits = 16
	tenancyMask = 1<<tenancyBits - 1
	personBits  = 64 - tenancyBits // of a tenant: which process
	randomBits  = 26               // of these
	pidBits     = personBits - randomBits

	// In front of the lanes: one line for all of them, the tenants, and
	// a line for each lane's counters.
	tenantsAt  = 8
	countersAt = tenantsAt + shm.MaxSlots
	lanesAt    = countersAt + 8*shm.MaxSlots
)

// person is this process among all that there were since the segment was made: a
// pid alone comes again.
var person = uint64(os.Getpid())&(1<<pidBits-1)<<randomBits | rand.Uint64N(1<<randomBits)

type lane [laneWords]atomic.Uint64

type lanes struct {
	seg     *shm.Segment
	count   *atomic.Uint64  // how many lanes have ever had a tenant, from the first
	clock   *atomic.Uint64  // in seconds, when somebody last looked: for the list of hot keys
	tenants []atomic.Uint64 // of each lane
	words   []atomic.Uint64 // of all lanes
	each    uint64          // words of a lane
	mask    uint64          // number of a lane's buckets - 1
	own     []atomic.Uint64 // this process's lane
	tenancy uint64          // its number there

	admitted, refused *atomic.Uint64 // this lane's
	counters          []atomic.Uint64
}

// newLanes opens the lanes of a limit and moves into the one of slot.
func newLanes(seg *shm.Segment, name string, keys, slot int) (lanes, error) {
	buckets := max(bucketsFor(keys), 2)
	each := buckets * laneWords
	words, err := seg.Words(name+"/lanes", lanesAt+shm.MaxSlots*each)
	if err != nil {
		return lanes{}, err
	}
	l := lanes{
		seg:      seg,
		count:    &words[0],
		clock:    &words[1],
		tenants:  words[tenantsAt:countersAt],
		counters: words[countersAt:lanesAt],
		words:    words[lanesAt:],
		each:     uint64(each),
		mask:     uint64(buckets - 1),
		own:      words[lanesAt+slot*each:][:each],
	}
	l.admitted, l.refused = &l.counters[8*slot], &l.counters[8*slot+1]
	raise(l.count, uint64(slot)+1)
	l.tenancy = moveIn(&l.tenants[slot], l.own)
	return l, nil
}

// bucketsFor is a power of two of buckets in which that many keys are at most two
// per bucket on average. Of a Poisson distribution with mean 2, one key in 1,400
// finds seven others in its bucket.
func bucketsFor(keys int) int { return 1 << bits.Len(uint(max(keys/2, 1)-1)) }

// moveIn makes this process the tenant of the lane with those words, unless it is
// already: then what it holds stays held. It returns the number of the tenancy.
func moveIn(tenant *atomic.Uint64, words []atomic.Uint64) uint64 {
	for {
		old := tenant.Load()
		tenancy := old >> personBits
		if old == tenancy<<personBits|person {
			return tenancy
		}
		tenancy = (tenancy + 1) & tenancyMask
		if tenancy == 0 {
			for i := range words {
				words[i].Store(0)
			}
		}
		if tenant.CompareAndSwap(old, tenancy<<personBits|person) {
			return tenancy
		}
	}
}

// first and second are where in a lane a key's buckets are, which are never the same.
func (l *lanes) first(hash uint64) uint64 { return hash & l.mask * laneWords }

func (l *lanes) second(hash uint64) uint64 { return (hash ^ (hash>>18 | 1)) & l.mask * laneWords }

// held is how many places of the key with that hash are taken, over all lanes.
func (l *lanes) held(hash uint64) uint64 {
	at, print := l.first(hash), hash>>(heldBits+tenancyBits)<<tenancyBits
	n := uint64(0)
	for i := range min(l.count.Load(), shm.MaxSlots) {
		tenant := l.tenants[i].Load()
		if tenant<<tenancyBits == 0 {
			continue
		}
		words, id := l.words[i*l.each:], print|tenant>>personBits
		b := (*lane)(words[at:])
		n += b.held(id)
		if spill := b[0].Load(); spill&(1<<personBits-1) != 0 && spill>>personBits == tenant>>personBits {
			n += spill & spillMask
			if spill>>spillBits&spillMask != 0 {
				n += (*lane)(words[l.second(hash):]).held(id)
			}
		}
	}
	return n
}

func (b *lane) held(id uint64) uint64 {
	n := uint64(0)
	for i := 1; i < laneWords; i++ {
		if w := b[i].Load(); w>>heldBits == id {
			n += w & heldMask
		}
	}
	return n
}

// add takes a place in this process's lane.
func (l *lanes) add(hash uint64) Handle {
	id := hash>>(heldBits+tenancyBits)<<tenancyBits | l.tenancy
	b := (*lane)(l.own[l.first(hash):])
	if word := b.add(id); word != nil {
		return Handle{word: word, id: id}
	}
	l.spill(&b[0], inSecond)
	if word := (*lane)(l.own[l.second(hash):]).add(id); word != nil {
		return Handle{word: word, id: id, spill: &b[0], n: inSecond}
	}
	l.spill(&b[0], inNone) // before the other goes: what is held is never less
	subtract(&b[0], inSecond, inSecond*spillMask)
	return Handle{spill: &b[0], n: inNone}
}

// add adds to the key's word, or to one that is free; nil: there is neither.
func (b *lane) add(id uint64) *atomic.Uint64 {
	for {
		var free *atomic.Uint64
		var old, to uint64
		for i := 1; i < laneWords; i++ {
			w := b[i].Load()
			if w>>heldBits == id {
				free, old, to = &b[i], w, w+1
				break
			}
			if free == nil && (w&heldMask == 0 || (w>>heldBits^id)&tenancyMask != 0) {
				free, old, to = &b[i], w, id<<heldBits|1
			}
		}
		// Only other goroutines of this process can be quicker.
		if free == nil || free.CompareAndSwap(old, to) {
			return free
		}
	}
}

// spill adds n to the eighth word of a bucket.
func (l *lanes) spill(word *atomic.Uint64, n uint64) {
	for {
		w := word.Load()
		to := w + n
		if w>>personBits != l.tenancy {
			to = l.tenancy<<personBits + n
		}
		if word.CompareAndSwap(w, to) {
			return
		}
	}
}

// release gives back a place of this process's lane.
func (h Handle) release() {
	if h.word != nil {
		if h.word.Load()>>heldBits != h.id {
			panic(releasedTwice)
		}
		subtract(h.word, 1, heldMask)
	}
	if h.spill != nil {
		subtract(h.spill, h.n, h.n*spillMask)
	}
}

const releasedTwice = "bug: a place of a concurrency limit is released twice"

// subtract takes n from the count in word that mask shows.
func subtract(word *atomic.Uint64, n, mask uint64) {
	for {
		w := word.Load()
		if w&mask == 0 {
			panic(releasedTwice)
		}
		if word.CompareAndSwap(w, w-n) {
			return
		}
	}
}

// bury puts out the tenants that are dead, and reports whether there were any.
func (l *lanes) bury() (found bool) {
	for i := range min(l.count.Load(), shm.MaxSlots) {
		tenant := l.tenants[i].Load()
		pid := int(tenant & (1<<personBits - 1) >> randomBits)
		if pid == 0 || tenant<<tenancyBits == person<<tenancyBits || !l.dead(int(i), pid) {
			continue
		}
		// Fails if the next one has moved in meanwhile.
		found = l.tenants[i].CompareAndSwap(tenant, tenant>>personBits<<personBits) || found
	}
	return found
}

// dead tells whether process pid, which was the worker in that slot, is no more.
func (l *lanes) dead(slot, pid int) bool {
	holder := l.seg.Slot(slot).Pid.Load()
	return holder != 0 && holder != int64(pid) || syscall.Kill(pid, 0) == syscall.ESRCH
}

func (l *lanes) counts() (admitted, refused uint64) {
	for i := 0; i < len(l.counters); i += 8 {
		admitted += l.counters[i].Load()
		refused += l.counters[i+1].Load()
	}
	return admitted, refused
}
