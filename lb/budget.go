package lb

import (
	"fmt"
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// budgetBurst is how many retries a budget allows before any request has paid
// for one, so that a service with few requests has retries at all.
const budgetBurst = 100

// A Budget bounds the retries to an upstream by a share of its requests, for all
// workers together, so that retries cannot multiply the load on servers that
// fail because of load. Its methods may be called from any goroutine.
type Budget struct {
	// debt is what retries have taken and requests have not paid back yet, in
	// hundredths of a retry. New shared memory is zero: the budget is full.
	debt    *atomic.Uint64
	percent uint64
}

// budgets is how many accounts there are. Upstreams whose names meet in one share
// it, which is rare and harmless.
const budgets = 1 << 14

// NewBudget returns the budget of the upstream called name: percent retries for
// every hundred requests. Budgets of one name share their account.
func NewBudget(seg *shm.Segment, name string, percent int) (*Budget, error) {
	words, err := seg.Words("lb/budgets", budgets)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: retry budget: %w", name, err)
	}
	at := seg.Hash("lb/budget", []byte(name)) % budgets
	return &Budget{debt: &words[at], percent: uint64(max(percent, 0))}, nil
}

// Request pays back for one request. In the steady state, without retries, that
// is one load of a word that nobody writes.
func (b *Budget) Request() {
	for {
		debt := b.debt.Load()
		if debt == 0 || b.debt.CompareAndSwap(debt, debt-min(debt, b.percent)) {
			return
		}
	}
}

// Retry takes one retry out of the budget and reports whether there was one.
func (b *Budget) Retry() bool {
	for {
		debt := b.debt.Load()
		if b.percent == 0 || debt+100 > budgetBurst*100 {
			return false
		}
		if b.debt.CompareAndSwap(debt, debt+100) {
			return true
		}
	}
}
