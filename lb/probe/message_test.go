package probe

import (
	"encoding/binary"
	"testing"
)

func TestParseAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   []byte
		status int
		err    string
	}{
		{"serving", framed(8, 1), 1, ""},
		{"empty", framed(), 0, ""},
		{"the last one counts", framed(8, 1, 8, 2), 2, ""},
		{"long form of one", framed(0x88, 0x00, 0x81, 0x00), 1, ""},
		{"negative", framed(8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), -1, ""},
		{"more than an enum", framed(8, 0x81, 0x80, 0x80, 0x80, 0x10), 1, ""}, // 2³² + 1
		{"unknown fields", framed(2<<3, 7, 3<<3|1, 1, 2, 3, 4, 5, 6, 7, 8, 4<<3|2, 2, 8, 9, 5<<3|5, 1, 2, 3, 4, 8, 1), 1, ""},

		{"nothing", nil, 0, "no message"},
		{"half a prefix", []byte{0, 0, 0, 0}, 0, "no message"},
		{"compressed", []byte{1, 0, 0, 0, 2, 8, 1}, 0, "compressed message"},
		{"shorter than it says", []byte{0, 0, 0, 0, 3, 8, 1}, 0, "not one whole message"},
		{"two messages", append(framed(8, 1), framed(8, 1)...), 0, "not one whole message"},
		{"longer than anything", []byte{0, 0xff, 0xff, 0xff, 0xff, 8, 1}, 0, "not one whole message"},
		{"field zero", framed(0, 1), 0, "field without a number"},
		{"tag cut short", framed(0x80), 0, "field without a number"},
		{"tag of 2³²", framed(0x80, 0x80, 0x80, 0x80, 0x10, 1), 0, "field without a number"},
		{"tag too long", framed(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1), 0, "field without a number"},
		{"value cut short", framed(8, 0x80), 0, "field cut short"},
		{"no value", framed(8), 0, "field cut short"},
		{"fixed cut short", framed(2<<3|1, 1, 2, 3), 0, "field cut short"},
		{"bytes cut short", framed(2<<3|2, 3, 1, 2), 0, "field cut short"},
		{"bytes without end", framed(2<<3|2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), 0, "field cut short"},
		{"a group", framed(2<<3|3, 2<<3|4), 0, "field cut short"},
		{"status of bytes", framed(1<<3|2, 1, 1), 0, "status is no enum"},
	} {
		status, err := parseAnswer(c.body)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if status != c.status || text != c.err {
			t.Errorf("%s: got %d, %q; want %d, %q", c.name, status, text, c.status, c.err)
		}
	}
}

// What the parser reads has a true prefix, and reads the same with unknown fields
// before and behind it.
func FuzzParseAnswer(f *testing.F) {
	for _, b := range [][]byte{
		nil, framed(), framed(8, 1), framed(8, 2, 8, 1), framed(2<<3|2, 2, 8, 9, 8, 1), framed(8, 0x80),
		{1, 0, 0, 0, 2, 8, 1},
		framed(2<<3|1, 1, 2, 3, 4, 5, 6, 7, 8), framed(8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		status, err := parseAnswer(b)
		if err != nil {
			if status != 0 {
				t.Errorf("% x: got status %d beside error %v; want none", b, status, err)
			}
			return
		}
		if b[0] != 0 || int(binary.BigEndian.Uint32(b[1:])) != len(b)-prefixLen {
			t.Errorf("% x: passed; want its prefix refused", b)
		}
		unknown := []byte{15<<3 | wireBytes, 3, 8, 2, 8}
		fields := append(append(append([]byte{}, unknown...), b[prefixLen:]...), unknown...)
		if again, err := parseAnswer(framed(fields...)); again != status || err != nil {
			t.Errorf("% x among unknown fields: got %d, %v; want %d", b, again, err, status)
		}
	})
}

func TestQuestionIsReadAsItWasWritten(t *testing.T) {
	for _, service := range []string{"", "a", "grpc.health.v1.Health", string(make([]byte, 1000))} {
		b := appendQuestion([]byte("before"), service)
		if string(b[:6]) != "before" || int(binary.BigEndian.Uint32(b[7:])) != len(b)-6-prefixLen || b[6] != 0 {
			t.Fatalf("%.10q: got % x; want a whole message behind what was there", service, b)
		}
		got := ""
		if fields := b[6+prefixLen:]; len(fields) > 0 {
			_, size, ok := field(wireBytes, fields[1:])
			if !ok || fields[0] != 1<<3|wireBytes || size != len(fields)-1 {
				t.Fatalf("%.10q: got % x; want one field of bytes", service, fields)
			}
			got = string(fields[len(fields)-len(service):])
		}
		if got != service {
			t.Errorf("got service %.10q; want %.10q", got, service)
		}
	}
}
