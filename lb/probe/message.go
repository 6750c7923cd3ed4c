package probe

import (
	"encoding/binary"
	"errors"
)

// The two messages of grpc.health.v1.Health/Check, each of one field:
//
//	message HealthCheckRequest { string service = 1; }
//	message HealthCheckResponse { ServingStatus status = 1; }
//
// On the wire a message has five bytes before it: whether it is compressed, and
// its length. In it stand fields, in any order, unknown ones among them: a varint
// of number and type, then the value.

const serving = 1 // of enum ServingStatus

// Types of fields on the wire. The two others were groups, which no compiler of
// proto3 makes.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

const prefixLen = 5

// appendQuestion appends the request for service, with its prefix, to dst.
func appendQuestion(dst []byte, service string) []byte {
	var fields []byte
	if service != "" { // proto3 leaves out what is empty
		fields = append(fields, 1<<3|wireBytes)
		fields = binary.AppendUvarint(fields, uint64(len(service)))
		fields = append(fields, service...)
	}
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(fields)))
	return append(dst, fields...)
}

// parseAnswer returns the status in b, the whole body of a response.
func parseAnswer(b []byte) (status int, err error) {
	if len(b) < prefixLen {
		return 0, errors.New("no message")
	}
	if b[0] != 0 {
		return 0, errors.New("compressed message") // we offered no encoding
	}
	fields := b[prefixLen:]
	if uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(fields)) {
		return 0, errors.New("not one whole message")
	}
	for len(fields) > 0 {
		tag, n := binary.Uvarint(fields)
		if n <= 0 || tag>>3 == 0 || tag>>3 >= 1<<29 {
			return 0, errors.New("field without a number")
		}
		fields = fields[n:]
		value, size, ok := field(int(tag&7), fields)
		if !ok {
			return 0, errors.New("field cut short")
		}
		fields = fields[size:]
		if tag>>3 != 1 {
			continue
		}
		if tag&7 != wireVarint {
			return 0, errors.New("status is no enum")
		}
		status = int(int32(value)) // what protobuf makes of an enum; the last one counts
	}
	return status, nil
}

// field returns the size of the value that b begins with, and the value if it is
// a varint.
func field(wire int, b []byte) (value uint64, size int, ok bool) {
	switch wire {
	case wireVarint:
		value, size = binary.Uvarint(b)
		return value, size, size > 0
	case wireFixed64:
		return 0, 8, len(b) >= 8
	case wireFixed32:
		return 0, 4, len(b) >= 4
	case wireBytes:
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return 0, 0, false
		}
		return 0, n + int(length), true
	}
	return 0, 0, false
}
