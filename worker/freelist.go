package worker

// A freelist keeps what can be used again. Trim gives back to the garbage
// collector what a burst has left in it. The zero value is empty.
type freelist[T any] struct {
	items []T
	low   int // the fewest items since the last trim: so many were not needed
}

// get returns an item and whether there was one.
func (f *freelist[T]) get() (item T, ok bool) {
	n := len(f.items) - 1
	if n < 0 {
		return item, false
	}
	var zero T
	item, f.items[n] = f.items[n], zero
	f.items = f.items[:n]
	f.low = min(f.low, n)
	return item, true
}

func (f *freelist[T]) put(item T) { f.items = append(f.items, item) }

// trim drops half of what was not needed since the last time.
func (f *freelist[T]) trim() {
	n := len(f.items) - (f.low+1)/2
	clear(f.items[n:])
	f.items = f.items[:n]
	f.low = n
}
