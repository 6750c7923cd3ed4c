package lb

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A simulation sends requests at random times, as independent clients do, to
// servers that have a few threads each and queue what those do not keep up with.
// Its clock is the bubble's.
type simulation struct {
	pool    *Pool
	rand    *rand.Rand
	service map[*Server]time.Duration // mean, on one thread
	threads int

	free   map[*Server]int
	queues map[*Server][]*simulated
	ends   simulatedHeap
	now    time.Duration
	took   []time.Duration
}

type simulated struct {
	server     *Server
	began, end time.Duration
}

type simulatedHeap []*simulated

func (h simulatedHeap) Len() int           { return len(h) }
func (h simulatedHeap) Less(i, j int) bool { return h[i].end < h[j].end }
func (h simulatedHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *simulatedHeap) Push(r any)        { *h = append(*h, r.(*simulated)) }
func (h *simulatedHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// run sends n requests, on average one in gap, and returns the 99th percentile of
// how long they took. With that many warm-up requests before.
func (s *simulation) run(n, warm int, gap time.Duration) time.Duration {
	s.free, s.queues = make(map[*Server]int), make(map[*Server][]*simulated)
	for _, server := range s.pool.Servers() {
		s.free[server] = s.threads
	}
	var next time.Duration
	for sent := 0; sent < n+warm; {
		if len(s.ends) > 0 && s.ends[0].end <= next {
			s.end(heap.Pop(&s.ends).(*simulated))
			continue
		}
		s.at(next)
		r := &simulated{server: s.pool.Pick(nil, nil), began: s.now}
		if s.free[r.server] > 0 {
			s.start(r)
		} else {
			s.queues[r.server] = append(s.queues[r.server], r)
		}
		sent++
		next += time.Duration(s.rand.ExpFloat64() * float64(gap))
	}
	for len(s.ends) > 0 {
		s.end(heap.Pop(&s.ends).(*simulated))
	}
	took := s.took[warm:]
	slices.Sort(took)
	return took[len(took)*99/100]
}

func (s *simulation) at(t time.Duration) {
	time.Sleep(t - s.now)
	s.now = t
}

func (s *simulation) start(r *simulated) {
	s.free[r.server]--
	r.end = s.now + time.Duration(s.rand.ExpFloat64()*float64(s.service[r.server]))
	heap.Push(&s.ends, r)
}

func (s *simulation) end(r *simulated) {
	s.at(r.end)
	took := s.now - r.began
	s.took = append(s.took, took)
	r.server.Done(Succeeded, took)
	s.free[r.server]++
	if q := s.queues[r.server]; len(q) > 0 {
		s.queues[r.server] = q[1:]
		s.start(q[0])
	}
}

// One of ten servers is ten times slower than the others: policies that look at
// servers have a 99th percentile at most half of that of those that do not, be it
// that the slow one cannot keep up with its share or that it can.
func TestSlowServer(t *testing.T) {
	const (
		servers, threads = 10, 8
		fast             = 10 * time.Millisecond
	)
	for _, percent := range []time.Duration{8, 60} { // of what ten fast ones could do
		p99 := make(map[Policy]time.Duration)
		for _, policy := range []Policy{RoundRobin, Random, LeastRequest, P2C, EWMA} {
			seg := newSegment(t)
			bubble(t, func(t *testing.T) {
				p := settledPool(t, seg, Settings{Name: "one", Policy: policy}, many(servers)...)
				p.rand = rand.New(rand.NewPCG(1, 2))
				s := &simulation{pool: p, rand: rand.New(rand.NewPCG(3, 4)), service: make(map[*Server]time.Duration), threads: threads}
				for _, server := range p.Servers() {
					s.service[server] = fast
				}
				s.service[p.Servers()[3]] = 10 * fast
				p99[policy] = s.run(30_000, 3000, fast*100/(servers*threads*percent))
			})
			t.Logf("%d %% of capacity, %v: p99 %v", percent, policy, p99[policy])
		}
		for _, policy := range []Policy{LeastRequest, P2C, EWMA} {
			if got, most := p99[policy], p99[RoundRobin]/2; got > most {
				t.Errorf("%d %% of capacity, %v: p99 is %v; want at most half of round robin's: %v", percent, policy, got, most)
			}
		}
	}
}
