package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// The fixed part of a header of version 2 (section 2.2).
const (
	atCommand = len(signature)
	atFamily  = atCommand + 1
	atLength  = atFamily + 1
	fixed     = atLength + 2
)

// The version is the upper half of a byte, and these are what it is with the
// command.
const (
	version = 0x20
	local   = version
	proxy   = version + 1
)

// Address families, the upper half of their byte, and protocols, the lower.
const (
	inet, inet6, unix = 1, 2, 3
	stream, datagram  = 1, 2
)

// parseBinary reads a header of version 2.
func (h *Header) parseBinary(b []byte) (n int, err error) {
	if !startsAs(b, signature) {
		return 0, errNeither
	}
	// What can be told from the bytes that are there is told now.
	if len(b) > atCommand && b[atCommand]&0xf0 != version {
		return 0, errVersion
	}
	if len(b) > atCommand && b[atCommand] > proxy {
		return 0, errCommand
	}
	if len(b) < fixed {
		return 0, nil
	}
	n = fixed + int(binary.BigEndian.Uint16(b[atLength:]))
	if n > MaxBytes {
		return 0, errTooLarge
	}
	if len(b) < n {
		return 0, nil
	}
	if b[atCommand] == local {
		h.Local = true // and the rest of the header is to be discarded
		return n, nil
	}
	return n, h.block(b[:n:n])
}

// block reads what follows the fixed part of a header that is complete.
func (h *Header) block(b []byte) error {
	family, protocol, rest := b[atFamily]>>4, b[atFamily]&0xf, b[fixed:]
	if family > unix || protocol > datagram {
		return errFamily
	}
	size := [...]int{0, inet: 2*4 + 4, inet6: 2*16 + 4, unix: 2 * 108}[family]
	if len(rest) < size {
		return errShort
	}
	if family == 0 {
		h.Local = true // and there is no telling how long the addresses are
		return nil
	}
	if err := checkExtensions(b, fixed+size); err != nil {
		return err
	}
	switch {
	case protocol != stream || family == unix:
		h.Local = true
	case family == inet:
		h.set(netip.AddrFrom4([4]byte(rest)), netip.AddrFrom4([4]byte(rest[4:])), port16(rest[8:]), port16(rest[10:]))
	default:
		h.set(netip.AddrFrom16([16]byte(rest)), netip.AddrFrom16([16]byte(rest[16:])), port16(rest[32:]), port16(rest[34:]))
	}
	return nil
}

func port16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

const typeCRC32C = 0x03 // of an extension that holds a checksum of the whole header

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [crc32.Size]byte
)

// checkExtensions walks over the extensions of the header b, which start at i: a
// type, a length of two bytes and a value each.
func checkExtensions(b []byte, i int) error {
	for i < len(b) {
		if len(b)-i < 3 {
			return errTLV
		}
		kind, start := b[i], i+3
		i = start + int(binary.BigEndian.Uint16(b[i+1:]))
		if i > len(b) {
			return errTLV
		}
		if kind != typeCRC32C {
			continue
		}
		if i-start != crc32.Size {
			return errTLV
		}
		// It was computed with zeros in its own place.
		sum := crc32.Update(0, castagnoli, b[:start])
		sum = crc32.Update(sum, castagnoli, zeros[:])
		sum = crc32.Update(sum, castagnoli, b[i:])
		if sum != binary.BigEndian.Uint32(b[start:]) {
			return errChecksum
		}
	}
	return nil
}
