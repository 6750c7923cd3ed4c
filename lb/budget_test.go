package lb

import (
	"sync"
	"testing"
)

func retries(b *Budget, tries int) (allowed int) {
	for range tries {
		if b.Retry() {
			allowed++
		}
	}
	return allowed
}

func TestBudgetIsAShareOfRequests(t *testing.T) {
	b, err := NewBudget(newSegment(t), "up", 20)
	if err != nil {
		t.Fatal(err)
	}
	if got := retries(b, 1000); got != budgetBurst {
		t.Errorf("retries before any request: got %d; want the burst of %d", got, budgetBurst)
	}
	for range 100 {
		b.Request()
	}
	if got, want := retries(b, 1000), 20; got != want {
		t.Errorf("retries after 100 requests: got %d; want %d", got, want)
	}
	for range 100_000 {
		b.Request()
	}
	if got := retries(b, 1000); got != budgetBurst {
		t.Errorf("retries after many requests: got %d; want no more than the burst of %d", got, budgetBurst)
	}
}

func TestBudgetOfNothing(t *testing.T) {
	b, err := NewBudget(newSegment(t), "up", 0)
	if err != nil {
		t.Fatal(err)
	}
	if b.Retry() {
		t.Error("a budget of 0 % allowed a retry")
	}
}

// Workers that ask at once share one account.
func TestBudgetIsShared(t *testing.T) {
	seg := newSegment(t)
	const workers = 8
	allowed := make([]int, workers)
	var wg sync.WaitGroup
	for i := range workers {
		b, err := NewBudget(seg, "up", 20)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range 1000 {
				b.Request()
			}
			allowed[i] = retries(b, 1000)
		})
	}
	wg.Wait()
	total := 0
	for _, n := range allowed {
		total += n
	}
	// Requests pay back only what has been taken by then, so the sum depends on
	// who came first, but between these two it must be.
	if most := budgetBurst + workers*1000*20/100; total < budgetBurst || total > most {
		t.Errorf("retries of %d workers: got %d; want %d to %d", workers, total, budgetBurst, most)
	}
}
