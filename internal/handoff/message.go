package handoff

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Version is the version of the channel that this build writes. It reads that
// one and the one before.
const Version = 1

// Bounds of one message.
const (
	MaxBody  = 64 << 10 // bytes of JSON
	MaxFiles = 128      // descriptors; the kernel allows 253
)

// A Type says what a message means. Its numbers are part of the protocol: they
// are only ever added to.
type Type uint16

// The types of message. W→S is worker to supervisor.
const (
	Hello     Type = 1 + iota // W→S first: who I am
	Listen                    // S→W here are more listeners, by name, one descriptor each
	Ack                       // W→S the batch with this sequence is kept
	Prepare                   // S→W parse this bundle, be ready to use it
	Prepared                  // W→S ready to use it
	Nack                      // W→S cannot, and why
	Start                     // S→W accept connections
	Accepting                 // W→S accepting
	Commit                    // S→W use the prepared configuration from now on
	Abort                     // S→W forget the prepared configuration
	Committed                 // W→S in use
	Beat                      // W→S the loop turns; one a second
	Drain                     // S→W accept no more, finish, exit
	Drained                   // W→S nothing left, exiting
	Owner                     // S→W which supervisor incarnation owns you
	Reopen                    // not sent any more: Logs does it
	Logs                      // S→W here are files for log lines, by name, one descriptor each
	Heir                      // S→W connections come from its one descriptor, a channel to a draining worker
	Offer                     // W→W take over these connections, one descriptor each
	Taken                     // W→W they are kept, but for some
	Yours                     // W→W and are read no more where they come from
	Estate                    // S→S what a successor needs to know; descriptors follow
	Give                      // S→S here are descriptors of the estate, by name
	Ask                       // S→W what an operator wants to know or to have done
	Tell                      // W→S the answer, in its one descriptor, or why there is none
)

var typeNames = [...]string{
	"", "HELLO", "LISTEN", "ACK", "PREPARE", "PREPARED", "NACK", "START", "ACCEPTING",
	"COMMIT", "ABORT", "COMMITTED", "BEAT", "DRAIN", "DRAINED", "OWNER", "REOPEN", "LOGS",
	"HEIR", "OFFER", "TAKEN", "YOURS", "ESTATE", "GIVE", "ASK", "TELL",
}

// String gives the protocol's name of t, or its number if it has none.
func (t Type) String() string {
	if t > 0 && int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("TYPE(%d)", uint16(t))
}

// A Message is what Receive found. Body belongs to the message; the
// descriptors in Files belong to whoever received it, who closes them.
type Message struct {
	Type       Type
	Generation uint32 // of the worker, in both directions
	Sequence   uint32 // counts what one end has sent, from 1
	Body       []byte // JSON, or empty
	Files      []*os.File
}

// Decode parses the body into v. An empty body leaves v as it is.
func (m Message) Decode(v any) error {
	if len(m.Body) == 0 {
		return nil
	}
	if err := json.Unmarshal(m.Body, v); err != nil {
		return fmt.Errorf("decode %v: %w", m.Type, err)
	}
	return nil
}

// CloseFiles closes the descriptors that nobody took.
func (m Message) CloseFiles() {
	for _, f := range m.Files {
		f.Close()
	}
}

// The header, big-endian:
//
//	magic 4 | version 2 | type 2 | generation 4 | sequence 4 | body bytes 4 | descriptors 4
const (
	headerBytes = 24
	magic       = 0x70726f78 // "prox"
)

// ErrMagic means that the other end does not speak this protocol.
var ErrMagic = errors.New("not a control channel: bad magic")

func appendMessage(dst []byte, t Type, generation, sequence uint32, body []byte, files int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, magic)
	dst = binary.BigEndian.AppendUint16(dst, Version)
	dst = binary.BigEndian.AppendUint16(dst, uint16(t))
	dst = binary.BigEndian.AppendUint32(dst, generation)
	dst = binary.BigEndian.AppendUint32(dst, sequence)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(files))
	return append(dst, body...)
}

// parse reads one packet. The body of the message it returns is part of b; the
// second result is how many descriptors came with it according to its header.
func parse(b []byte) (m Message, files int, err error) {
	if len(b) < headerBytes {
		return m, 0, fmt.Errorf("message of %d bytes: shorter than its header", len(b))
	}
	if binary.BigEndian.Uint32(b) != magic {
		return m, 0, ErrMagic
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != Version && v+1 != Version || v == 0 {
		return m, 0, fmt.Errorf("message of version %d: this build speaks version %d", v, Version)
	}
	m.Type = Type(binary.BigEndian.Uint16(b[6:]))
	m.Generation = binary.BigEndian.Uint32(b[8:])
	m.Sequence = binary.BigEndian.Uint32(b[12:])
	bodyBytes, descriptors := binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])
	if bodyBytes > MaxBody || int(bodyBytes) != len(b)-headerBytes {
		return m, 0, fmt.Errorf("%v: body of %d bytes, header says %d", m.Type, len(b)-headerBytes, bodyBytes)
	}
	if descriptors > MaxFiles {
		return m, 0, fmt.Errorf("%v: %d descriptors, at most %d allowed", m.Type, descriptors, MaxFiles)
	}
	m.Body = b[headerBytes:]
	return m, int(descriptors), nil
}
