package lb

import (
	"math"
	"time"
)

// decay is how long an old latency counts for, as in Finagle and linkerd.
const decay = 10 * time.Second

// latency is a peak-sensitive moving average of how long a server takes to answer:
// it rises at once to the highest value seen and falls exponentially with time
// (Finagle's "Peak EWMA"). The zero value knows nothing.
type latency struct {
	mean float64 // ns
	at   int64   // when it was that
}

// failedLatency is what a first request that failed at once counts as. Without it
// a server that has only ever failed would seem quicker than any that answers.
const failedLatency = float64(100 * time.Millisecond)

// observe takes note of a request that took so long. Only success says that a
// server is quick: errors may come quickly too.
func (l *latency) observe(o Outcome, took time.Duration, now int64) {
	t := float64(took)
	switch {
	case o == Errored && l.mean == 0:
		t = max(t, failedLatency)
	case o != Succeeded && (l.mean == 0 || t < l.mean):
		return
	}
	if t < l.mean {
		w := l.weight(now)
		t = l.mean*w + t*(1-w)
	}
	l.mean, l.at = t, now
}

// weight is what is left of the weight of the mean at the time now.
func (l *latency) weight(now int64) float64 {
	return math.Exp(-float64(max(now-l.at, 0)) / float64(decay))
}

// unknownLatency is the cost of a second request to a server that has answered
// none yet: the first one is to show how quick it is.
const unknownLatency = float64(time.Minute)

// quicker returns, of two servers by chance, the one from which an answer is
// expected sooner: by its latency, times the requests in flight and this one. A
// latency that was measured long ago counts for less, so that a server which was
// slow once is tried again. Small differences are noise, and the first is taken,
// or else weights would count for nothing among servers that are equally quick.
func (p *Pool) quicker(sh *shares, now int64) int {
	i, j := p.two(sh)
	if i != j && p.cost(sh, j, now) < p.cost(sh, i, now)*clearly {
		return j
	}
	return i
}

// clearly is how much less a cost must be to be less.
const clearly = 0.9

func (p *Pool) cost(sh *shares, i int, now int64) float64 {
	s := p.servers[i]
	mean := s.latency.mean
	if mean == 0 && p.loads[i] > 0 {
		return unknownLatency
	}
	// Requests in flight count by weight, the one to come does not: idle servers
	// are drawn by weight already.
	busy := float64(p.loads[i]) * float64(sh.heaviest) / float64(sh.weights[i])
	return mean * s.latency.weight(now) * (1 + busy)
}
