package http2

import (
	"encoding/binary"

	"golang.org/x/net/http2/hpack"
)

const (
	staticEntries = 61 // RFC 7541 appendix A
	entryOverhead = 32 // RFC 7541 section 4.1
	maxIndexed    = 512

	encoderSlots = 64 // about as many entries as fit the table
	encoderWays  = 4  // slots that a field may be in
)

// An encoder makes header blocks (RFC 7541). A field goes into the dynamic table
// when it comes for the second time: one that never repeats (a path, an etag)
// would only push out those that do. Literals are not Huffman-coded: of what
// repeats the index goes out, and for the rest a quarter less bytes is not worth
// the time on both sides.
type encoder struct {
	max, size int  // of the table, in bytes as RFC 7541 counts
	smallest  int  // max was this small since the last block
	resized   bool // the next block says so
	turn      int  // see slot

	inserted, evicted uint32        // entries so far: an entry is alive above evicted
	table             *encoderTable // nil until the first field
}

type encoderTable struct {
	sizes [tableBytes / entryOverhead]uint16 // of the living, by number
	slots [encoderSlots]fieldCache
}

// A fieldCache remembers a field that was sent.
type fieldCache struct {
	hash  uint32
	entry uint32 // its number in the table; 0: seen once
	name  int    // bytes of text that are the name
	text  []byte
}

// staticNames are the numbers of the names in the static table, read from x/net's
// decoder.
var staticNames = func() map[string]uint8 {
	names := make(map[string]uint8)
	decoder := hpack.NewDecoder(0, nil)
	for i := staticEntries; i > 0; i-- { // so that the first of a name stays
		fields, err := decoder.DecodeFull([]byte{0x80 | byte(i)})
		if err != nil {
			panic("bug: static table: " + err.Error())
		}
		names[fields[0].Name] = uint8(i)
	}
	return names
}()

// limit sets the size of the table that the peer allows.
func (e *encoder) limit(n int) {
	if n != e.max {
		e.max, e.resized = n, true
		e.smallest = min(e.smallest, n)
		e.evict(0)
	}
}

// evict makes room for an entry of the given size.
func (e *encoder) evict(room int) {
	for e.evicted < e.inserted && e.size+room > e.max {
		e.evicted++
		e.size -= int(e.table.sizes[e.evicted%uint32(len(e.table.sizes))])
	}
}

// forget gives the room of the table back. The next block starts with an empty one.
func (e *encoder) forget() {
	if e.table != nil {
		e.evicted, e.size, e.table = e.inserted, 0, nil
		e.smallest, e.resized = 0, true
	}
}

// begin starts a header block.
func (e *encoder) begin(dst []byte) []byte {
	if e.resized {
		if e.smallest < e.max {
			// The table was smaller for a moment. It is emptied: x/net's decoder takes a
			// second update in a block only if the first leaves nothing.
			e.evicted, e.size = e.inserted, 0
			dst = appendInt(dst, 0x20, 5, 0)
		}
		dst = appendInt(dst, 0x20, 5, e.max)
		e.resized, e.smallest = false, e.max
	}
	return dst
}

// never are fields that are not to be put into any table (RFC 7541 section
// 7.1.3): who can make us send guesses must not learn from their size.
func never(name []byte) bool {
	switch string(name) {
	case "authorization", "cookie", "set-cookie", "proxy-authorization":
		return true
	}
	return false
}

// field appends a field; name is lower case.
func (e *encoder) field(dst, name, value []byte) []byte {
	switch {
	case never(name):
		return e.literal(dst, 0x10, 4, name, value)
	case len(name)+len(value) > maxIndexed || len(name)+len(value)+entryOverhead > e.max:
		return e.literal(dst, 0, 4, name, value)
	case e.table == nil:
		e.table = new(encoderTable)
	}
	h := hash(hash(uint32(len(name)), name), value)
	slot := e.slot(h)
	if slot.hash != h {
		if slot.entry <= e.evicted {
			slot.hash, slot.entry = h, 0
		}
		return e.literal(dst, 0, 4, name, value)
	}
	if slot.entry > e.evicted && string(slot.text[:slot.name]) == string(name) && string(slot.text[slot.name:]) == string(value) {
		return appendInt(dst, 0x80, 7, staticEntries+1+int(e.inserted-slot.entry))
	}
	dst = e.literal(dst, 0x40, 6, name, value)
	slot.entry, slot.name = e.insert(len(name)+len(value)+entryOverhead), len(name)
	slot.text = append(append(slot.text[:0], name...), value...)
	return dst
}

// slot returns the slot that has the field with hash h. If none does it is one
// whose entry is dead, if there is one, and each time another: fields that want
// the same do not drive each other out for ever.
func (e *encoder) slot(h uint32) *fieldCache {
	set := e.table.slots[h%(encoderSlots/encoderWays)*encoderWays:][:encoderWays]
	for i := range set {
		if set[i].hash == h {
			return &set[i]
		}
	}
	for range set {
		e.turn = (e.turn + 1) % encoderWays
		if set[e.turn].entry <= e.evicted {
			break
		}
	}
	return &set[e.turn]
}

// insert makes an entry and returns its number.
func (e *encoder) insert(size int) uint32 {
	e.evict(size)
	e.inserted++
	e.table.sizes[e.inserted%uint32(len(e.table.sizes))] = uint16(size)
	e.size += size
	return e.inserted
}

// literal appends a field as a literal, of the kind that first and bits say.
func (e *encoder) literal(dst []byte, first byte, bits int, name, value []byte) []byte {
	if i, ok := staticNames[string(name)]; ok {
		dst = appendInt(dst, first, bits, int(i))
	} else {
		dst = appendString(append(dst, first), name)
	}
	return appendString(dst, value)
}

// status appends the pseudo header :status.
func (e *encoder) status(dst []byte, status int) []byte {
	for i, s := range [...]int{200, 204, 206, 304, 400, 404, 500} {
		if s == status {
			return append(dst, 0x80|byte(8+i))
		}
	}
	return append(dst, 8, 3, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10))
}

// request appends the pseudo headers of a request but for :authority.
func (e *encoder) request(dst, method []byte, scheme string, path []byte) []byte {
	switch string(method) {
	case "GET":
		dst = append(dst, 0x82)
	case "POST":
		dst = append(dst, 0x83)
	default:
		dst = appendString(append(dst, 2), method)
	}
	if scheme == "https" {
		dst = append(dst, 0x87)
	} else {
		dst = append(dst, 0x86)
	}
	if string(path) == "/" {
		return append(dst, 0x84)
	}
	return e.field(dst, pathName, path)
}

var pathName, authorityName, protocolName = []byte(":path"), []byte(":authority"), []byte(":protocol")

// appendString appends a string literal without Huffman coding.
func appendString(dst, s []byte) []byte {
	return append(appendInt(dst, 0, 7, len(s)), s...)
}

// appendInt appends n with a prefix of the given number of bits, below those that
// are set in first (RFC 7541 section 5.1).
func appendInt(dst []byte, first byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, 0x80|byte(n))
	}
	return append(dst, byte(n))
}

// hash mixes b into h, eight bytes at a time.
func hash(h uint32, b []byte) uint32 {
	x := uint64(h) ^ 0x9e3779b97f4a7c15
	for ; len(b) >= 8; b = b[8:] {
		x = (x ^ binary.LittleEndian.Uint64(b)) * 0xff51afd7ed558ccd
		x ^= x >> 32
	}
	var last uint64
	for _, c := range b {
		last = last<<8 | uint64(c)
	}
	x = (x ^ last) * 0xc4ceb9fe1a85ec53
	return uint32(x>>32) ^ uint32(x)
}

// appendLower appends name in lower case.
func appendLower(dst, name []byte) []byte {
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}
