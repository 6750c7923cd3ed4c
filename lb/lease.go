package lb

import (
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// lease is the word that says which worker does something, such as probing a
// server, and until when:
//
//	slot+1 8 | expiry, µs 56
//
// It belongs to the worker slot, not to a process or a prober: the prober that
// follows a reload, and the worker that follows a crash in the same slot, hold
// it from their first turn. A zero word is free.
type lease uint64

const expiryBits = 56

func makeLease(slot int, expiry int64) lease {
	return lease(uint64(slot+1)<<expiryBits | uint64(expiry/int64(time.Microsecond)))
}

func (l lease) slot() int { return int(l>>expiryBits) - 1 } // -1: free

func (l lease) expiry() int64 {
	return int64(l&(1<<expiryBits-1)) * int64(time.Microsecond)
}

// Hold takes the lease in word for the worker in slot if it is free or has
// expired, renews it if that worker has it, and reports whether it has it now. It
// lasts for term: call it a few times in each. It is for whatever one worker at a
// time is to do; a zero word is free, and nobody else may write to it.
func Hold(word *atomic.Uint64, slot int, term time.Duration) bool {
	return hold(word, slot, shm.Now(), term)
}

func hold(word *atomic.Uint64, slot int, now int64, term time.Duration) bool {
	old := lease(word.Load())
	left := time.Duration(old.expiry() - now)
	if old.slot() != slot && left > 0 {
		if left > term {
			// Left by a configuration with longer intervals. Its holder, if it
			// lives, renews it; if it does not, the wait must not be theirs.
			word.CompareAndSwap(uint64(old), uint64(makeLease(old.slot(), now+int64(term))))
		}
		return false
	}
	if old.slot() == slot && left <= term && left > term-term/8 {
		return true // fresh enough: spare the others' cache line
	}
	return word.CompareAndSwap(uint64(old), uint64(makeLease(slot, now+int64(term))))
}
