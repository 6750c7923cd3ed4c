package limiter

import "github.com/proxyd/proxyd/internal/shm"

// A Charge is a request for a key of a limit.
type Charge struct {
	Limiter *Limiter
	Key     []byte
}

// TakeAll counts a request in all charges if every one admits it, else in none.
// The verdict, that of charge at, is the strictest: of those that refuse the one with
// the longest Reset, else the one with the least Remaining, the first of equals.
// Without charges the request is admitted. It allocates nothing.
//
// It asks all before it charges any, so a request which one limit refuses uses up
// nothing of the others, not for an instant. Only if another request takes the last
// place between the question and the charge are those charged before it refunded.
func TakeAll(charges []Charge) (at int, v Verdict) {
	if len(charges) == 0 {
		return 0, Verdict{Admitted: true}
	}
	return takeAll(shm.Now(), charges)
}

func takeAll(now int64, charges []Charge) (at int, v Verdict) {
	if len(charges) > 1 {
		if at, v = refusal(now, charges); !v.Admitted {
			return at, v
		}
	}
	return takeFrom(now, charges, 0)
}

// refusal is the strictest of the charges that would refuse; if none would, the
// verdict is admitted.
func refusal(now int64, charges []Charge) (at int, v Verdict) {
	v.Admitted = true
	for i, c := range charges {
		var p Verdict
		if c.Limiter.peekInto(now, c.Key, &p); !p.Admitted && (v.Admitted || p.Reset > v.Reset) {
			at, v = i, p
		}
	}
	if !v.Admitted {
		l, key := charges[at].Limiter, charges[at].Key
		l.hot.note(l.windowAt(now), l.hasher.Hash(key), key, l.rateOf(key).capacity, true)
	}
	return at, v
}

// takeFrom counts the request in charge first and those after it, or in none of
// them. That it calls itself keeps what is to be refunded on the stack.
func takeFrom(now int64, charges []Charge, first int) (at int, v Verdict) {
	l, key := charges[first].Limiter, charges[first].Key
	hash, r := l.hasher.Hash(key), l.rateOf(key)
	t := r.counter.take(now, hash, r, false)
	at = first
	r.tell(&v, t)
	if t.admitted && first+1 < len(charges) {
		switch i, rest := takeFrom(now, charges, first+1); {
		case !rest.Admitted:
			r.counter.refund(now, hash, r, t.counted)
			return i, rest
		case rest.Remaining < v.Remaining:
			at, v = i, rest
		}
	}
	l.hot.note(l.windowAt(now), hash, key, t.used, !t.admitted)
	return at, v
}
