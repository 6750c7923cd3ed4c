package tlsconn

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/loop"
)

// sessionsIn is OpenSessions.
func sessionsIn(t testing.TB, seg *shm.Segment) *Sessions {
	t.Helper()
	s, err := OpenSessions(seg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keeper is a cache that keeps the last session that crypto/tls gave it.
type keeper struct {
	mu   sync.Mutex
	last *tls.ClientSessionState
}

func (k *keeper) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

func (k *keeper) Put(_ string, s *tls.ClientSessionState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = s
}

// newSession returns one that a server has given.
func newSession(t testing.TB) *tls.ClientSessionState {
	t.Helper()
	l := start(t)
	s := plain()
	s.Tickets = ticketsIn(t, newSegment(t))
	config := trusting(tls.VersionTLS13)
	k := new(keeper)
	config.ClientSessionCache = k
	mustConnect(t, serve(t, l, configOf(t, s), answer), config)
	if k.last == nil {
		t.Fatal("no session")
	}
	return k.last
}

// same reports whether a and b are of the same content.
func same(a, b *tls.ClientSessionState) bool {
	return a != nil && b != nil && bytes.Equal(encode(a), encode(b))
}

func TestSessionCache(t *testing.T) {
	seg := newSegment(t)
	s, session := sessionsIn(t, seg), newSession(t)
	c := s.Cache([]byte("ca"), []byte("alpn"))
	if _, ok := c.Get("origin.test"); ok {
		t.Error("empty: got a session")
	}
	c.Put("origin.test", session)
	for name, other := range map[string]tls.ClientSessionCache{"itself": c, "another worker": sessionsIn(t, seg).Cache([]byte("ca"), []byte("alpn"))} {
		if got, ok := other.Get("origin.test"); !ok || !same(got, session) {
			t.Errorf("%s: got %v, %v; want the session", name, got, ok)
		}
	}
	for name, other := range map[string]tls.ClientSessionCache{
		"another authority": s.Cache([]byte("ac"), []byte("alpn")), "less": s.Cache([]byte("ca")), "written together": s.Cache([]byte("caalpn")),
		"another order": s.Cache([]byte("alpn"), []byte("ca")),
	} {
		if _, ok := other.Get("origin.test"); ok {
			t.Errorf("%s: got a session; want none", name)
		}
	}
	if _, ok := c.Get("other.test"); ok {
		t.Error("another name: got a session")
	}
	c.Put("origin.test", nil)
	if _, ok := c.Get("origin.test"); ok {
		t.Error("after it was taken away: got a session")
	}
	for i := range s.words {
		if w := s.words[i].Load(); w != 0 && i%sessionWords >= headWords {
			t.Fatalf("after it was taken away: word %d is %x", i, w)
		}
	}
}

func TestSessionsGetOld(t *testing.T) {
	s, session := sessionsIn(t, newSegment(t)), newSession(t)
	c := s.Cache().(*sessionCache)
	c.put(1000, "origin.test", session)
	for _, at := range []int64{1000, 1000 + sessionAge} {
		if _, ok := c.get(at, "origin.test"); !ok {
			t.Errorf("at %d: got none", at)
		}
	}
	if _, ok := c.get(1001+sessionAge, "origin.test"); ok {
		t.Error("after a day: got a session")
	}
	if _, ok := c.get(1000, "origin.test"); ok {
		t.Error("after that: got a session; want it overwritten")
	}
}

// There is room for so many; the oldest of a set makes room for others.
func TestSessionsAreBounded(t *testing.T) {
	s, session := sessionsIn(t, newSegment(t)), newSession(t)
	c := s.Cache().(*sessionCache)
	name := func(i int) string { return fmt.Sprintf("s%d.test", i) }
	const many = 3 * sessionSets * sessionWays
	for i := range many {
		c.put(int64(i+1), name(i), session)
		if _, ok := c.get(many, name(i)); !ok {
			t.Fatalf("session %d: got none", i)
		}
	}
	kept := 0
	for i := range many {
		if _, ok := c.get(many, name(i)); ok {
			kept++
		}
	}
	if kept < sessionSets*sessionWays*9/10 || kept > sessionSets*sessionWays {
		t.Errorf("kept: got %d; want about %d", kept, sessionSets*sessionWays)
	}
	if _, ok := c.get(many, name(many-1)); !ok {
		t.Error("the youngest was not kept")
	}
}

// What does not fit is not kept, and neither is what it replaces.
func TestSessionTooLarge(t *testing.T) {
	s, session := sessionsIn(t, newSegment(t)), newSession(t)
	ticket, state, err := session.ResumptionState()
	if err != nil {
		t.Fatal(err)
	}
	room := maxSession - len(encode(session)) + len(ticket)
	c := s.Cache()
	for _, size := range []int{room, room + 1} {
		large, err := tls.NewResumptionState(slices.Repeat([]byte("x"), size), state)
		if err != nil {
			t.Fatal(err)
		}
		c.Put("origin.test", large)
		if got, ok := c.Get("origin.test"); ok != (size == room) || ok && !same(got, large) {
			t.Errorf("a ticket of %d bytes: got %v; want %v", size, ok, size == room)
		}
	}
}

// Whatever a killed writer leaves, or several who write at a time, is a session
// or none.
func TestTornSessions(t *testing.T) {
	s, session := sessionsIn(t, newSegment(t)), newSession(t)
	c := s.Cache().(*sessionCache)
	c.Put("origin.test", session)
	x, found := s.find(s.hasher.Hash(c.id("origin.test")) | 1)
	if !found {
		t.Fatal("it is not there")
	}
	for i := range x.words[:(x.size.Load()+7)/8] {
		was := x.words[i].Load()
		x.words[i].Store(was + 1<<13)
		if _, ok := c.Get("origin.test"); ok {
			t.Errorf("word %d is another's: got a session", i)
		}
		x.words[i].Store(was)
	}
	for _, size := range []uint64{0, 1, x.size.Load() - 1, x.size.Load() + 1, maxSession, maxSession + 1, 1 << 63} {
		was := x.size.Swap(size)
		if _, ok := c.Get("origin.test"); ok {
			t.Errorf("%d bytes instead of %d: got a session", size, was)
		}
		x.size.Store(was)
	}
	if _, ok := c.Get("origin.test"); !ok {
		t.Error("all as it was: got none")
	}
	other := newSession(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 2000 {
				if i%3 == 0 {
					c.Put("origin.test", []*tls.ClientSessionState{session, other}[i%2])
				}
				if got, ok := c.Get("origin.test"); ok && !same(got, session) && !same(got, other) {
					t.Error("got a mixture")
				}
			}
		})
	}
	all.Wait()
}

// A connection of one worker resumes the session of another.
func TestClientsShareSessions(t *testing.T) {
	seg := newSegment(t)
	for name, version := range versions {
		a := server(t, nil, func(c *tls.Conn) {
			b := make([]byte, 4)
			_, _ = c.Read(b)
			_, _ = c.Write(b)
		})
		for i := range 3 {
			config := trusting(version)
			config.ClientSessionCache = sessionsIn(t, seg).Cache([]byte(name))
			run(t, start(t), func(task *loop.Task) {
				c, err := dial(task, a, config)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if got := c.State().DidResume; got != (i > 0) {
					t.Errorf("%s, worker %d: resumed: got %v", name, i, got)
				}
				b := []byte("ping")
				if err := write(task, c, b); err != nil {
					t.Error(err)
				}
				if err := readFull(task, c, b); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Without a server's name there is nothing to find a session by.
func TestNoSessionWithoutName(t *testing.T) {
	a := server(t, nil, echo)
	config := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: sessionsIn(t, newSegment(t)).Cache()}
	run(t, start(t), func(task *loop.Task) {
		for range 2 {
			c, err := dial(task, a, config)
			if err != nil {
				t.Error(err)
				return
			}
			b := []byte("ping")
			if err := write(task, c, b); err != nil {
				t.Error(err)
			}
			if err := readFull(task, c, b); err != nil {
				t.Error(err)
			}
			if c.State().DidResume {
				t.Error("resumed")
			}
			c.Close()
		}
	})
}

// FuzzSession stores arbitrary content with its right sum, and damages what is
// stored: neither may be worse than no session.
func FuzzSession(f *testing.F) {
	session := newSession(f)
	good := encode(session)
	f.Add(good, uint16(0), uint64(0))
	f.Add(good[:len(good)/2], uint16(3), uint64(1))
	f.Add([]byte{0, 0, 0, 0}, uint16(0), uint64(0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1}, uint16(4), uint64(1<<40))
	seg, err := shm.Create()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { seg.Close() })
	s, err := OpenSessions(seg)
	if err != nil {
		f.Fatal(err)
	}
	c := s.Cache().(*sessionCache)
	f.Fuzz(func(t *testing.T, content []byte, at uint16, change uint64) {
		if state, ok := decode(content); ok && !bytes.Equal(encode(state), content) {
			if again, ok := decode(encode(state)); !ok || !same(again, state) {
				t.Error("a session is another after it was stored")
			}
		}
		c.Put("origin.test", session)
		x, _ := s.find(s.hasher.Hash(c.id("origin.test")) | 1)
		if len(content) <= maxSession {
			x.store(s.hasher, c.id("origin.test"), content)
			if got, ok := x.load(s.hasher, c.id("origin.test")); !ok || !bytes.Equal(got, content) {
				t.Errorf("stored %x, got %x, %v", content, got, ok)
			}
			c.Get("origin.test")
		}
		word := &s.words[s.offset(x)+uint64(at)%sessionWords]
		word.Store(word.Load() ^ change)
		c.Get("origin.test")
		c.Put("origin.test", session)
		if got, ok := c.Get("origin.test"); !ok || !same(got, session) {
			t.Error("after that, no session is kept")
		}
	})
}

// offset is where in the words of s those of x begin.
func (s *Sessions) offset(x session) uint64 {
	for i := range uint64(sessionSets * sessionWays) {
		if s.at(i).key == x.key {
			return i * sessionWords
		}
	}
	panic("bug: a session of nowhere")
}
