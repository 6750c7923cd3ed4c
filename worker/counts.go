package worker

import (
	"fmt"
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// counts are how many requests a rate limit has admitted and refused since the
// segment was made. Each slot has a cache line of it, which only the worker in the
// slot writes; the next one there goes on adding.
type counts struct{ all, own []atomic.Uint64 }

// The words of a slot.
const (
	countAdmitted = iota
	countRefused
	countWords = 8 // a cache line
)

func newCounts(seg *shm.Segment, limit string, slot int) (counts, error) {
	words, err := seg.Words("limits/"+limit, shm.MaxSlots*countWords)
	if err != nil {
		return counts{}, fmt.Errorf("counts: %w", err)
	}
	return counts{words, words[slot*countWords:][:countWords]}, nil
}

// add counts one request. Only the loop may call it.
func (c *counts) add(admitted bool) {
	if admitted {
		c.own[countAdmitted].Add(1)
	} else {
		c.own[countRefused].Add(1)
	}
}

// sum is of all workers.
func (c *counts) sum() (admitted, refused uint64) {
	for i := 0; i < len(c.all); i += countWords {
		admitted += c.all[i+countAdmitted].Load()
		refused += c.all[i+countRefused].Load()
	}
	return admitted, refused
}
