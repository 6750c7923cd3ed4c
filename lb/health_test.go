package lb

import (
	"syscall"
	"testing"
	"time"

	"github.com/proxyd/proxyd/lb/reason"
)

func TestHealthWordHoldsAll(t *testing.T) {
	const years = 30 * 365 * 24 * time.Hour
	for _, h := range []health{
		pack(Unknown, 0, passed, 0),
		pack(Down, maxStreak, reason.Max, int64(years)),
		pack(Up, 7, reason.Of(syscall.ECONNREFUSED), int64(time.Millisecond)),
	} {
		if got := pack(h.state(), h.streak(), h.reason(), h.changed()); got != h {
			t.Errorf("unpacked and packed: got %x; want %x", got, h)
		}
	}
	if h := pack(Down, 200, 111, int64(years)); h.state() != Down || h.streak() != 200 || h.reason() != 111 || h.changed() != int64(years) {
		t.Errorf("got %v, %d, %d, %d; want down, 200, 111, %d", h.state(), h.streak(), h.reason(), h.changed(), int64(years))
	}
}

// Each letter of results is a probe, + or -; of want the state after it.
func TestHealthNext(t *testing.T) {
	for _, c := range []struct {
		rise, fall    int
		results, want string
	}{
		{1, 1, "+-+--++", "UDUDDUU"},
		{1, 1, "-+", "DU"},
		{3, 2, "+--+++", "UUDDDU"},
		{3, 2, "+-+-+-+--", "UUUUUUUUD"},
		{3, 2, "-++-+++", "DDDDDDU"},
		{3, 3, "+", "U"}, // the first probe alone decides
		{3, 3, "-", "D"},
	} {
		var h health
		got := ""
		changed := int64(0)
		for i, result := range c.results {
			now := int64(i+1) * int64(time.Second)
			r := passed
			if result == '-' {
				r = reason.Of(syscall.ECONNREFUSED)
			}
			before := h.state()
			h = h.next(r, now, c.rise, c.fall)
			got += map[State]string{Unknown: "?", Up: "U", Down: "D"}[h.state()]
			if h.state() != before {
				changed = now
			}
			if h.changed() != changed {
				t.Errorf("rise %d, fall %d, %s: after probe %d changed at %d; want %d", c.rise, c.fall, c.results, i, h.changed(), changed)
			}
		}
		if got != c.want {
			t.Errorf("rise %d, fall %d, probes %s: got %s; want %s", c.rise, c.fall, c.results, got, c.want)
		}
	}
}

func TestHealthStreakNeverOverflows(t *testing.T) {
	check := Check{Rise: 1 << 40, Fall: 1 << 40}
	check.setDefaults()
	h := pack(Up, 0, passed, 0)
	n := 0
	for ; h.state() == Up && n < 1000; n++ {
		h = h.next(reason.Failed, 0, check.Rise, check.Fall)
	}
	if n != maxStreak || h.reason() != reason.Failed {
		t.Errorf("down after %d failures for %q; want %d for %q", n, h.reason(), maxStreak, reason.Failed)
	}
}

// A server presumed to be up is found down by its first probe, whatever fall is;
// after a pass it is as any other.
func TestPresumedHealth(t *testing.T) {
	for _, fall := range []int{1, 3, maxStreak} {
		h := presumed(int64(time.Hour), fall)
		if h == 0 || h.state() != Up || h.changed() != int64(time.Hour) {
			t.Errorf("fall %d: got %v since %d; want up since an hour", fall, h.state(), h.changed())
		}
		if got := h.next(reason.HTTP(503), int64(2*time.Hour), 1, fall); got.state() != Down || got.reason() != reason.HTTP(503) {
			t.Errorf("fall %d: after a failure %v for %v; want down for HTTP status 503", fall, got.state(), got.reason())
		}
		if got := h.next(passed, int64(2*time.Hour), 1, fall); got != pack(Up, 0, passed, int64(time.Hour)) {
			t.Errorf("fall %d: after a pass %v with streak %d; want up, no streak", fall, got.state(), got.streak())
		}
	}
}
