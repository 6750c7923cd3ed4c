package lb

import "github.com/proxyd/proxyd/internal/shm"

// rank orders servers by how fit they are for a request, the fittest first. All
// requests go to those of the best rank that there is: a server is passed over
// for better ones, not used less. Those of a better rank that are full are waited
// for.
type rank uint8

const (
	fit            rank = iota // up
	suspect                    // up, but a connect just failed
	untried                    // not yet probed
	untriedSuspect             // not yet probed, and a connect just failed
	reserve                    // added to the ranks above for backups

	ejected        rank = 2 * reserve // for errors in a row, primaries and backups alike
	ejectedSuspect rank = ejected + 1
	unfit          rank = ejected + 2 // down, or out by the operator's word
)

// A look is what the words of a server said when its rank was made from them.
type look struct {
	admin   admin
	state   State
	avoided bool
	ejected int64 // until when; it may be over
}

func (s *Server) look() look {
	return look{
		admin:   s.admin(),
		state:   s.state(),
		avoided: s.cell.Avoid.Load() != 0,
		ejected: ejection(s.cell.Eject.Load()).until(),
	}
}

// refresh makes share anew if it is not right any more. That a server's words
// have changed it hears from those who changed them: see Server.tell. One of them
// may be killed before it tells; so each pick also compares one server with what
// it was, in turn.
func (p *Pool) refresh() {
	if len(p.servers) > 0 {
		if p.cursor++; p.cursor >= len(p.servers) {
			p.cursor = 0
		}
		s := p.servers[p.cursor]
		p.stale = p.stale || s.look() != s.seen
	}
	heard := p.changes.Load() // before the words that it tells of
	if p.stale || heard != p.heard || p.until != 0 && shm.Now() >= p.until {
		p.heard, p.stale = heard, false
		p.regroup(shm.Now())
	}
}

// regroup ranks all servers, and shares requests out among those of the best.
func (p *Pool) regroup(now int64) {
	p.until = 0
	changed := p.weigh()
	if changed {
		p.hash()
	}
	best := unfit
	for _, s := range p.servers {
		p.judge(s, now)
	}
	if p.panics() {
		p.believeAll(now)
	}
	for _, s := range p.servers {
		best = min(best, s.rank)
	}
	p.share.reset()
	for i, s := range p.servers {
		in := s.rank == best && best != unfit
		if in {
			p.share.set(i, p.weight(s, now))
		}
		changed = changed || in != s.sharing
		s.sharing = in
	}
	if changed {
		p.scatter()
	}
}

// judge ranks s, and sees to it that it is done again when that changes by itself.
func (p *Pool) judge(s *Server, now int64) {
	s.seen = s.look()
	s.rank = unfit
	switch {
	case s.seen.admin.out(), s.seen.state == Down:
		return
	case s.seen.ejected > now:
		p.again(s.seen.ejected)
		s.rank = ejected
	case s.seen.state == Unknown:
		s.rank = untried
	default:
		s.rank = fit
	}
	if s.spec.Load().Backup && s.rank < reserve {
		s.rank += reserve
	}
	if until := s.avoidedUntil(now); until != 0 {
		p.again(until)
		s.rank++
	} else {
		s.seen.avoided = false
	}
}

// again has share made anew at that time at the latest.
func (p *Pool) again(at int64) {
	if p.until == 0 || at < p.until {
		p.until = at
	}
}

// panics reports whether fewer than Panic percent of the primaries are usable, so
// that either all is lost or health is mistaken. Primaries that were never probed
// or are out by the operator's word are not counted. While no primary is usable
// but a backup is, that is what it is there for.
func (p *Pool) panics() bool {
	judged, usable, backups := 0, 0, 0
	for _, s := range p.servers {
		well := s.rank%reserve <= suspect && s.rank < ejected
		switch {
		case s.spec.Load().Backup:
			if well {
				backups++
			}
		case !s.seen.admin.out() && s.seen.state != Unknown:
			judged++
			if well {
				usable++
			}
		}
	}
	return usable*100 < p.Panic*judged && (usable > 0 || backups == 0)
}

// believeAll ranks the primaries that are down or ejected as if they were up. What
// was never probed still waits, and what cannot be connected to is still avoided.
func (p *Pool) believeAll(now int64) {
	for _, s := range p.servers {
		if s.spec.Load().Backup || s.seen.admin.out() || s.seen.state == Unknown {
			continue
		}
		s.rank = fit
		if until := s.avoidedUntil(now); until != 0 {
			p.again(until)
			s.rank = suspect
		}
	}
}

// now is the time for those who need it only while something grows.
func (p *Pool) now() int64 {
	if p.SlowStart == 0 {
		return 0
	}
	return shm.Now()
}
