package lb

import (
	"testing"
	"time"
)

// A server that has never answered is not taken for the quickest of all, however
// it fails.
func TestEWMADoesNotPreferWhatOnlyFails(t *testing.T) {
	for _, took := range []time.Duration{0, time.Millisecond, time.Second} {
		p := newPool(t, newSegment(t), false, Spec{Address: "a", Weight: 1}, Spec{Address: "b", Weight: 1})
		p.Policy = EWMA
		failed := 0
		for range 1000 {
			s := p.Pick(nil, nil)
			if s.Address == "a" {
				s.Done(Succeeded, 2*time.Millisecond)
				continue
			}
			failed++
			s.Done(Errored, took)
		}
		if failed > 550 {
			t.Errorf("errors after %v: got %d of 1000 requests for the server that fails; want no more than half", took, failed)
		}
	}
}
