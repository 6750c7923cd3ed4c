package limiter

import (
	"cmp"
	"slices"
	"testing"
)

// A request is one as its process saw it.
type request struct {
	key     int
	now     int64
	used    uint64 // of the limit; or of one that was refused, the time to wait
	counted uint64
}

// A history is requests for some keys, those that were admitted or those that were not.
type history []request

func (h history) byKey() map[int]history {
	keys := make(map[int]history)
	for _, q := range h {
		keys[q.key] = append(keys[q.key], q)
	}
	return keys
}

// checkPace checks that in no window of any length and phase a key had more than
// rate times the window, and the burst.
func (h history) checkPace(t *testing.T, r *rate) {
	t.Helper()
	for key, h := range h.byKey() {
		slices.SortFunc(h, func(a, b request) int { return cmp.Compare(a.now, b.now) })
		// From request i to j: (j-i+1-burst)*interval <= time j - time i. So what
		// time - index*interval has reached must never fall by more than this.
		best := h[0].now
		for i, q := range h {
			at := q.now - int64(i)*r.interval
			best = max(best, at)
			if at-best < r.interval-r.depth() {
				t.Fatalf("key %d: request %d of %d is %d ns too early", key, i, len(h), r.interval-r.depth()-(at-best))
			}
		}
	}
}

// checkArrivals checks that each arrival time follows from the one before: nothing
// is lost, and nothing counted twice; and the pace. Links that are missing may be so
// many.
func (h history) checkArrivals(t *testing.T, refusals history, r *rate, lost int) {
	t.Helper()
	readings := make(map[int64]bool)
	for _, q := range slices.Concat(h, refusals) {
		readings[q.now] = true
	}
	for key, h := range h.byKey() {
		slices.SortFunc(h, func(a, b request) int { return cmp.Compare(a.counted, b.counted) })
		before := h[0].counted
		for i := range h {
			q := &h[i]
			next := max(int64(before), q.now) + r.interval
			at := int64(q.counted) - r.interval
			switch {
			case i > 0 && int64(q.counted) < next:
				t.Fatalf("key %d: request %d: arrival time: got %d; want %d", key, i, q.counted, next)
			case readings[at]:
				q.now = at // its process was behind another, whose reading was the page's date
			case i > 0 && int64(q.counted) > next:
				q.now = at // for all that is known
				lost--
			}
			before = q.counted
		}
		h.checkPace(t, r)
	}
	if lost < 0 {
		t.Errorf("missing requests: got %d more than processes could lose; want none", -lost)
	}
}

// checkRuns checks that the verdicts in each window are about 1, 2, 3 and so on
// requests of a key in it, and about all those of the window before. In all that,
// so many may be missing.
func (h history) checkRuns(t *testing.T, length int64, limit uint64, lost int) {
	t.Helper()
	missing := 0
	for key, h := range h.byKey() {
		windows := make(map[uint64]history)
		for _, q := range h {
			windows[q.counted] = append(windows[q.counted], q)
		}
		first := slices.MinFunc(h, func(a, b request) int { return cmp.Compare(a.counted, b.counted) }).counted
		for window, h := range windows {
			if window == first {
				continue // that before it is not known
			}
			n, ok := h.missing(length, limit, uint64(len(windows[window-1])), lost)
			if !ok {
				t.Fatalf("key %d, window %d: %d requests after %d in the last window are not as many", key, window, len(h), len(windows[window-1]))
			}
			missing += n
		}
	}
	if most := 2 * lost; missing > most { // of its own window, and of the last for the next
		t.Errorf("missing requests: got %d; want at most %d", missing, most)
	}
}

// missing is how many requests must be missing of one key in one window, and in the
// one before, of which last are known.
func (h history) missing(length int64, limit, last uint64, most int) (n int, ok bool) {
	for more := range most + 1 {
		seen := make(map[uint64]bool)
		top, wrong := uint64(0), false
		for _, q := range h {
			left := min(int64(q.counted+1)*length-q.now, length)
			place := q.used - scale(last+uint64(more), uint64(left), uint64(length))
			wrong = wrong || place == 0 || place > limit || seen[place] || q.used > limit
			seen[place] = true
			top = max(top, place)
		}
		if n := more + int(top) - len(h); !wrong && n <= most {
			return n, true
		}
	}
	return 0, false
}

// checkPlaces checks that of each key in each window the requests admitted are the
// first, the second and so on, up to the limit if one was refused. In all, so many
// may be missing.
func (h history) checkPlaces(t *testing.T, refusals history, limit uint64, lost int) {
	t.Helper()
	type cell struct {
		key    int
		window uint64
	}
	places := make(map[cell]map[uint64]bool)
	top := make(map[cell]uint64)
	for _, q := range h {
		c := cell{q.key, q.counted}
		if places[c] == nil {
			places[c] = make(map[uint64]bool)
		}
		if places[c][q.used] || q.used == 0 || q.used > limit {
			t.Fatalf("key %d, window %d: place %d of %d: got it twice or beyond; want it once", q.key, q.counted, q.used, limit)
		}
		places[c][q.used] = true
		top[c] = max(top[c], q.used)
	}
	for _, q := range refusals {
		top[cell{q.key, q.counted}] = limit
	}
	missing := 0
	for c, n := range top {
		missing += int(n) - len(places[c])
	}
	if missing > lost {
		t.Errorf("not admitted in spite of demand: got %d; want at most %d", missing, lost)
	}
}

// checkRunsRefused checks that who was refused was one too many, of those that are
// known and so many that may be missing.
func (h history) checkRunsRefused(t *testing.T, refusals history, length int64, limit uint64, lost int) {
	t.Helper()
	type cell struct {
		key    int
		window uint64
	}
	n := make(map[cell]uint64)
	for _, q := range h {
		n[cell{q.key, q.counted}]++
	}
	first := make(map[int]uint64)
	for _, q := range h {
		if w, ok := first[q.key]; !ok || q.counted < w {
			first[q.key] = q.counted
		}
	}
	for _, q := range refusals {
		if q.counted <= first[q.key] {
			continue // what was before is not known
		}
		left := uint64(min(int64(q.counted+1)*length-q.now, length))
		last := n[cell{q.key, q.counted - 1}] + uint64(lost)
		if most := scale(last, left, uint64(length)) + n[cell{q.key, q.counted}] + uint64(lost); most < limit {
			t.Fatalf("key %d, window %d: refused after at most %d; want %d admitted", q.key, q.counted, most, limit)
		}
	}
}

// checkArrivalsRefused checks that who was refused was refused because of an arrival
// time that there has been, apart from those of so many requests.
func (h history) checkArrivalsRefused(t *testing.T, refusals history, r *rate, lost int) {
	t.Helper()
	type arrival struct {
		key  int
		time int64
	}
	known := make(map[arrival]bool)
	for _, q := range h {
		known[arrival{q.key, int64(q.counted)}] = true
	}
	missing := make(map[arrival]bool)
	for _, q := range refusals {
		if a := (arrival{q.key, q.now + int64(q.used) + r.depth() - r.interval}); !known[a] {
			missing[a] = true
		}
	}
	if len(missing) > lost {
		t.Errorf("arrival times that refused: got %d that nobody has made; want at most %d", len(missing), lost)
	}
}
