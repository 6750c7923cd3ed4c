package limiter

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

func newTestHot(t testing.TB) *hot {
	t.Helper()
	seg := newSegment(t)
	h, err := newHot(seg, "test", seg.Hasher("test"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &h
}

func (h *hot) noteKey(window uint64, key string, used uint64, refused bool) {
	h.note(window, h.hasher.Hash([]byte(key)), []byte(key), used, refused)
}

func TestHot(t *testing.T) {
	long := strings.Repeat("x", textBytes)
	h := newTestHot(t)
	const w = 1<<32 + 7 // of a word's 32 bits only the lower ones are left
	for used := range uint64(200) {
		h.noteKey(w-2, "old", used+1, false)
		h.noteKey(w-1, "before", used+1, false)
	}
	for used := range uint64(40) {
		h.noteKey(w, "now", used+1, false)
		h.noteKey(w-1, "both", used+1, false)
		h.noteKey(w, "both", min(used+1, 20), used >= 20)
	}
	h.noteKey(w, long, 3, false)
	h.noteKey(w, long+"y", 2, false)
	h.noteKey(w, "", 1, false)
	want := []HotKey{
		{Key: "before", Count: 192}, // 200, to a multiple of 64
		{Key: "both", Count: 20, Refused: 20},
		{Key: "now", Count: 40},
		{Key: long, Count: 3},
		{Key: long, Cut: true, Count: 2},
		{Key: "", Count: 1},
	}
	for _, n := range []int{-1, 0, 2, 6, 1000} {
		if got, want := h.list(n, w), want[:min(max(n, 0), len(want))]; !slices.Equal(got, want) {
			t.Errorf("list(%d):\ngot  %+v\nwant %+v", n, got, want)
		}
	}
	if got := h.list(10, w+2); len(got) != 0 {
		t.Errorf("two windows later: got %+v; want none", got)
	}
}

// A process that is behind does not touch the books of those that are ahead.
func TestHotBehind(t *testing.T) {
	h := newTestHot(t)
	for i := range bookSets * ways * 10 {
		h.noteKey(12, fmt.Sprint("ahead-", i), 2, false)
	}
	before := h.list(1000, 12)
	for i := range 1000 {
		h.noteKey(10, fmt.Sprint("behind-", i), 50, true)
	}
	if after := h.list(1000, 12); len(before) != bookSets*ways || !slices.Equal(after, before) {
		t.Errorf("keys in the book: got %d before, %d after, other ones; want the same %d", len(before), len(after), bookSets*ways)
	}
}

// Refusals are counted one by one up to 64 and by a sample above.
func TestHotRefusals(t *testing.T) {
	for _, refusals := range []uint64{1, 64, 10_000, 1_000_000} {
		h := newTestHot(t)
		for range refusals {
			h.noteKey(1, "key", 5, true)
		}
		got := h.list(1, 1)[0]
		slack := 0.0
		if refusals > sampleOf {
			slack = max(0.1, 60/float64(refusals/sampleOf)) // ten sigmas of few samples
		}
		if d := float64(got.Refused)/float64(refusals) - 1; d > slack || d < -slack {
			t.Errorf("refused: got %d; want %d", got.Refused, refusals)
		}
	}
}

// The ten keys that are really the hottest lead the list, among many.
func TestHottestOfMany(t *testing.T) {
	for _, c := range []struct {
		exponent float64
		limit    int64
	}{{1.1, 1e6}, {1.3, 1e6}, {1.1, 300}, {2, 5}} {
		t.Run(fmt.Sprintf("%v/%d", c.exponent, c.limit), func(t *testing.T) {
			l := limiterOf(t, newSegment(t), Rule{Name: "api", Max: c.limit, Window: time.Second})
			now := shm.Now() + int64(time.Hour)
			now -= now % int64(time.Second)
			zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), c.exponent, 1, 100_000)
			truth := make(map[string]int)
			for i := range 1_000_000 {
				key := fmt.Sprintf("client-%d", zipf.Uint64())
				l.take(now+int64(i), []byte(key))
				truth[key]++
			}
			window := uint64(now / int64(time.Second))
			listed := l.hot.list(15, window)
			byDemand := slices.SortedFunc(maps.Keys(truth), func(a, b string) int { return truth[b] - truth[a] })
			for _, key := range byDemand[:10] {
				i := slices.IndexFunc(listed, func(k HotKey) bool { return k.Key == key })
				if i < 0 {
					t.Errorf("%s, with %d requests: got not among %+v", key, truth[key], listed)
					continue
				}
				want := min(uint64(truth[key]), uint64(c.limit))
				if got := listed[i].Count; got > want || got+step <= want {
					t.Errorf("%s: count: got %d; want %d to %d", key, got, want-step+1, want)
				}
				want = uint64(truth[key]) - want
				if got := listed[i].Refused; want <= sampleOf && got != want || got > want*5/4+20*sampleOf || got < want*3/4-min(want*3/4, 20*sampleOf) {
					t.Errorf("%s: refused: got %d; want %d", key, got, want)
				}
			}
			if later := l.hot.list(15, window+1); !slices.Equal(later, listed) {
				t.Errorf("in the next window: got %+v; want %+v", later, listed)
			}
		})
	}
}

// Writers that are stopped or killed anywhere leave any mix of words. What is listed
// is nevertheless a key that there was, and those that come by again are listed.
func TestHotTorn(t *testing.T) {
	h := newTestHot(t)
	r := rand.New(rand.NewPCG(3, 4))
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("client-%d-%s", i, strings.Repeat("z", 2*i)))
	}
	for round := range uint64(300) {
		for i, key := range keys {
			h.noteKey(round, key, uint64(i+1), i%3 == 0)
		}
		for range 500 { // words of one key in the place of another, and rubbish
			set := h.books[round&1].set(r.Uint64N(bookSets))
			to := idsAt + r.IntN(setWords-idsAt)
			switch r.IntN(3) {
			case 0:
				set[to].Store(h.books[round&1].set(r.Uint64N(bookSets))[to].Load())
			case 1:
				set[to].Store(set[idsAt+r.IntN(setWords-idsAt)].Load())
			case 2:
				set[to].Store(r.Uint64())
			}
		}
		for _, k := range h.list(1000, round) {
			if !slices.ContainsFunc(keys, func(key string) bool { return key[:min(len(key), textBytes)] == k.Key }) {
				t.Fatalf("round %d: listed: got %+v; want keys that there are", round, k)
			}
		}
	}
	for i := range h.books { // a window of the far future would stand for as long
		for set := range uint64(bookSets) {
			for _, at := range []int{talliesAt, refusedAt} {
				for way := range ways {
					h.books[i].set(set)[at+way].Store(rand.Uint64N(1000) << 32)
				}
			}
		}
	}
	for used := range uint64(128) {
		for _, key := range keys {
			h.noteKey(1001, key, used+1, false)
		}
	}
	if got := len(h.list(1000, 1001)); got != len(keys) {
		t.Errorf("keys listed at last: got %d; want %d", got, len(keys))
	}
}

func BenchmarkHotNote(b *testing.B) {
	for _, keys := range []int{100, 10_000, 1_000_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			h := newTestHot(b)
			names := make([][]byte, keys)
			hashes := make([]uint64, keys)
			for i := range names {
				names[i] = fmt.Appendf(nil, "client-%d", i)
				hashes[i] = h.hasher.Hash(names[i])
			}
			b.ReportAllocs()
			i, used := 0, uint64(1)
			for b.Loop() {
				h.note(1, hashes[i], names[i], used, false)
				if i++; i == keys {
					i = 0
					used++
				}
			}
		})
	}
}

// BenchmarkHotRefused is a note of a refusal, of a key that is in the book.
func BenchmarkHotRefused(b *testing.B) {
	h := newTestHot(b)
	key := []byte("client")
	hash := h.hasher.Hash(key)
	for b.Loop() {
		h.note(1, hash, key, 5, true)
	}
}
