package lb

import (
	"slices"
	"sync/atomic"
)

// ketama is consistent hashing on a ring with bounded load. Each server has points
// on the ring, in proportion to its weight; a key belongs to the next point
// clockwise whose server has less than its bound in flight, 5/4 of its share of
// all (Mirrokni, Thorup and Zadimoghaddam 2017, with ε = 1/4).
type ketama struct {
	shift  int      // of a hash, for its sector
	starts []uint32 // of each sector of the ring in points, and their end
	points []point
}

// A point is the high bits of its position on the ring, above the place of its
// server in Pool.servers.
type point uint64

const (
	placeBits  = 16
	ketamaWalk = 512 // points, at most

	// So many points that shares are right within half a percent of all keys.
	ringPoints = 1 << 18
	ringLeast  = ringPoints / 4
	ringMost   = ringPoints * 4

	densityUnit = 1 << 16 // a density of one point per unit of weight
)

// newKetama makes the ring. How many points a unit of weight has must not change
// when servers come and go, because that moves keys of all the others; nor may it
// differ between workers. So it is kept in density, a word of the segment, for as
// long as it gives neither too few points nor too many.
func newKetama(servers []*Server, density *atomic.Uint64) *ketama {
	var weights uint64
	for _, s := range servers {
		weights += uint64(s.weighed)
	}
	d := settle(density, weights)
	points := make([]point, 0, weights*d/densityUnit+uint64(len(servers)))
	for i, s := range servers {
		n := max(uint64(s.weighed)*d/densityUnit, 1)
		for j := range n {
			h := mix(s.name + (j+1)*golden)
			points = append(points, point(h>>placeBits<<placeBits|uint64(i)))
		}
	}
	k := &ketama{}
	k.sort(points)
	return k
}

// settle returns the density that is right for that sum of weights: the one that
// was, if it still is.
func settle(density *atomic.Uint64, weights uint64) uint64 {
	for {
		d := density.Load()
		if n := weights * d / densityUnit; n >= ringLeast && n <= ringMost {
			return d
		}
		if wanted := max(ringPoints*densityUnit/weights, 1); density.CompareAndSwap(d, wanted) {
			return wanted
		}
	}
}

// sort puts points in the order of the ring. They are spread evenly, so they are
// dealt into sectors of a few points each, which find needs as well.
func (k *ketama) sort(points []point) {
	bits := 1
	for len(points)>>bits > 4 {
		bits++
	}
	k.shift = 64 - bits
	k.starts = make([]uint32, 1<<bits+1)
	for _, p := range points {
		k.starts[p>>k.shift+1]++
	}
	for i := range k.starts[1:] {
		k.starts[i+1] += k.starts[i]
	}
	k.points = make([]point, len(points))
	ends := slices.Clone(k.starts[:1<<bits])
	for _, p := range points {
		sector := p >> k.shift
		at := ends[sector]
		ends[sector]++
		for ; at > k.starts[sector] && k.points[at-1] > p; at-- {
			k.points[at] = k.points[at-1]
		}
		k.points[at] = p
	}
}

// find returns the place of the server of the key with hash h.
func (k *ketama) find(p *Pool, sh *shares, h uint64) int {
	at := int(k.starts[h>>k.shift])
	for at < len(k.points) && uint64(k.points[at]) < h {
		at++
	}
	for range min(ketamaWalk, len(k.points)) {
		if at >= len(k.points) {
			at = 0
		}
		place := int(k.points[at] & (1<<placeBits - 1))
		// Loads are whole, so that being less than the bound is being less than the
		// bound rounded up.
		if w := sh.weights[place]; w > 0 && 4*p.loads[place]*sh.total < 5*(p.load+1)*w {
			return place
		}
		at++
	}
	return p.byScore(sh, h)
}
