package http2

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// What the encoder makes x/net's decoder reads, whatever the table's size and
// however it changes.
func FuzzEncoder(f *testing.F) {
	f.Add([]byte("a: b\nc: d\na: b\n\na: b\nc: d\ncookie: x\n\n\x10a: b\na: b\n\na: b\n"))
	f.Add([]byte("a: b\na: b\n\n!a: b\na: b\na: b\n\n0!a: b\na: b\na: b\n"))
	f.Add([]byte("content-type: text/html\ndate: now\n\n\x80\n\xff\ncontent-type: text/html\ndate: now\n\n\x00\n:path: /\n\n\x30a: b\n"))
	f.Fuzz(func(t *testing.T, script []byte) {
		var e encoder
		e.max, e.smallest = tableBytes, tableBytes
		var got []string
		d := hpack.NewDecoder(tableBytes, func(f hpack.HeaderField) {
			if f.Sensitive != never([]byte(f.Name)) {
				t.Fatalf("%v: sensitive is wrong", f)
			}
			got = append(got, f.Name+": "+f.Value)
		})
		for _, block := range bytes.Split(script, []byte("\n\n")) {
			if len(block) > 0 && block[0]%16 == 0 { // sizes that come with SETTINGS
				e.limit(int(block[0]) * 16)
				d.SetAllowedMaxDynamicTableSize(uint32(max(block[0], 1)) * 16)
				block = block[1:]
			}
			if len(block) > 0 && block[0] == '!' {
				e.forget()
				block = block[1:]
			}
			out := e.begin(nil)
			var want []string
			got = nil
			for _, line := range bytes.Split(block, []byte("\n")) {
				name, value, ok := bytes.Cut(line, []byte(": "))
				if !ok {
					continue
				}
				out = e.field(out, name, value)
				want = append(want, string(name)+": "+string(value))
			}
			if _, err := d.Write(out); err != nil {
				t.Fatalf("block %x: %v", out, err)
			}
			if err := d.Close(); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("block %x: got %q, %v; want %q", out, got, err, want)
			}
		}
	})
}

// What repeats goes as an index, a byte or two; secrets never do.
func TestEncoderIndexes(t *testing.T) {
	var e encoder
	e.max, e.smallest = tableBytes, tableBytes
	sizes := func(name, value string) (list []int) {
		for range 3 {
			list = append(list, len(e.field(nil, []byte(name), []byte(value))))
		}
		return list
	}
	for _, c := range []struct {
		name, value string
		want        []int
	}{
		{"server", "nginx", []int{8, 7, 1}}, // 54 in the static table, with a prefix of 4 bits and of 6
		{"x-a", "b", []int{7, 7, 1}},
		{"set-cookie", "a", []int{4, 4, 4}},
		{"authorization", "a", []int{4, 4, 4}},
	} {
		if got := sizes(c.name, c.value); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v bytes; want %v", c.name, got, c.want)
		}
	}
	for i := range 1000 { // what does not repeat does not push out what does
		e.field(nil, []byte("x-id"), fmt.Append(nil, i))
	}
	if got := sizes("x-a", "b"); got[0] > 2 {
		t.Errorf("x-a: got %d bytes after a thousand other values; want an index", got[0])
	}
	if e.size > e.max {
		t.Errorf("table: got %d bytes; want at most %d", e.size, e.max)
	}
}
