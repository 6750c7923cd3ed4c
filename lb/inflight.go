package lb

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// incarnation tells this process from those that held its slot before.
var incarnation = rand.Uint64() | 1

// flights counts the requests in flight to each server, of all workers. Each
// worker slot has a table of its own, with a row for each server that the segment
// knows, which only the worker in that slot writes: what is in flight to a server
// is the sum of its rows. The worker that takes a slot clears its table, so that
// what a killed worker had in flight is forgotten with it.
type flights struct {
	taken  *atomic.Uint64  // bit i: slot i has had a holder, its table counts
	tables []atomic.Uint64 // of all slots, one after the other
	own    []atomic.Uint64 // of this worker's slot
}

// openFlights finds the tables, and clears that of slot if this process has not
// done so before.
func openFlights(seg *shm.Segment, slot int) (*flights, error) {
	if slot < 0 || slot >= shm.MaxSlots {
		return nil, fmt.Errorf("slot %d: there are %d", slot, shm.MaxSlots)
	}
	tables, err := seg.Words("lb/flights", shm.MaxSlots*shm.MaxServers)
	if err != nil {
		return nil, err
	}
	holders, err := seg.Words("lb/flights/holders", 1+shm.MaxSlots)
	if err != nil {
		return nil, err
	}
	f := &flights{taken: &holders[0], tables: tables, own: tables[slot*shm.MaxServers:][:shm.MaxServers]}
	if holder := &holders[1+slot]; holder.Load() != incarnation {
		if f.taken.Load()&(1<<slot) != 0 {
			for i := range f.own {
				f.own[i].Store(0)
			}
		}
		f.taken.Or(1 << slot)
		holder.Store(incarnation) // last: a holder killed above has cleared nothing for the next
	}
	return f, nil
}

// enter counts one more request in flight to the server in that row, and reports
// whether that makes it no more than most; 0: any number. When it is not so,
// nothing is counted.
func (f *flights) enter(row, most int) bool {
	if most == 0 {
		f.own[row].Add(1)
		return true
	}
	// Counted first and looked at then: of two workers that do so at once, at least
	// one sees both. Both may, and give way, with one place left; so each tries again.
	for range 2 {
		if f.full(row, most) {
			return false
		}
		f.own[row].Add(1)
		if f.sum(row) <= most {
			return true
		}
		f.leave(row)
	}
	return false
}

func (f *flights) leave(row int) { f.own[row].Add(^uint64(0)) }

func (f *flights) full(row, most int) bool { return most > 0 && f.sum(row) >= most }

// sum is how many requests all workers have in flight to the server in that row.
func (f *flights) sum(row int) int {
	n := 0
	for slots := f.taken.Load(); slots != 0; slots &= slots - 1 {
		n += int(f.tables[bits.TrailingZeros64(slots)*shm.MaxServers+row].Load())
	}
	return n
}
