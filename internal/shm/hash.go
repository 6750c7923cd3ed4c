package shm

import "github.com/zeebo/xxh3"

// Seed is the seed of all hashes whose results are kept in the segment. It is
// random per segment, and secret: who knows it can make keys that collide.
func (s *Segment) Seed() uint64 { return s.layout.header.seed }

// Hash is the hash, under the segment's seed, of key among the keys of name: the
// same in every process. It allocates nothing.
func (s *Segment) Hash(name string, key []byte) uint64 { return s.Hasher(name).Hash(key) }

// A Hasher is Hash with the name already taken in, for those who hash many keys
// of one name. It is a value and may be copied.
type Hasher struct{ seed uint64 }

// Hasher is the Hasher of name. The hash of the name seeds that of the key, so
// no name and key can be mistaken for another pair that reads the same in a row.
func (s *Segment) Hasher(name string) Hasher {
	return Hasher{xxh3.HashStringSeed(name, s.layout.header.seed)}
}

// Hash is Segment.Hash of the Hasher's name and key.
func (h Hasher) Hash(key []byte) uint64 { return xxh3.HashSeed(key, h.seed) }
