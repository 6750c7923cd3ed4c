package limiter
import ("testing";"github.com/proxyd/proxyd/internal/shm")
var sinkT tally
var sinkV Verdict
func BenchmarkZZ(b *testing.B) {
	l := limiterOf(b, newSegment(b), benchRule(Estimator))
	keys := benchKeys(100)
	h := make([]uint64,100)
	for i,k := range keys { l.Take(k); h[i]=l.hasher.Hash(k) }
	e := l.rate.counter.(*estimator)
	b.Run("now", func(b *testing.B){ each(b, keys, func(k []byte){ shm.Now() }) })
	b.Run("now+hash", func(b *testing.B){ var s uint64; each(b, keys, func(k []byte){ shm.Now(); s+=l.hasher.Hash(k) }); _=s })
	b.Run("now+hash+est", func(b *testing.B){ each(b, keys, func(k []byte){ n:=shm.Now(); e.take(n,l.hasher.Hash(k),&l.rate,false) }) })
	b.Run("now+hash+iface", func(b *testing.B){ each(b, keys, func(k []byte){ n:=shm.Now(); r:=l.rateOf(k); r.counter.take(n,l.hasher.Hash(k),r,false) }) })
	b.Run("now+hash+iface+note", func(b *testing.B){ each(b, keys, func(k []byte){ n:=shm.Now(); r:=l.rateOf(k);h:=l.hasher.Hash(k); t:=r.counter.take(n,h,r,false); l.hot.note(l.windowAt(n), h, k, t.used, !t.admitted) }) })
	b.Run("now+hash+iface+verdict", func(b *testing.B){ each(b, keys, func(k []byte){ n:=shm.Now(); r:=l.rateOf(k);h:=l.hasher.Hash(k); t:=r.counter.take(n,h,r,false); v:=r.verdict(t);_=v }) })
	b.Run("Take", func(b *testing.B){ each(b, keys, func(k []byte){ l.Take(k) }) })
}
