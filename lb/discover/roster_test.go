package discover

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
)

func openRoster(t testing.TB, seg *shm.Segment, slot int) *roster {
	t.Helper()
	r, err := newRoster(seg, "one", "dns app.test:80", slot)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func equal(a, b record) bool {
	return slices.Equal(a.servers, b.servers) && a.answered == b.answered && a.next == b.next &&
		a.failures == b.failures && a.origin == b.origin && a.fault == b.fault
}

func TestRecordIsReadAsWritten(t *testing.T) {
	r := openRoster(t, newSegment(t), shm.MaxSlots-1)
	if head, rec := r.load(); head != 0 || !equal(rec, record{}) {
		t.Fatalf("new roster: got head %d, %+v; want nothing", head, rec)
	}
	full := number(3)
	full.servers = nil
	for i := range maxServers {
		full.servers = append(full.servers, server{
			addr:   netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i)}), uint16(65535-i)),
			weight: uint16(65535 - i), backup: i%2 == 1,
		})
	}
	full.fault = string(make([]byte, maxFault))
	for _, want := range []record{
		{answered: 1, next: 1 << 62, failures: 1 << 30, origin: 1 << 63, fault: "SERVFAIL", servers: []server{server4(1, 80)}},
		full,
		{servers: []server{{netip.MustParseAddrPort("[2001:db8::1]:443"), 7, true}, server4(2, 1)}},
		{fault: "no such name"},
	} {
		before, _ := r.load()
		if !r.publish(before, want) {
			t.Fatal("not published")
		}
		head, got := r.load()
		if head == before || !equal(got, want) {
			t.Errorf("got head %d, before %d, %+v; want another head and %+v", head, before, got, want)
		}
	}
}

// A writer that stood still while another wrote changes nothing, whichever slot
// the other has.
func TestLateWriterIsRefused(t *testing.T) {
	seg := newSegment(t)
	late := openRoster(t, seg, 0)
	for _, slot := range []int{0, 1, 0, 0} {
		head, _ := late.load()
		want := number(rand.Uint64())
		if !openRoster(t, seg, slot).publish(head, want) {
			t.Fatal("not published")
		}
		if late.publish(head, number(1)) {
			t.Error("published over a record that it had not seen")
		}
		if _, got := late.load(); !equal(got, want) {
			t.Errorf("got %v; want the other's record whole", got)
		}
	}
}

// number is a record all of whose parts follow from n.
func number(n uint64) record {
	rec := record{answered: int64(n), next: int64(n) + 1, failures: int(uint32(n)), origin: n, fault: fmt.Sprint(n)}
	mix := rand.New(rand.NewPCG(n, 0))
	for range n % (maxServers + 1) {
		rec.servers = append(rec.servers, server{
			addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(mix.Uint32()), byte(mix.Uint32()), byte(mix.Uint32())}), uint16(mix.Uint32())),
			weight: uint16(mix.Uint32()), backup: mix.IntN(2) == 0,
		})
	}
	return rec
}

// check says whether rec is one of those that number makes, unmixed.
func check(rec record) error {
	if want := number(rec.origin); !equal(rec, want) {
		return fmt.Errorf("a mixed record: got %+v; want %+v", rec, want)
	}
	return nil
}

func BenchmarkLook(b *testing.B) {
	r := openRoster(b, newSegment(b), 0)
	r.publish(0, number(maxServers))
	f := &feed{roster: r}
	f.look()
	b.ReportAllocs()
	for b.Loop() {
		f.look()
	}
}

func BenchmarkLoad(b *testing.B) {
	r := openRoster(b, newSegment(b), 0)
	r.publish(0, number(maxServers))
	b.ReportAllocs()
	for b.Loop() {
		r.load()
	}
}
