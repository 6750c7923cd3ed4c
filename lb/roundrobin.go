package lb

// maxScatter bounds the steps by which a round robin starts somewhere.
const maxScatter = 32

// turn is nginx's smooth weighted round robin: each server gains its weight, the
// richest is taken and pays what all gained. Weights 5, 1, 1 give a a b a c a a,
// never five in a row.
func (p *Pool) turn(sh *shares) int {
	chosen := -1
	var most int64
	credit := p.credit[:len(sh.weights)]
	for i, w := range sh.weights {
		if w == 0 {
			continue
		}
		credit[i] += w
		if chosen < 0 || credit[i] > most {
			chosen, most = i, credit[i]
		}
	}
	if chosen >= 0 {
		p.credit[chosen] -= sh.total
	}
	return chosen
}

// scatter starts the round robin anew, somewhere in its turn: what servers owed
// or were owed was to others than those that share the requests now, and would
// give one of them two requests in a row. Workers, and pools that follow one
// another in quick reloads, would else all begin with the first.
func (p *Pool) scatter() {
	clear(p.credit)
	if p.share.members == 0 || p.Policy != RoundRobin && p.Policy != LeastRequest {
		return
	}
	for range p.rand.IntN(min(p.share.members, maxScatter)) {
		p.turn(&p.share)
	}
}
