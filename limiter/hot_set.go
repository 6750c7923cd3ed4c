package limiter

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sync/atomic"

	"github.com/proxyd/proxyd/internal/shm"
)

// The book of hot keys
//
// A book is 32 sets of eight keys; a key belongs to one set. A key that comes with
// more than the least of the eight has takes its place. What it has is known exactly,
// by the limit itself, so a set always has those of its keys that have come with the
// most; and the hottest ten are hardly ever nine of one set. Of each key there is
//
//	id: its hash | tally: window 32 bits, count 32 | refused: window 32, count 32 |
//	text: its first 64 bytes | seal: hash of text and id 56 bits, cut 1, length 7
//
// Two windows that follow each other have two books. What a word says of another
// window than the book's counts as zero, so nothing is swept.
//
// A set's floor is a word with the least that its eight had when somebody last came
// with no more than that: whoever comes with no more either is gone with one look.
// In a window, what a key has only grows, so a floor is never too high in it.
//
// It is made to be cheap, not exact. Several processes may write a key's words at the
// same time, or die between two of them. Then text and id do not go with the seal,
// and the key is not listed until it comes by again with a count that is a power of
// two or a multiple of 64, and is written anew. A tally only grows, and whoever takes
// a place brings more than was there. So the worst is that of two keys that take one
// place at the same nanosecond, one is listed with what the other has.

const (
	bookSets  = 32
	ways      = 8
	textWords = 8
	textBytes = textWords * 8
	step      = 64 // counts above this are looked at if they are multiples of it

	floorAt   = 0
	idsAt     = floorAt + 8
	talliesAt = idsAt + ways
	refusedAt = talliesAt + ways
	sealsAt   = refusedAt + ways
	textsAt   = sealsAt + ways
	setWords  = textsAt + ways*textWords

	sizeMask = 0xff
	cutBit   = 0x80
	sampleOf = 64 // refusals of a key with as many are counted by one in as many
)

type keySet [setWords]atomic.Uint64

// below tells whether no key of the set can have to give way to one that has used
// that much.
func (s *keySet) below(window, used uint64) bool {
	floor := s[floorAt].Load()
	return floor>>32 == window&countMask && used <= floor&countMask
}

// demand is how many requests of key i there were in window; too many to exceed if
// it is in a later one.
func (s *keySet) demand(i int, window uint64) uint64 {
	tally, refused := s[talliesAt+i].Load(), s[refusedAt+i].Load()
	if tally>>32 > window&countMask {
		return math.MaxUint64
	}
	return countOf(tally, window) + countOf(refused, window)
}

// countOf is the count of a word that bears its window.
func countOf(w, window uint64) uint64 {
	if w>>32 != window&countMask {
		return 0
	}
	return w & countMask
}

// find is the place of a key, -1 if it has none.
func (s *keySet) find(hash uint64) int {
	for i := range ways {
		if s[idsAt+i].Load() == hash {
			return i
		}
	}
	return -1
}

// repair writes the text of key i anew if it is not right.
func (s *keySet) repair(i int, hasher shm.Hasher, hash uint64, key []byte) {
	var text [textBytes]byte
	if size, ok := s.text(i, hasher, hash, &text); !ok || size != sizeOf(key) {
		s.write(i, hasher, hash, key)
	}
}

// write is the text of a new key in place i.
func (s *keySet) write(i int, hasher shm.Hasher, hash uint64, key []byte) {
	var text [textBytes]byte
	copy(text[:], key)
	s[refusedAt+i].Store(0) // of another key
	for j := range textWords {
		s[textsAt+i*textWords+j].Store(binary.LittleEndian.Uint64(text[j*8:]))
	}
	s[sealsAt+i].Store(sealOf(hasher, hash, &text, sizeOf(key)))
}

func sizeOf(key []byte) uint64 {
	if len(key) > textBytes {
		return textBytes | cutBit
	}
	return uint64(len(key))
}

func sealOf(hasher shm.Hasher, hash uint64, text *[textBytes]byte, size uint64) uint64 {
	return mix(hasher.Hash(text[:])^mix(hash+size))&^sizeMask | size
}

// text reads the text of place i, which is right if it was written for that hash.
func (s *keySet) text(i int, hasher shm.Hasher, hash uint64, text *[textBytes]byte) (size uint64, ok bool) {
	for j := range textWords {
		binary.LittleEndian.PutUint64(text[j*8:], s[textsAt+i*textWords+j].Load())
	}
	seal := s[sealsAt+i].Load()
	size = seal & sizeMask
	return size, size&^cutBit <= textBytes && seal == sealOf(hasher, hash, text, size)
}

// raise brings the tally of key i up to date, and reports whether it was not.
func (s *keySet) raise(i int, window, used uint64) bool {
	tally, to := &s[talliesAt+i], window<<32|min(used, countMask)
	if tally.Load() >= to {
		return false
	}
	raise(tally, to)
	return true
}

// refuse counts a refusal of key i: each of the first, and then one in some for all.
func (s *keySet) refuse(i int, window uint64) {
	word := &s[refusedAt+i]
	w := word.Load()
	n := countOf(w, window)
	switch {
	case n < sampleOf:
		word.CompareAndSwap(w, window<<32|n+1)
	case n < countMask-sampleOf && rand.Uint32()%sampleOf == 0:
		word.CompareAndSwap(w, window<<32|n+sampleOf)
	}
}

// read is key i of the set, with what it had in window, if it is legible.
func (s *keySet) read(i int, hasher shm.Hasher, window uint64) (hash uint64, k HotKey, ok bool) {
	var text [textBytes]byte
	hash = s[idsAt+i].Load()
	size, ok := s.text(i, hasher, hash, &text)
	if !ok {
		return 0, HotKey{}, false
	}
	return hash, HotKey{
		Key:     string(text[:size&^cutBit]),
		Cut:     size&cutBit != 0,
		Count:   countOf(s[talliesAt+i].Load(), window),
		Refused: countOf(s[refusedAt+i].Load(), window),
	}, true
}
