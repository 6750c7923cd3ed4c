package limiter

import (
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// The ledger
//
// A table for algorithms that need a whole word for each key, and whose keys go out
// of use one by one, not all at the end of a window. It is an array of pages of two
// cache lines:
//
//	last claim | 7 ids
//	7 states | date
//
// Id i and state i are a slot. A key belongs to one page, and to no other. An id is
//
//	1 | fingerprint of its key: 56 bits | 0: 3 bits | version: 4 bits
//
// and a state is 60 bits that mean something to the algorithm, and 4 of version. A
// slot belongs to the key of its id as long as the two versions are the same. It is
// idle when the algorithm goes on from its state as from none at all. Zero is idle for
// everybody.
//
// Its key may use a slot again as long as it belongs to it, idle or not. A key that
// has none takes one that belongs to nobody, or an idle one, in three steps:
//
//  1. free it: state := zero, of the next version, by a compare-and-swap from the idle
//     state that was seen. Nothing is lost that counts.
//  2. announce it: last claim := fingerprint, slot, id's version, by a compare-and-swap
//     from the last claim that was read, and complete, before the page was searched.
//  3. complete it: id := fingerprint, next version, by a compare-and-swap from the id
//     that has the version which the claim says.
//
// Who wants to claim completes the last claim first. So a process that dies after 2
// leaves nothing undone, and one that dies after 1 a slot for others to claim.
//
// Why it is exact across processes. A key has at most one slot: ids change by claims
// only, and a claim is announced only if no other was since before the search. And a
// state changes only in the name of the slot's key: who counts a request has read the
// id and then the state, with one version; the id moves on from that only after the
// state has; so if the compare-and-swap of the state succeeds, from that version, the
// slot is still that key's. Every request admitted is one such compare-and-swap, and
// its verdict is about the very state that it replaced. A version comes again after
// sixteen claims of the slot, and with it the same state only if all those claimants
// were stopped between claim and count, while another process was stopped between two
// adjacent instructions.
//
// What is idle for one process need not be for another that has read its clock a while
// ago. Therefore a page has a date, which only grows and is raised before a slot is
// freed. A key that begins anew does so at the date if its process is behind it: not
// before anything that the page has forgotten.
//
// When a page is full of keys that are not idle, another one is counted in the sketch
// of arrival times. What it has there it must not lose when it gets a slot later. So
// before it goes to the sketch, it raises the date until which the sketch is in use:
// until then, all that find their slot idle begin from what the sketch says. And when
// it comes back, the last claim must be the one that was read before the page was
// searched. If it is, those who claim a slot for the key later see the date; if it is
// not, the key may have a slot already, and the request is counted once more.

const (
	pageWords   = 2 * bucketWords
	pageSlots   = bucketWords - 1
	claimAt     = 0
	firstIDAt   = 1
	statesAt    = bucketWords
	dateAt      = pageWords - 1
	versionBits = 4
	versionMask = 1<<versionBits - 1
	placeMask   = 1<<3 - 1
	markShift   = 7 // version and place

	useUnit = 1 << 30 // of the date until which the sketch is in use, in ns
)

type page [pageWords]atomic.Uint64

type ledger struct {
	words    []atomic.Uint64
	mask     uint64 // number of pages - 1
	arrivals arrivals
	inUse    *atomic.Uint64 // until when arrivals is, in useUnits
	takes    *atomic.Uint64 // those that arrivals answered
}

func newLedger(seg *shm.Segment, name string, keys int, takes *atomic.Uint64) (ledger, error) {
	n := bucketsFor(keys)
	words, err := seg.Words(name+"/ledger", n*pageWords)
	if err != nil {
		return ledger{}, err
	}
	inUse, err := seg.Words(name+"/in use", bucketWords)
	if err != nil {
		return ledger{}, err
	}
	cells, err := newArrivals(seg, name, keys)
	return ledger{words, uint64(n - 1), cells, &inUse[0], takes}, err
}

func (l *ledger) page(hash uint64) *page { return (*page)(l.words[(hash&l.mask)*pageWords:]) }

// find is the slot of the key with that hash, and its state.
func (p *page) find(hash uint64) (slot int, state uint64, ok bool) {
	mark := markOf(hash)
	for i := range pageSlots {
		if id := p[firstIDAt+i].Load(); id>>markShift == mark {
			state := p[statesAt+i].Load()
			if (state^id)&versionMask == 0 {
				return i, state, true
			}
		}
	}
	return 0, 0, false
}

// claim tries to get a slot for a key that has none. The caller has raised the page's
// date to his, and looks afterwards whether the key has a slot now; unless the page is
// full: last is the claim that was the last before that was seen.
func (p *page) claim(hash uint64, idle func(state uint64) bool) (last uint64, full bool) {
	last = p[claimAt].Load()
	p.complete(last)
	if _, _, ok := p.find(hash); ok {
		return last, false
	}
	for i := range pageSlots {
		id := p[firstIDAt+i].Load()
		state := p[statesAt+i].Load()
		if (state^id)&versionMask == 0 {
			if !idle(state) {
				continue
			}
			if !p[statesAt+i].CompareAndSwap(state, (state+1)&versionMask) {
				return last, false
			}
		}
		claim := markOf(hash)<<markShift | uint64(i)<<versionBits | id&versionMask
		if p[claimAt].CompareAndSwap(last, claim) {
			p.complete(claim)
		}
		return last, false
	}
	return last, true
}

// complete does what is left to do of a claim.
func (p *page) complete(claim uint64) {
	if claim == 0 {
		return // there was none yet
	}
	at := &p[firstIDAt+claim>>versionBits&placeMask]
	id := at.Load()
	if (id^claim)&versionMask == 0 {
		at.CompareAndSwap(id, claim>>markShift<<markShift|(claim+1)&versionMask)
	}
}

// set replaces the state of a slot, and reports whether it was still that.
func (p *page) set(slot int, state, value uint64) bool {
	return p[statesAt+slot].CompareAndSwap(state, value<<versionBits|state&versionMask)
}

// known is the arrival time that the sketch has of a key that begins anew, or 0 if
// the sketch is not in use.
func (l *ledger) known(now int64, hash uint64) int64 {
	if int64(l.inUse.Load())*useUnit <= now {
		return 0
	}
	return l.arrivals.of(hash)
}

// overflow counts a request of a key of a page that is full in the sketch. It is not
// ok if the key may have got a slot in the meantime.
func (l *ledger) overflow(p *page, last uint64, now, date int64, hash uint64, r *rate) (t tally, ok bool) {
	l.takes.Add(1)
	raise(l.inUse, uint64((max(now, date)+r.depth()+r.interval)/useUnit+1))
	t = l.arrivals.take(now, date, hash, r)
	return t, p[claimAt].Load() == last
}

// markOf is the fingerprint of a key in an id: never 0.
func markOf(hash uint64) uint64 { return (hash | usedBit) >> markShift }
