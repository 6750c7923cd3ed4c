package limiter

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// Bounds of a ConcurrencyRule.
const (
	MaxHeld         = 1_000_000
	MaxHeldKeys     = 1 << 18 // 8 MiB for each worker, if it has ever held that many
	DefaultHeldKeys = 1 << 14
)

// A ConcurrencyRule is what to limit to. Concurrency limits of one name and number
// of keys count together, in whichever process and configuration they are.
type ConcurrencyRule struct {
	Name string // of the concurrency limit
	Max  int64  // requests of a key at once, 1 to MaxHeld
	Keys int    // how many keys held at once by one worker are counted each by itself, up to MaxHeldKeys; 0: DefaultHeldKeys
	Slot int    // of this worker, which has occupied it
}

func (r *ConcurrencyRule) check() error {
	switch {
	case r.Max < 1 || r.Max > MaxHeld:
		return fmt.Errorf("%d requests at once is not between 1 and %d", r.Max, MaxHeld)
	case r.Keys < 0 || r.Keys > MaxHeldKeys:
		return fmt.Errorf("%d keys is not between 1 and %d", r.Keys, MaxHeldKeys)
	case r.Slot < 0 || r.Slot >= shm.MaxSlots:
		return fmt.Errorf("slot %d is not between 0 and %d", r.Slot, shm.MaxSlots-1)
	}
	return nil
}

// A Concurrency bounds the requests that each key may have under way at once. Its
// methods may be called from any goroutine; it is valid for as long as its segment
// is mapped.
type Concurrency struct {
	hasher shm.Hasher
	lanes  lanes
	max    uint64
	hot    hot
	look   atomic.Int64 // when bury is due again
}

// A Handle is one place that is taken. The zero value is none.
type Handle struct {
	word  *atomic.Uint64 // that counts it; nil: only spill does
	id    uint64         // of word
	spill *atomic.Uint64 // that counts n for it as well; usually nil
	n     uint64
}

// attempts bounds how often an Acquire that meets others at the last place tries
// again, after a pause at random that grows: in step they would meet for ever. Nearly
// always one of them has it after two or three; all of it takes less than 100 µs.
const attempts = 32

// lookEvery is how often, at most, a process looks whether a worker that holds
// places is dead: when it is about to refuse, and on one Acquire in 64.
const lookEvery = 10 * time.Millisecond

// NewConcurrency makes the Concurrency of a rule on the counts that seg has for it,
// or on new ones. It fails if the rule is out of bounds or seg is full.
func NewConcurrency(seg *shm.Segment, r ConcurrencyRule) (*Concurrency, error) {
	c, err := buildConcurrency(seg, r)
	if err != nil {
		return nil, fmt.Errorf("concurrency limit %s: %w", r.Name, err)
	}
	return c, nil
}

func buildConcurrency(seg *shm.Segment, r ConcurrencyRule) (*Concurrency, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Keys == 0 {
		r.Keys = DefaultHeldKeys
	}
	name := "concurrency/" + r.Name
	lanes, err := newLanes(seg, name, r.Keys, r.Slot)
	if err != nil {
		return nil, err
	}
	c := &Concurrency{hasher: seg.Hasher(name), lanes: lanes, max: uint64(r.Max)}
	c.hot, err = newHot(seg, name, c.hasher, c.lanes.held)
	return c, err
}

// Acquire takes one of key's places, unless all are taken. Who has been given one
// must Release it exactly once, from this or another Concurrency of the process. It
// never blocks, allocates or fails.
func (c *Concurrency) Acquire(key []byte) (h Handle, ok bool) {
	hash := c.hasher.Hash(key)
	for attempt := range attempts {
		if c.lanes.held(hash) >= c.max {
			if c.bury() {
				continue
			}
			break
		}
		h := c.lanes.add(hash)
		if n := c.lanes.held(hash); n <= c.max {
			if c.lanes.admitted.Add(1)%64 == 0 {
				c.bury()
			}
			c.hot.note(c.lanes.clock.Load(), hash, key, n, false)
			return h, true
		}
		c.Release(h)
		for range rand.Uint64N(1 << min(attempt, 6)) {
			c.lanes.held(hash)
		}
	}
	c.lanes.refused.Add(1)
	c.hot.note(c.lanes.clock.Load(), hash, key, c.max, true)
	return Handle{}, false
}

// Release gives back what an Acquire has taken; with the zero Handle, nothing.
func (c *Concurrency) Release(h Handle) { h.release() }

// InUse is how many places of key are taken, over all workers.
func (c *Concurrency) InUse(key []byte) int64 {
	c.bury()
	return int64(c.lanes.held(c.hasher.Hash(key)))
}

// Counts is how many Acquires were admitted and how many refused, of all keys and
// over all workers, since the segment was made.
func (c *Concurrency) Counts() (admitted, refused uint64) { return c.lanes.counts() }

// Hottest is the n keys with the most places in use. Refused is of the running or
// the last second.
func (c *Concurrency) Hottest(n int) []HotKey {
	c.bury()
	return c.hot.list(n, secondOf(shm.Now()))
}

// bury drops the shares of dead workers, if it is time to look for any, and reports
// whether it has found one.
func (c *Concurrency) bury() bool {
	now, due := shm.Now(), c.look.Load()
	if now < due || !c.look.CompareAndSwap(due, now+int64(lookEvery)) {
		return false
	}
	if s := secondOf(now); s > c.lanes.clock.Load() {
		raise(c.lanes.clock, s)
	}
	return c.lanes.bury()
}

func secondOf(now int64) uint64 { return uint64(now) / uint64(time.Second) }
