package tlsconn

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"sync"
)

// records holds buffers that a record fits in. A connection has some only while
// there is something in them.
var records = sync.Pool{New: func() any { return new([maxRecord]byte) }}

func takeRecord() []byte { return records.Get().(*[maxRecord]byte)[:0] }

// giveRecord takes back what takeRecord has returned; one that was made to grow
// is left to the garbage collector.
func giveRecord(b []byte) {
	if cap(b) == maxRecord {
		records.Put((*[maxRecord]byte)(b[:maxRecord]))
	}
}

// roomy is how large a buffer of tls.Conn may stay between two requests: a usual
// request fits in and costs no new one.
const roomy = 2 << 10

// tls.Conn has a buffer for the record that it reads and one for the handshake's
// messages. They grow to the largest that ever came, a hello or a piece of an
// upload, and stay for as long as the connection lasts: up to 33 KB. It offers no
// way to drop them, so they are found by name. Should another version of Go name
// them differently they stay, and a test says so.
var innerBuffers = findBuffers("rawInput", "hand")

func findBuffers(names ...string) (at [][]int) {
	for _, name := range names {
		f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
		if ok && f.Type == reflect.TypeFor[bytes.Buffer]() {
			at = append(at, f.Index)
		}
	}
	return at
}

// shrink drops the buffers of c that are empty and larger than most.
func shrink(c *tls.Conn, most int) {
	v := reflect.ValueOf(c).Elem()
	for _, index := range innerBuffers {
		at := v.FieldByIndex(index).Addr().UnsafePointer()
		b := reflect.NewAt(reflect.TypeFor[bytes.Buffer](), at).Interface().(*bytes.Buffer)
		if b.Len() == 0 && b.Cap() > most {
			*b = bytes.Buffer{}
		}
	}
}
