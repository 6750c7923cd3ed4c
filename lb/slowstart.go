package lb

import "time"

const (
	maxWeight = 1<<16 - 1

	// unit is a weight of 1 in shares: room for parts of it.
	unit = 256

	rampSteps    = 50                    // in which a share grows
	rampStep     = 10 * time.Millisecond // at least
	rampFraction = 10                    // a share starts at 1/10
)

// weight is the share of s now, in units: its weight, scaled while s has not been
// back for SlowStart. It sees to it that shares are made anew when it has grown.
func (p *Pool) weight(s *Server, now int64) int64 {
	full := int64(s.weight()) * unit
	if p.SlowStart == 0 || p.Policy.Keyed() {
		return full
	}
	up := time.Duration(now - s.back())
	if up >= p.SlowStart {
		return full
	}
	p.again(now + int64(max(p.SlowStart/rampSteps, rampStep)))
	grown := int64(float64(full) * float64(up) / float64(p.SlowStart))
	return max(grown, full/rampFraction)
}

// weight is the weight of s in force: the operator's, or the configuration's.
func (s *Server) weight() int {
	if w := s.admin().weight(); w != 0 {
		return w
	}
	return s.spec.Load().Weight
}

// back is when s came into use last, as far as is known: when it was found to be
// up, its ejection ended, the operator put it back.
func (s *Server) back() int64 {
	at := max(s.admin().changed(), ejection(s.cell.Eject.Load()).until())
	if h := health(s.cell.Health.Load()); s.pool.Checked && h.state() == Up {
		at = max(at, h.changed())
	}
	return at
}
