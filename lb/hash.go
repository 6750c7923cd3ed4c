package lb

import (
	"hash/crc32"
	"math"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// keyHash is the hash that keyed policies go by. It is the same in every process
// and on every machine, now and later: proxies side by side agree on the server of
// a key, and a restart moves none.
func keyHash(key []byte) uint64 {
	return mix(uint64(crc32.Checksum(key, castagnoli))<<32 | uint64(crc32.ChecksumIEEE(key)))
}

// golden is 2^64 divided by the golden ratio: multiples of it, mixed, are a
// sequence of independent hashes (Steele, Lea and Flood 2014, "SplitMix").
const golden = 0x9e3779b97f4a7c15

// mix spreads every bit of h over all of them. No two have the same.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// weigh takes note of the weights in force, and reports whether they have changed.
func (p *Pool) weigh() (changed bool) {
	for _, s := range p.servers {
		w := s.weight()
		changed = changed || w != s.weighed
		s.weighed = w
	}
	return changed
}

// hash makes the tables that keys are looked up in, of all servers, whether they
// are fit or not: when one is not, only its own keys move, and come back with it.
// Making them takes some milliseconds, so it is done for a change of servers or
// of weights only.
func (p *Pool) hash() {
	p.maglev, p.ketama = nil, nil
	switch {
	case len(p.servers) == 0:
	case p.Policy == Maglev:
		p.maglev = newMaglev(p.servers)
	case p.Policy == Ketama:
		p.ketama = newKetama(p.servers, p.density)
	}
}

// byScore returns the place of the server in sh with the highest score for a key
// with hash h: weighted rendezvous hashing (Schindelhauer and Schomaker 2005). It
// looks at all servers, but needs no table: it is for when the table has too few
// entries of those that are fit.
func (p *Pool) byScore(sh *shares, h uint64) int {
	best, most := -1, 0.0
	for i, w := range sh.weights {
		if w == 0 {
			continue
		}
		u := (float64(mix(h^p.servers[i].name)>>11) + 0.5) / (1 << 53)
		if score := float64(w) / -math.Log(u); best < 0 || score > most {
			best, most = i, score
		}
	}
	return best
}
