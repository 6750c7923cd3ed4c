package shm

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func newSegment(t testing.TB) *Segment {
	t.Helper()
	s, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// again opens s as another process would.
func again(t testing.TB, s *Segment) *Segment {
	t.Helper()
	fd, err := unix.FcntlInt(s.File().Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Open(os.NewFile(uintptr(fd), "shm"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func TestOpenSeesTheSame(t *testing.T) {
	s := newSegment(t)
	s.Slot(5).Counters[Requests].Add(7)
	o := again(t, s)
	if got := o.Slot(5).Counters[Requests].Load(); got != 7 {
		t.Errorf("counter in second mapping: got %d; want 7", got)
	}
	if o.Seed() != s.Seed() || o.Seed() == 0 {
		t.Errorf("seeds: got %d; want %d, not 0", o.Seed(), s.Seed())
	}
	if got, want := o.Hash("a", []byte("b")), s.Hash("a", []byte("b")); got != want {
		t.Errorf("hash in second mapping: got %d; want %d", got, want)
	}
	if newSegment(t).Seed() == s.Seed() {
		t.Error("seeds of two segments are equal")
	}
}

func TestSegmentIsSealedAndSparse(t *testing.T) {
	f := newSegment(t).File()
	for _, size := range []int64{segmentSize - pageSize, segmentSize + pageSize} {
		if err := f.Truncate(size); err == nil {
			t.Errorf("truncate to %d: got no error", size)
		}
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	if got := stat.Blocks * 512; got > 1<<20 {
		t.Errorf("memory of an unused segment: got %d bytes; want at most 1 MiB", got)
	}
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags: got %#x, %v; want close-on-exec", flags, err)
	}
}

func TestClose(t *testing.T) {
	s, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("first Close: %v", err)
	}
	if err := s.Close(); err == nil {
		t.Error("second Close: got no error")
	}
}

// memfile is a memfd with those first words, of that size and with those seals.
func memfile(t testing.TB, size int64, seals int, words ...uint64) *os.File {
	t.Helper()
	fd, err := memfd()
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfile")
	var b []byte
	for _, w := range words {
		b = binary.NativeEndian.AppendUint64(b, w)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestOpenRefuses(t *testing.T) {
	pipe, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const size = 16 << 20
	for _, c := range []struct {
		name string
		file *os.File
		want string
	}{
		{"pipe", pipe, "not a memfd"},
		{"not sealed", memfile(t, size, 0, magic, 1<<32, size), "seals"},
		{"may grow", memfile(t, size, unix.F_SEAL_SHRINK, magic, 1<<32, size), "seals"},
		{"empty", memfile(t, 0, sizeSeals), "has 0 bytes"},
		{"short", memfile(t, int64(arenaStart)-1, sizeSeals, magic, 1<<32, size), "want at least"},
		{"foreign", memfile(t, size, sizeSeals, 1, 1<<32, size), "magic"},
		{"next layout", memfile(t, size, sizeSeals, magic, 2<<32, size), "layout is version 2, want 1"},
		{"wrong size", memfile(t, size, sizeSeals, magic, 1<<32, size+1), "header says 16777217 bytes, it has 16777216"},
	} {
		_, err := Open(c.file)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "open shared segment: ") {
			t.Errorf("%s: got error %v; want open shared segment: … %s", c.name, err, c.want)
		}
		if c.file.Close() == nil {
			t.Errorf("%s: Open has not closed the file", c.name)
		}
	}
	s, err := Open(memfile(t, size, sizeSeals, magic, layoutMajor<<32|99, size))
	if err != nil {
		t.Fatalf("later minor layout, other size: %v", err)
	}
	s.Close()
}

func FuzzOpen(f *testing.F) {
	f.Add(magic, uint64(1<<32), uint64(16<<20), uint64(arenaStart), uint64(0))
	f.Add(magic, uint64(1<<32), uint64(16<<20), uint64(1<<63), uint64(1))
	f.Fuzz(func(t *testing.T, magic, layout, size, arena, offset uint64) {
		s, err := Open(memfile(t, 16<<20, sizeSeals, magic, layout, size, 0, 0, 0, arena))
		if err != nil {
			return
		}
		defer s.Close()
		if r, err := s.region("a", 10); err == nil {
			r.offset.Store(offset)
		}
		if words, err := s.Words("a", 10); err == nil {
			words[9].Load() // must be mapped
		}
	})
}

// What is written by one version of proxyd is read by another.
func TestLayout(t *testing.T) {
	var l layout
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"header", unsafe.Sizeof(l.header), 4096},
		{"arena in header", unsafe.Offsetof(l.header.arena), 48},
		{"decision", unsafe.Offsetof(l.decision), 4096},
		{"slots", unsafe.Offsetof(l.slots), 8192},
		{"slot", unsafe.Sizeof(l.slots[0]), 2048},
		{"counters in slot", unsafe.Offsetof(l.slots[0].Counters), 64},
		{"servers", unsafe.Offsetof(l.servers), 8192 + 64*2048},
		{"server", unsafe.Sizeof(l.servers[0]), 64},
		{"regions", unsafe.Offsetof(l.regions), 8192 + 64*2048 + 8192*64},
		{"region", unsafe.Sizeof(l.regions[0]), 16},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d; want %d", c.name, c.got, c.want)
		}
	}
}

func TestNowIsMonotonicTime(t *testing.T) {
	for range 1000 {
		var before, after unix.Timespec
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
		now := Now()
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)
		const slack = int64(10 * time.Microsecond)
		if now < before.Nano()-slack || now > after.Nano()+slack {
			t.Fatalf("Now: got %d; want between %d and %d", now, before.Nano(), after.Nano())
		}
	}
}

func TestHashTellsNameFromKey(t *testing.T) {
	s := newSegment(t)
	seen := make(map[uint64]string)
	for _, pair := range [][2]string{{"a", "b"}, {"ab", ""}, {"", "ab"}, {"a", "\x00b"}, {"a\x00", "b"}, {"", ""}, {"a", "b "}} {
		h := s.Hash(pair[0], []byte(pair[1]))
		if other, ok := seen[h]; ok {
			t.Errorf("hash of %q: got that of %q", pair, other)
		}
		seen[h] = pair[0] + "|" + pair[1]
		if got := s.Hasher(pair[0]).Hash([]byte(pair[1])); got != h {
			t.Errorf("Hasher of %q: got %d; want %d", pair, got, h)
		}
	}
	for _, n := range []int{0, 10, 100, 300, 5000} {
		key := make([]byte, n)
		if got := testing.AllocsPerRun(100, func() { s.Hash("name", key); Now() }); got != 0 {
			t.Errorf("allocations for a key of %d bytes: got %v; want 0", n, got)
		}
	}
}
