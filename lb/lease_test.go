package lb

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestHold(t *testing.T) {
	const (
		now  = int64(1000 * time.Hour)
		term = 800 * time.Millisecond
		us   = int64(time.Microsecond)
	)
	for _, c := range []struct {
		name  string
		word  lease
		held  bool
		after lease
	}{
		{"free", 0, true, makeLease(3, now+int64(term))},
		{"another's, living", makeLease(4, now+us), false, makeLease(4, now+us)},
		{"another's, expired", makeLease(4, now), true, makeLease(3, now+int64(term))},
		{"mine, fresh", makeLease(3, now+int64(term)-us), true, makeLease(3, now+int64(term)-us)},
		{"mine, older", makeLease(3, now+int64(term)*7/8), true, makeLease(3, now+int64(term))},
		{"mine, expired", makeLease(3, now-us), true, makeLease(3, now+int64(term))},
		{"mine, too long", makeLease(3, now+int64(time.Hour)), true, makeLease(3, now+int64(term))},
		{"another's, too long", makeLease(4, now+int64(time.Hour)), false, makeLease(4, now+int64(term))},
		{"slot 0's", makeLease(0, now+us), false, makeLease(0, now+us)},
	} {
		var word atomic.Uint64
		word.Store(uint64(c.word))
		held := hold(&word, 3, now, term)
		if after := lease(word.Load()); held != c.held || after != c.after {
			t.Errorf("%s: got held %v, slot %d until %d; want %v, slot %d until %d",
				c.name, held, after.slot(), after.expiry()-now, c.held, c.after.slot(), c.after.expiry()-now)
		}
	}
}

func TestHoldHasOneWinner(t *testing.T) {
	var word atomic.Uint64
	for round := range int64(200) {
		now := round * int64(time.Hour) // the lease of the round before has expired
		var winners atomic.Int32
		var wg sync.WaitGroup
		for slot := range 8 {
			wg.Go(func() {
				if hold(&word, slot, now, time.Second) {
					winners.Add(1)
				}
			})
		}
		wg.Wait()
		if got := winners.Load(); got != 1 {
			t.Fatalf("round %d: %d hold the lease; want 1", round, got)
		}
	}
}
