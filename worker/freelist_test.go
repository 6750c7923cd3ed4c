package worker

import "testing"

// What is in use again and again stays; what a burst left goes.
func TestFreelistTrims(t *testing.T) {
	var f freelist[int]
	for range 1000 {
		f.put(1)
	}
	f.trim() // sets the mark
	for round := range 20 {
		for range 10 {
			if _, ok := f.get(); !ok {
				t.Fatalf("round %d: empty; want ten items in use kept", round)
			}
		}
		for range 10 {
			f.put(1)
		}
		f.trim()
	}
	if got := len(f.items); got < 10 || got > 12 {
		t.Errorf("%d items after the burst; want about the 10 in use", got)
	}
}
