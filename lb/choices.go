package lb

// draw takes a server by chance, each with the probability of its weight.
func (p *Pool) draw(sh *shares) int {
	if sh.members == 0 {
		return -1
	}
	// Throwing darts costs the same for any number of servers, as long as most of
	// them share the requests and none is much heavier than the others.
	for range 8 {
		i := p.rand.IntN(len(sh.weights))
		if w := sh.weights[i]; w == sh.heaviest || p.rand.Int64N(sh.heaviest) < w {
			return i
		}
	}
	left := p.rand.Int64N(sh.total)
	for i, w := range sh.weights {
		if left -= w; left < 0 {
			return i
		}
	}
	panic("bug: weights do not add up to their total")
}

// two draws two servers, which are the same one only if there is no other or it
// outweighs the others by far.
func (p *Pool) two(sh *shares) (i, j int) {
	i = p.draw(sh)
	if sh.members == 2 {
		for j = 0; j == i || sh.weights[j] == 0; j++ {
		}
		return i, j
	}
	j = i
	for tries := 0; i == j && sh.members > 1 && tries < 8; tries++ {
		j = p.draw(sh)
	}
	return i, j
}

// lessLoaded is the power of two choices (Mitzenmacher 2001): of two servers by
// chance the one with fewer requests in flight for its weight, the first if that
// is equal. What all workers together have in flight is not asked for: choices by
// chance keep them from rushing to one server at once.
func (p *Pool) lessLoaded(sh *shares) int {
	i, j := p.two(sh)
	if p.loads[j]*sh.weights[i] < p.loads[i]*sh.weights[j] {
		return j
	}
	return i
}

// leastLoaded returns the server with the fewest requests in flight from this
// worker for its weight. Those that are equal in that take turns.
func (p *Pool) leastLoaded(sh *shares) int {
	least, equals := -1, 0
	var load, weight int64 // of the least loaded so far
	loads := p.loads[:len(sh.weights)]
	for i, w := range sh.weights {
		if w == 0 {
			continue
		}
		switch d := loads[i]*weight - load*w; {
		case d < 0 || least < 0:
			least, equals, load, weight = i, 1, loads[i], w
		case d == 0:
			equals++
		}
	}
	switch equals {
	case 1:
		return least
	case sh.members:
		return p.turn(sh)
	}
	return p.turnOfEquals(sh, least)
}

// turnOfEquals is turn among the servers that are loaded as the one at place like.
func (p *Pool) turnOfEquals(sh *shares, like int) int {
	chosen := like
	var total int64
	for i, w := range sh.weights {
		if w == 0 || p.loads[i]*sh.weights[like] != p.loads[like]*w {
			continue
		}
		p.credit[i] += w
		total += w
		if p.credit[i] > p.credit[chosen] {
			chosen = i
		}
	}
	p.credit[chosen] -= total
	return chosen
}
