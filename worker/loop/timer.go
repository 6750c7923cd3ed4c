package loop

// A timer is an entry in the loop's heap, ordered by the time it is due. Tasks
// move theirs lazily: a wait with a later deadline than the entry's leaves the
// entry where it is, and the entry moves when it comes up. A request therefore
// pays for a heap operation only about once in the shortest time-out.
type timer struct {
	at    int64 // loop time in ns
	index int   // in the heap, plus one; 0: not in it
	due   func(now int64)
}

// timers is a 4-ary min-heap.
type timers []*timer

func (h *timers) set(t *timer, at int64) {
	t.at = at
	if t.index == 0 {
		*h = append(*h, t)
		t.index = len(*h)
	}
	h.up(t.index - 1)
	h.down(t.index - 1)
}

func (h *timers) remove(t *timer) {
	i := t.index - 1
	if i < 0 {
		return
	}
	last := len(*h) - 1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = 0
	if i < last {
		h.up(i)
		h.down(i)
	}
}

func (h timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 4
		if h[parent].at <= h[i].at {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h timers) down(i int) {
	for {
		least := i
		for c := 4*i + 1; c <= 4*i+4 && c < len(h); c++ {
			if h[c].at < h[least].at {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h timers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

// fire calls what is due at now, at most once each.
func (h *timers) fire(now int64) {
	for len(*h) > 0 && (*h)[0].at <= now {
		t := (*h)[0]
		h.remove(t)
		t.due(now)
	}
}
