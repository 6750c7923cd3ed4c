package tlsconn

import (
	"crypto/tls"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
)

const half = int64(ticketPeriod)

// current is Tickets.current, which must succeed.
func current(t testing.TB, k *Tickets, p uint64) ticketKey {
	t.Helper()
	key, ok := k.current(p)
	if !ok {
		t.Fatalf("period %d: no key", p)
	}
	return key
}

func TestTicketKeysRotate(t *testing.T) {
	seg := newSegment(t)
	a, b := ticketsIn(t, seg), ticketsIn(t, seg)
	if key, ok := a.find(5); ok {
		t.Errorf("before any is made: got %x", key)
	}
	five := current(t, a, 5)
	if five == (ticketKey{}) {
		t.Error("a key of zeroes")
	}
	if got := current(t, b, 5); got != five {
		t.Errorf("another worker: got %x; want %x", got, five)
	}
	six := current(t, b, 6)
	if got, ok := a.find(5); !ok || got != five || six == five {
		t.Errorf("the last key, in the next period: got %x, %v; want %x", got, ok, five)
	}
	current(t, a, 7)
	if _, ok := b.find(5); ok {
		t.Error("the key of period 5 is there in period 7")
	}
	if _, ok := b.current(5); ok {
		t.Error("a process whose clock is behind: got a key for period 5 in period 7")
	}
	if got, ok := b.find(6); !ok || got != six {
		t.Errorf("after that: got %x, %v; want %x", got, ok, six)
	}
	// Nothing of a key is left when its time is over.
	current(t, a, 20)
	current(t, a, 21)
	for i := range a.words {
		if w := a.words[i].Load(); slices.Contains(five[:], w) || slices.Contains(six[:], w) || w>>wordRandom < 20 {
			t.Errorf("a word of an old key is left: %x", w)
		}
	}
}

func TestRotateOverwrites(t *testing.T) {
	k := ticketsIn(t, newSegment(t))
	current(t, k, 5)
	k.rotate(5 * half) // the sixth period
	if _, ok := k.find(5); !ok {
		t.Error("the key of the last period is gone")
	}
	k.rotate(6*half - 1)
	k.rotate(6 * half)
	if _, ok := k.find(5); ok {
		t.Error("the key is there 24 hours after its period began")
	}
	if _, ok := k.find(7); !ok {
		t.Error("there is no key for the present period")
	}
}

// A process killed between any two words leaves what the others go on from.
func TestTicketKeysOfTheDead(t *testing.T) {
	for written := range keyWords {
		k := ticketsIn(t, newSegment(t))
		five := current(t, k, 5)
		dead := current(t, ticketsIn(t, newSegment(t)), 7)
		for i := range written {
			k.cell(7)[i].Store(dead[i])
		}
		if key, ok := k.find(5); ok != (written == 0) {
			t.Errorf("%d words written: the old key: got %x, %v", written, key, ok)
		}
		if key, ok := k.find(7); ok {
			t.Errorf("%d words written: got %x for a key", written, key)
		}
		seven := current(t, k, 7)
		for i, w := range seven {
			if (w == dead[i]) != (i < written) || w == five[i] {
				t.Errorf("%d words written: word %d: got %x; the dead had %x", written, i, w, dead[i])
			}
		}
		if again := current(t, k, 7); again != seven {
			t.Errorf("%d words written: got %x, then %x", written, seven, again)
		}
	}
}

// However the periods pass for many processes at once, those who have a key for
// one have the same.
func TestTicketKeysAgree(t *testing.T) {
	seg := newSegment(t)
	const workers, periods = 4, 2000
	var mu sync.Mutex
	seen := make(map[uint64]ticketKey)
	var all sync.WaitGroup
	for seed := range uint64(workers) {
		k := ticketsIn(t, seg)
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for p := uint64(1); p < periods; p += 1 + r.Uint64N(2) {
				key, ok := k.current(p)
				if !ok {
					continue // the others are further
				}
				mu.Lock()
				if other, known := seen[p]; known && other != key {
					t.Errorf("period %d: got %x and %x", p, key, other)
				}
				seen[p] = key
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(seen) < periods/2 {
		t.Errorf("got %d keys", len(seen))
	}
}

func TestTrustSeparatesTickets(t *testing.T) {
	a, b := newAuthority(t, "a"), newAuthority(t, "b")
	other := a.server(t, newKey(t, "ecdsa"), "other.test")
	renewed := a.server(t, newKey(t, "ecdsa"), originName)
	base := Settings{Certificates: []tls.Certificate{originCert}, ALPN: []string{"h2", "http/1.1"}, ClientCA: a.pem}
	trust := func(change func(*Settings)) string {
		s := base
		change(&s)
		c, err := NewCertificates(s.Certificates)
		if err != nil {
			t.Fatal(err)
		}
		return trustOf(&s, c)
	}
	same := trust(func(*Settings) {})
	if got := trust(func(s *Settings) { s.Certificates = []tls.Certificate{renewed} }); got != same {
		t.Error("a renewed certificate makes another trust")
	}
	seen := map[string]string{same: "the first"}
	for name, change := range map[string]func(*Settings){
		"another authority":     func(s *Settings) { s.ClientCA = b.pem },
		"no authority":          func(s *Settings) { s.ClientCA = nil },
		"required":              func(s *Settings) { s.RequireClient = true },
		"no ALPN":               func(s *Settings) { s.ALPN = nil },
		"other ALPN":            func(s *Settings) { s.ALPN = []string{"h2"} },
		"ALPN written together": func(s *Settings) { s.ALPN = []string{"h2http/1.1"} },
		"another name":          func(s *Settings) { s.Certificates = []tls.Certificate{other} },
		"a name more":           func(s *Settings) { s.Certificates = []tls.Certificate{originCert, other} },
	} {
		got := trust(change)
		if as := seen[got]; as != "" {
			t.Errorf("%s: the same trust as %s", name, as)
		}
		seen[got] = name
	}
}

// resumes reports whether a second connection to the second address resumes the
// session of the first.
func resumes(t *testing.T, first, second string, config *tls.Config) bool {
	t.Helper()
	config = config.Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	mustConnect(t, first, config)
	return mustConnect(t, second, config).ConnectionState().DidResume
}

// Two loops with one segment are two workers: see also TestTwoProcesses.
func TestServerResumes(t *testing.T) {
	seg := newSegment(t)
	a := newAuthority(t, "client CA")
	worker := func(seg *shm.Segment, change func(*Settings)) string {
		l := start(t)
		s := plain()
		s.Gate, s.Tickets = NewGate(l), ticketsIn(t, seg)
		change(&s)
		return serve(t, l, configOf(t, s), answer)
	}
	same := func(*Settings) {}
	mutual := func(s *Settings) { s.ClientCA, s.RequireClient = a.pem, true }
	one := worker(seg, same)
	for name, version := range versions {
		config := trusting(version)
		config.Certificates = []tls.Certificate{a.client(t, "alice")}
		for to, c := range map[string]struct {
			from, to string
			want     bool
		}{
			"itself":            {one, one, true},
			"another worker":    {one, worker(seg, same), true},
			"another segment":   {one, worker(newSegment(t), same), false},
			"another trust":     {one, worker(seg, mutual), false},
			"less trust":        {worker(seg, mutual), one, false},
			"with certificates": {worker(seg, mutual), worker(seg, mutual), true},
			"without tickets":   {one, worker(seg, func(s *Settings) { s.Tickets = nil }), false},
		} {
			if got := resumes(t, c.from, c.to, config); got != c.want {
				t.Errorf("%s, by %s: resumed: got %v; want %v", name, to, got, c.want)
			}
		}
	}
}

// The configuration follows the keys: what was encrypted in a period resumes in
// the next, and no later.
func TestTicketsExpire(t *testing.T) {
	seg := newSegment(t)
	worker := func(at int64) string {
		l := start(t)
		s := plain()
		s.Tickets = ticketsIn(t, seg)
		c := configOf(t, s)
		certificates, err := NewCertificates(s.Certificates)
		if err != nil {
			t.Fatal(err)
		}
		k := keyring{tickets: s.Tickets, trust: trustOf(&s, certificates)}
		c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			k.renewAt(at, c)
			return nil, nil
		}
		return serve(t, l, c, answer)
	}
	for i, c := range []struct {
		later int64
		want  bool
	}{{0, true}, {half - 1, true}, {half, true}, {2*half - 1, true}, {2 * half, false}, {20 * half, false}} {
		now := int64(100*(i+1)) * half // the beginning of a period
		config := trusting(tls.VersionTLS13)
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		mustConnect(t, worker(now), config)
		if got := mustConnect(t, worker(now+c.later), config).ConnectionState().DidResume; got != c.want {
			t.Errorf("%d hours later: resumed: got %v; want %v", c.later/half*12, got, c.want)
		}
	}
}
