package proxyproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

// head returns a header of version 2.
func head(command, family byte, rest string) string {
	b := append([]byte(signature), command, family, 0, 0)
	binary.BigEndian.PutUint16(b[atLength:], uint16(len(rest)))
	return string(b) + rest
}

// tlv returns an extension of a header of version 2.
func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// summed puts the checksum of a header in the place of "SUM.".
func summed(header string) string {
	sum := crc32.Checksum([]byte(strings.Replace(header, "SUM.", "\x00\x00\x00\x00", 1)), castagnoli)
	return strings.Replace(header, "SUM.", string(binary.BigEndian.AppendUint32(nil, sum)), 1)
}

const (
	four   = "\xc0\x00\x02\x07\x0a\x00\x00\x01\xdc\x04\x01\xbb" // 192.0.2.7:56324 to 10.0.0.1:443
	source = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"
	six    = source + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xdc\x04\x01\xbb"
	mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x07"
)

func addresses(from, to string) Header {
	return Header{Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to)}
}

var (
	header4 = addresses("192.0.2.7:56324", "10.0.0.1:443")
	header6 = addresses("[2001:db8::7]:56324", "[2001:db8::1]:443")
	widest  = strings.Repeat("ffff:", 7) + "ffff"
)

var accepted = []struct {
	name, in string
	want     Header
}{
	{"v1 tcp4", "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", header4},
	{"v1 tcp4, longest", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", addresses("255.255.255.255:65535", "255.255.255.255:65535")},
	{"v1 tcp4, zeros", "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", addresses("0.0.0.0:0", "0.0.0.0:0")},
	{"v1 tcp6", "PROXY TCP6 2001:db8::7 2001:0DB8:0:0:0:0:0:1 56324 443\r\n", header6},
	{
		"v1 tcp6, longest", "PROXY TCP6 " + widest + " " + widest + " 65535 65535\r\n",
		addresses("["+widest+"]:65535", "["+widest+"]:65535"),
	},
	{"v1 tcp6, mapped", "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:a00:1 56324 443\r\n", header4},
	{"v1 unknown", "PROXY UNKNOWN\r\n", Header{Local: true}},
	{"v1 unknown, longest", "PROXY UNKNOWN " + widest + " " + widest + " 65535 65535\r\n", Header{Local: true}},
	{"v1 unknown, nonsense", "PROXY UNKNOWN \x00x  y\r\n", Header{Local: true}},
	{"v2 tcp4", head(proxy, 0x11, four), header4},
	{"v2 tcp6", head(proxy, 0x21, six), header6},
	{"v2 tcp6, mapped", head(proxy, 0x21, mapped+mapped+"\xdc\x04\x01\xbb"), addresses("192.0.2.7:56324", "192.0.2.7:443")},
	{"v2 unix stream", head(proxy, 0x31, strings.Repeat("/", 216)), Header{Local: true}},
	{"v2 unix datagram", head(proxy, 0x32, strings.Repeat("/", 216)), Header{Local: true}},
	{"v2 udp4", head(proxy, 0x12, four), Header{Local: true}},
	{"v2 inet without a protocol", head(proxy, 0x10, four), Header{Local: true}},
	{"v2 unspecified", head(proxy, 0x00, ""), Header{Local: true}},
	{"v2 unspecified with something", head(proxy, 0x01, "some"), Header{Local: true}},
	{"v2 local", head(local, 0x00, ""), Header{Local: true}},
	{"v2 local with addresses", head(local, 0x11, four), Header{Local: true}},
	{"v2 local with nonsense", head(local, 0xff, "x"), Header{Local: true}},
	{"v2 extensions", head(proxy, 0x11, four+tlv(0x02, "a.test")+tlv(0x04, "")+tlv(0xe0, "x")), header4},
	{"v2 checksum", summed(head(proxy, 0x11, four+tlv(typeCRC32C, "SUM."))), header4},
	{"v2 checksum in the middle", summed(head(proxy, 0x21, six+tlv(0x01, "h2")+tlv(typeCRC32C, "SUM.")+tlv(0x04, "\x00"))), header6},
	{"v2 largest", head(proxy, 0x11, four+tlv(0x04, strings.Repeat("n", MaxBytes-fixed-len(four)-3))), header4},
}

// A header is read when its last byte has come, and not before, however the
// bytes come and whatever follows.
func TestParse(t *testing.T) {
	for _, test := range accepted {
		for i := range len(test.in) {
			if h, n, err := Parse([]byte(test.in[:i])); n != 0 || err != nil || h != (Header{}) {
				t.Fatalf("%s, first %d bytes: got %+v, %d, %v; want to be asked for more", test.name, i, h, n, err)
			}
		}
		for _, rest := range []string{"", "G", "\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", signature} {
			h, n, err := Parse([]byte(test.in + rest))
			if n != len(test.in) || err != nil || h != test.want {
				t.Errorf("%s before %q: got %+v, %d, %v; want %+v, %d", test.name, rest, h, n, err, test.want, len(test.in))
			}
		}
	}
}

func TestParseRefused(t *testing.T) {
	line := func(s string) string { return s + "\r\n" }
	for _, test := range []struct {
		in   string
		want error
	}{
		{"GET / HTTP/1.1\r\n", errNeither},
		{"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n", errNeither},
		{"PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n", errNeither},
		{"PROXY\tTCP4", errNeither},
		{" PROXY", errNeither},
		{"PROXY TCP5 ", errNeither},
		{"PROXY tcp4 ", errNeither},
		{"PROXY UDP4 ", errNeither},
		{"PROXY unknown\r\n", errNeither},
		{"PROXY \r\n", errNeither},
		{"PROXY\r\n", errNeither},
		{"\x16\x03\x01", errNeither},
		{"\n", errNeither},
		{"\r\n\r\nGET", errNeither},
		{signature[:11] + "\r", errNeither},
		{"PROXY UNKNOWNS\r\n", errLine},
		{"PROXY UNKNOWN\n\r\n", errLine},
		{"PROXY UNKNOWN a\nb\r\n", errLine},
		{"PROXY UNKNOWN\rx", errLine},
		{"PROXY TCP4\r", errNeither},
		{"PROXY UNK\r\n", errNeither},
		{"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rG", errLine},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n"), errLine},
		{line("PROXY TCP4 "), errAddress},
		{line("PROXY TCP4 1.1.1.1"), errAddress},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1"), errLine},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 1"), errLine},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 1 "), errPort},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1  1 1"), errPort},
		{line("PROXY TCP4  1.1.1.1 1.1.1.1 1 1"), errAddress},
		{line("PROXY TCP4 1.1.1.1  1.1.1.1 1 1"), errAddress},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 "), errPort},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1"), errPort},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 01 1"), errPort},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 1 00"), errPort},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 65536 1"), errPort},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 1 100000"), errPort},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 -1 1"), errPort},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 +1 1"), errPort},
		{line("PROXY TCP4 1.1.1.1 1.1.1.1 1 0x1"), errPort},
		{line("PROXY TCP4 1.1.1.01 1.1.1.1 1 1"), errAddress},
		{line("PROXY TCP4 1.1.1.256 1.1.1.1 1 1"), errAddress},
		{line("PROXY TCP4 1.1.1 1.1.1.1 1 1"), errAddress},
		{line("PROXY TCP4 1.1.1.1.1 1.1.1.1 1 1"), errAddress},
		{line("PROXY TCP4 ::1 ::1 1 1"), errAddress},
		{line("PROXY TCP4 1.1.1.1 ::1 1 1"), errAddress},
		{line("PROXY TCP4 ::ffff:1.1.1.1 1.1.1.1 1 1"), errAddress},
		{line("PROXY TCP6 1.1.1.1 1.1.1.1 1 1"), errAddress},
		{line("PROXY TCP6 ::1 1.1.1.1 1 1"), errAddress},
		{line("PROXY TCP6 ::1%eth0 ::1 1 1"), errAddress},
		{line("PROXY TCP6 [::1] [::1] 1 1"), errAddress},
		{line("PROXY TCP6 1::2::3 ::1 1 1"), errAddress},
		{line("PROXY TCP6 1:2:3:4:5:6:7 ::1 1 1"), errAddress},
		{line("PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 1"), errAddress},
		{line("PROXY TCP6 00001::1 ::1 1 1"), errAddress},
		{"PROXY TCP4 " + strings.Repeat("1", 200), errLong},
		{"PROXY UNKNOWN " + strings.Repeat("x", maxLine-len("PROXY UNKNOWN ")-1) + "\r\n", errLong},
		{head(0x11, 0x11, four), errVersion},
		{head(0x31, 0x11, four), errVersion},
		{head(0x22, 0x11, four), errCommand},
		{head(0x2f, 0x11, four), errCommand},
		{head(proxy, 0x41, four), errFamily},
		{head(proxy, 0x13, four), errFamily},
		{head(proxy, 0x1f, four), errFamily},
		{head(proxy, 0x03, ""), errFamily},
		{head(proxy, 0x11, four[:11]), errShort},
		{head(proxy, 0x11, ""), errShort},
		{head(proxy, 0x21, four), errShort},
		{head(proxy, 0x31, six), errShort},
		{head(proxy, 0x11, four+"\x04"), errTLV},
		{head(proxy, 0x11, four+"\x04\x00"), errTLV},
		{head(proxy, 0x11, four+"\x04\x00\x01"), errTLV},
		{head(proxy, 0x11, four+tlv(0x04, "a")+"\x04\xff\xff"), errTLV},
		{head(proxy, 0x12, four+"\x04"), errTLV},
		{head(proxy, 0x11, four+tlv(typeCRC32C, "abc")), errTLV},
		{head(proxy, 0x11, four+tlv(typeCRC32C, "abcde")), errTLV},
		{head(proxy, 0x11, four+tlv(typeCRC32C, "abcd")), errChecksum},
		{strings.Replace(summed(head(proxy, 0x11, four+tlv(typeCRC32C, "SUM."))), "\xc0", "\xc1", 1), errChecksum},
		{head(proxy, 0x11, strings.Repeat("x", MaxBytes-fixed+1)), errTooLarge},
		{head(local, 0x11, strings.Repeat("x", 1<<16-1)), errTooLarge},
	} {
		for end := 1; ; end++ {
			h, n, err := Parse([]byte(test.in[:end]))
			if n == 0 && err == nil && end < len(test.in) {
				continue
			}
			if h != (Header{}) || n != 0 || !errors.Is(err, test.want) {
				t.Errorf("%.60q at %d bytes: got %+v, %d, %v; want error %v", test.in, end, h, n, err, test.want)
			}
			break
		}
	}
}

// Bytes that cannot become a header are refused when they come, not when a whole
// header would have.
func TestParseRefusedEarly(t *testing.T) {
	for _, test := range []struct {
		in   string
		want error
	}{
		{"G", errNeither},
		{"PROXY TCP4 " + strings.Repeat("1", maxLine-len("PROXY TCP4 ")), errLong},
		{"\r\n\r\nG", errNeither},
		{signature + "\x11", errVersion},
		{signature + "\x22", errCommand},
		{signature + "\x21\x11\xff\xff", errTooLarge},
	} {
		if _, n, err := Parse([]byte(test.in)); n != 0 || !errors.Is(err, test.want) {
			t.Errorf("%q: got %d, %v; want error %v", test.in, n, err, test.want)
		}
	}
}

func TestParseAllocations(t *testing.T) {
	var inputs [][]byte
	for _, test := range accepted {
		inputs = append(inputs, []byte(test.in))
	}
	inputs = append(inputs, []byte("PROXY TCP4 1.1.1.1 x 1 1\r\n"), []byte("GET"))
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range inputs {
			Parse(b)
		}
	}); n != 0 {
		t.Errorf("got %v allocations; want 0", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, test := range accepted {
		f.Add([]byte(test.in), uint16(len(test.in)/2))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		h, n, err := Parse(b)
		if err != nil && (n != 0 || h != (Header{})) || n > len(b) || n > MaxBytes {
			t.Fatalf("%q: got %+v, %d, %v", b, h, n, err)
		}
		// A part says the same as the whole, or that more must come.
		part := b[:min(int(cut), len(b))]
		if h2, n2, err2 := Parse(part); (n2 != 0 || err2 != nil) && (h2 != h || n2 != n || (err2 == nil) != (err == nil)) {
			t.Fatalf("%q: got %+v, %d, %v; its first %d bytes %+v, %d, %v", b, h, n, err, len(part), h2, n2, err2)
		}
		if n == 0 {
			if err == nil && len(b) >= MaxBytes {
				t.Fatalf("%d bytes and no end: %q", len(b), b)
			}
			return
		}
		if h.Local != !h.Source.IsValid() || h.Local != !h.Destination.IsValid() {
			t.Fatalf("%q: got %+v", b, h)
		}
		if h.Local {
			return
		}
		family := "TCP4"
		if h.Source.Addr().Is6() || h.Destination.Addr().Is6() {
			family = "TCP6"
		}
		again := "PROXY " + family
		for _, a := range []netip.Addr{h.Source.Addr(), h.Destination.Addr()} {
			if a.Is4() && family == "TCP6" {
				a = netip.AddrFrom16(a.As16())
			}
			again += " " + a.String()
		}
		again += fmt.Sprintf(" %d %d\r\n", h.Source.Port(), h.Destination.Port())
		if h2, n2, err := Parse([]byte(again)); h2 != h || n2 != len(again) || err != nil {
			t.Fatalf("%q written as %q: got %+v, %d, %v; want %+v", b, again, h2, n2, err, h)
		}
	})
}
