package lb

import (
	"cmp"
	"slices"
)

// maglev is the lookup table of Google's load balancer (Eisenbud and others 2016,
// section 3.4): each server in turn, as often as its weight says, takes the next
// free entry in an order of its own. Shares are exact to an entry or two, and when
// servers come or go, few keys move beside theirs.
type maglev struct {
	places [maglevSize]uint16 // in Pool.servers
}

const (
	// maglevSize is a prime, so that every skip visits every entry. 1,000 servers
	// have 65 entries each, 8,192 have 8.
	maglevSize = 65537

	maglevTries = 64
	noPlace     = 1<<16 - 1
)

// preference is a server's order of the entries, and how far it is in it.
type preference struct {
	place      uint16
	next, skip uint64
}

func newMaglev(servers []*Server) *maglev {
	m := new(maglev)
	for i := range m.places {
		m.places[i] = noPlace
	}
	prefs := preferences(servers)
	order := turns(servers, prefs)
	for _, t := range order[:min(len(order), maglevSize)] {
		m.give(&prefs[t])
	}
	for left := len(order); left < maglevSize; left++ { // what rounding has left over
		m.give(&prefs[left%len(prefs)])
	}
	return m
}

// turns are the places in prefs in the order in which they take entries: one with
// weight w of W the first after W/2w entries, and each next one W/w later.
func turns(servers []*Server, prefs []preference) []uint16 {
	total := 0
	for _, s := range servers {
		total += s.weighed
	}
	starts := make([]int, maglevSize+1) // of those due at each entry
	due := func(n, weight int) int { return (2*n + 1) * total / (2 * weight) }
	for _, s := range servers {
		for n := 0; due(n, s.weighed) < maglevSize; n++ {
			starts[due(n, s.weighed)+1]++
		}
	}
	for i := range maglevSize {
		starts[i+1] += starts[i]
	}
	order := make([]uint16, starts[maglevSize])
	for i, p := range prefs {
		weight := servers[p.place].weighed
		for n := 0; due(n, weight) < maglevSize; n++ {
			at := due(n, weight)
			order[starts[at]] = uint16(i)
			starts[at]++
		}
	}
	return order
}

// preferences are those of servers in the order of their names, so that the order
// in which a configuration or a discovery gives them makes no difference.
func preferences(servers []*Server) []preference {
	prefs := make([]preference, len(servers))
	for i, s := range servers {
		prefs[i] = preference{
			place: uint16(i),
			next:  s.name % maglevSize,
			skip:  mix(s.name+golden)%(maglevSize-1) + 1,
		}
	}
	slices.SortFunc(prefs, func(a, b preference) int {
		return cmp.Compare(servers[a.place].Address, servers[b.place].Address)
	})
	return prefs
}

// give gives p's server the free entry that it likes best.
func (m *maglev) give(p *preference) {
	for m.places[p.next] != noPlace {
		p.next = (p.next + p.skip) % maglevSize
	}
	m.places[p.next] = p.place
}

// find returns the place of the server of the key with hash h. If that has no
// share, the key is hashed again until it meets one that has.
func (m *maglev) find(p *Pool, sh *shares, h uint64) int {
	for i := range uint64(maglevTries) {
		place := int(m.places[mix(h+i*golden)%maglevSize])
		if sh.weights[place] > 0 {
			return place
		}
	}
	return p.byScore(sh, h)
}
