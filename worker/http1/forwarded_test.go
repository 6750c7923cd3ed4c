package http1

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestForwardedFor(t *testing.T) {
	const xff = "X-Forwarded-For: "
	for _, test := range []struct {
		fields string
		want   []string
	}{
		{"", nil},
		{xff + "\r\n", nil},
		{xff + "192.0.2.7\r\n", []string{"192.0.2.7"}},
		{xff + "192.0.2.7, 10.0.0.1 ,10.0.0.2\r\n", []string{"10.0.0.2", "10.0.0.1", "192.0.2.7"}},
		{xff + "1.1.1.1\r\nA: 9.9.9.9\r\nx-forwarded-for: 2.2.2.2, 3.3.3.3\r\n", []string{"3.3.3.3", "2.2.2.2", "1.1.1.1"}},
		{xff + ",, 1.1.1.1,,\r\n" + xff + "\r\n", []string{"1.1.1.1"}},
		{xff + "1.1.1.1:80, [2001:db8::1], [2001:db8::2]:443, 2001:db8::3\r\n", []string{"2001:db8::3", "2001:db8::2", "2001:db8::1", "1.1.1.1"}},
		{xff + "::ffff:1.1.1.1, ::ffff:101:101\r\n", []string{"1.1.1.1", "1.1.1.1"}},
		{xff + "1.1.1.1, unknown, 2.2.2.2\r\n", []string{"2.2.2.2"}},
		{xff + "1.1.1.1\r\n" + xff + "x\r\n" + xff + "2.2.2.2\r\n", []string{"2.2.2.2"}},
		{xff + "1.1.1.1, 2.2.2.2:, 3.3.3.3\r\n", []string{"3.3.3.3", "2.2.2.2", "1.1.1.1"}},
		{xff + "2.2.2.2:x\r\n", nil},
		{xff + "2.2.2.2:65536\r\n", nil},
		{xff + "[2.2.2.2]:1\r\n", []string{"2.2.2.2"}},
		{xff + "[::1\r\n", nil},
		{xff + "[\r\n", nil},
		{xff + "[]\r\n", nil},
		{xff + "[::1]1\r\n", nil},
		{xff + "[::1]:x\r\n", nil},
		{xff + "::1%eth0\r\n", nil},
		{xff + "\"1.1.1.1\"\r\n", nil},
		{xff + "for=1.1.1.1\r\n", nil},
		{xff + "1.1.1.1 2.2.2.2\r\n", nil},
		{xff + strings.Repeat("8.8.8.8, ", 20) + "9.9.9.9\r\n", append([]string{"9.9.9.9"}, slices.Repeat([]string{"8.8.8.8"}, MaxForwardedFor-1)...)},
	} {
		var r Request
		if n, err := r.Parse([]byte(get+test.fields+"\r\n"), &testLimits); n == 0 {
			t.Fatalf("%q: %v", test.fields, err)
		}
		before := netip.MustParseAddr("127.0.0.1")
		want := []netip.Addr{before}
		for _, s := range test.want {
			want = append(want, netip.MustParseAddr(s))
		}
		if got := r.ForwardedFor([]netip.Addr{before}); !slices.Equal(got, want) {
			t.Errorf("%q: got %v; want %v", test.fields, got, want)
		}
	}
}

func TestForwardedProto(t *testing.T) {
	for _, test := range []struct{ fields, want string }{
		{"", ""},
		{"X-Forwarded-Proto: https\r\n", "https"},
		{"x-forwarded-proto: HTTP\r\n", "http"},
		{"X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n", "https"},
		{"X-Forwarded-Proto: http, https\r\n", "https"},
		{"X-Forwarded-Proto: https,\r\n", ""},
		{"X-Forwarded-Proto:\r\n", ""},
		{"X-Forwarded-Proto: ws\r\n", ""},
		{"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: gopher\r\n", ""},
	} {
		var r Request
		if n, err := r.Parse([]byte(get+test.fields+"\r\n"), &testLimits); n == 0 {
			t.Fatalf("%q: %v", test.fields, err)
		}
		got := r.ForwardedProto()
		if string(got) != test.want || (got == nil) != (test.want == "") {
			t.Errorf("%q: got %q; want %q", test.fields, got, test.want)
		}
	}
}

// Whatever the fields hold, what comes out are addresses, and few.
func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"192.0.2.7, [::1]:80", "1.1.1.1:80,, unknown , ::1", "[", "[]", ":", "1.:1"} {
		f.Add([]byte(s), "10.0.0.1")
	}
	f.Fuzz(func(t *testing.T, value []byte, last string) {
		head := []byte(get)
		for _, v := range [][]byte{value, []byte(last)} {
			head, _ = AppendField(head, []byte("X-Forwarded-For"), v)
		}
		var r Request
		if n, err := r.Parse(append(head, "\r\n"...), &testLimits); n == 0 {
			t.Skip(err)
		}
		got := r.ForwardedFor(nil)
		if len(got) > MaxForwardedFor {
			t.Fatalf("%q: got %d addresses", head, len(got))
		}
		for _, a := range got {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
				t.Fatalf("%q: got %v", head, got)
			}
		}
		if want, err := netip.ParseAddr(last); err == nil && want.Zone() == "" && (len(got) == 0 || got[0] != want.Unmap()) {
			t.Fatalf("%q: got %v; want %v first", head, got, want)
		}
	})
}
