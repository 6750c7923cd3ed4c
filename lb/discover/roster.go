package discover

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
)

const (
	// maxServers bounds the servers of one source.
	maxServers = 256

	maxFault = 192 // bytes of record.fault

	// The words of a page.
	answeredWord = 0
	nextWord     = 1
	originWord   = 2
	countsWord   = 3 // failures 32 | length of the fault 16 | servers 16
	faultWord    = 4
	serversWord  = faultWord + maxFault/8
	serverWords  = 3 // address 64, 64 | backup 1, weight 16, port 16
	pageWords    = serversWord + maxServers*serverWords

	// The words of a roster. Head and leases have a cache line each.
	headWord    = 0
	leaseWord   = 8
	pagesWord   = 16
	pages       = 2 * shm.MaxSlots // page 2*slot and the next are the slot's
	rosterWords = pagesWord + pages*pageWords
)

// A server is a lb.Spec as a roster holds it.
type server struct {
	addr   netip.AddrPort // an IPv4 address is not mapped into IPv6
	weight uint16         // at least 1
	backup bool
}

func (s server) spec() lb.Spec {
	return lb.Spec{Address: s.addr.String(), Weight: int(s.weight), Backup: s.backup}
}

// A record is all that is known of one source. Times are those of shm.Now.
type record struct {
	servers  []server // at most maxServers
	answered int64    // when servers were last heard of; 0: never
	next     int64    // when the source is to be asked next
	failures int      // of the latest queries, in a row
	origin   uint64   // hash of the source's origin: of whom the answer is
	fault    string   // what is wrong with the latest answer; empty: nothing
}

// A roster is the record of one source in the shared segment.
//
// Each worker slot has two pages in it, and the head says which page of all is in
// force. A writer fills the page of its slot that is not, then makes it so by one
// compare-and-swap from the head it began with. So no one writes into a page that
// is in force or into another's, whoever is killed or stopped and wakes up later,
// and a reader that finds the head unchanged after it has read a page has read
// one record. Pages of slots that never write cost no memory.
type roster struct {
	words []atomic.Uint64
	slot  int
}

// publishing is held while a page is written. A slot has one process, but in a
// reload that may have two Discoverers at once.
var publishing sync.Mutex

func newRoster(seg *shm.Segment, upstream, source string, slot int) (*roster, error) {
	words, err := seg.Words("roster/"+upstream+"/"+source, rosterWords)
	if err != nil {
		return nil, err
	}
	return &roster{words: words, slot: slot}, nil
}

// head returns the word that says which record is in force: its number, from 1,
// times pages plus its page. 0: there is none yet.
func (r *roster) head() uint64 { return r.words[headWord].Load() }

func (r *roster) lease() *atomic.Uint64 { return &r.words[leaseWord] }

func (r *roster) page(head uint64) []atomic.Uint64 {
	at := pagesWord + head%pages*pageWords
	return r.words[at : at+pageWords]
}

// load returns the record in force and its head.
func (r *roster) load() (uint64, record) {
	for {
		head := r.head()
		if head == 0 {
			return 0, record{}
		}
		rec := read(r.page(head))
		if r.head() == head {
			return head, rec
		}
	}
}

// publish puts rec in force in place of the record of head, and reports whether
// it did: not if another has been put in force since.
func (r *roster) publish(head uint64, rec record) bool {
	publishing.Lock()
	defer publishing.Unlock()
	if r.head() != head {
		return false // by this slot, perhaps: then the free page is the other one
	}
	page := uint64(2 * r.slot)
	if head%pages == page {
		page++
	}
	write(r.page(page), rec)
	return r.words[headWord].CompareAndSwap(head, (head/pages+1)*pages+page)
}

func write(page []atomic.Uint64, rec record) {
	page[answeredWord].Store(uint64(rec.answered))
	page[nextWord].Store(uint64(rec.next))
	page[originWord].Store(rec.origin)
	page[countsWord].Store(uint64(uint32(rec.failures))<<32 | uint64(len(rec.fault))<<16 | uint64(len(rec.servers)))
	var text [maxFault]byte
	copy(text[:], rec.fault)
	for i := range maxFault / 8 {
		page[faultWord+i].Store(binary.NativeEndian.Uint64(text[8*i:]))
	}
	for i, s := range rec.servers {
		w := page[serversWord+i*serverWords:]
		addr := s.addr.Addr().As16()
		w[0].Store(binary.NativeEndian.Uint64(addr[:8]))
		w[1].Store(binary.NativeEndian.Uint64(addr[8:]))
		word := uint64(s.weight)<<16 | uint64(s.addr.Port())
		if s.backup {
			word |= 1 << 32
		}
		w[2].Store(word)
	}
}

// read reads a page, which another may be writing: what it returns then is for
// nothing, but must be harmless.
func read(page []atomic.Uint64) record {
	counts := page[countsWord].Load()
	rec := record{
		answered: int64(page[answeredWord].Load()),
		next:     int64(page[nextWord].Load()),
		origin:   page[originWord].Load(),
		failures: int(counts >> 32),
	}
	var text [maxFault]byte
	for i := range maxFault / 8 {
		binary.NativeEndian.PutUint64(text[8*i:], page[faultWord+i].Load())
	}
	n := min(int(counts&0xffff), maxServers)
	rec.fault = string(text[:min(counts>>16&0xffff, maxFault)])
	rec.servers = slices.Grow(rec.servers, n)
	for i := range n {
		w := page[serversWord+i*serverWords:]
		var addr [16]byte
		binary.NativeEndian.PutUint64(addr[:8], w[0].Load())
		binary.NativeEndian.PutUint64(addr[8:], w[1].Load())
		word := w[2].Load()
		rec.servers = append(rec.servers, server{
			addr:   netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), uint16(word)),
			weight: uint16(word >> 16),
			backup: word>>32&1 == 1,
		})
	}
	return rec
}
