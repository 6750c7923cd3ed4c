package ipaddr

import (
	"net/netip"
	"testing"
)

// seeds are addresses and near misses; netip.ParseAddr says which is which.
var seeds = []string{
	"192.0.2.7", "0.0.0.0", "255.255.255.255", "256.1.1.1", "1.1.1", "1.1.1.1.", ".1.1.1", "1..1.1", "1.1.1.1.1",
	"01.1.1.1", "1.1.1.00", "1.1.1.1 ", " 1.1.1.1", "1.1.1.1:80", "1.1.1.-1", "1", "", ".", "...", "a.b.c.d", "1,1,1,1",
	"::", "::1", "1::", "1::8", "2001:db8::7", "2001:DB8:0:0:0:0:0:7", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8",
	"1:2:3::5:6:7:8", "1:2:3:4::5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", ":::", ":", "1:", ":1", "1:::2",
	"::ffff:192.0.2.7", "::192.0.2.7", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:1.2.3.4", "::1.2.3", "::1.2.3.4.5",
	"::1.2.3.4:5", "1.2.3.4::", "::256.1.1.1", "::01.1.1.1", "::12345", "::g", "fe80::1%eth0", "::%", "[::1]", "1:2:3:4:5:6:7:",
	"::1:2:3:4:5:6:1.2.3.4", "::f.1.1.1", "::1234.1.1.1", "0000:0000:0000:0000:0000:0000:0000:0000",
}

// check compares Parse with netip.ParseAddr, which knows zones in addition.
func check(t *testing.T, s string) {
	t.Helper()
	want, err := netip.ParseAddr(s)
	if err != nil || want.Zone() != "" {
		want = netip.Addr{}
	}
	got, ok := Parse([]byte(s))
	if got != want || ok != want.IsValid() {
		t.Errorf("Parse(%q): got %v, %t; want %v", s, got, ok, want)
	}
}

func TestParse(t *testing.T) {
	for _, s := range seeds {
		check(t, s)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(check)
}

func BenchmarkParse(b *testing.B) {
	for _, s := range []string{"192.0.2.107", "2001:db8:85a3::8a2e:370:7334"} {
		text := []byte(s)
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := Parse(text); !ok {
					b.Fatal("refused")
				}
			}
		})
	}
}

func TestParseAllocations(t *testing.T) {
	inputs := [][]byte{[]byte("192.0.2.7"), []byte("::ffff:192.0.2.7"), []byte("nothing"), []byte("1::2::3")}
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range inputs {
			Parse(b)
		}
	}); n != 0 {
		t.Errorf("got %v allocations; want 0", n)
	}
}
