package tlsconn

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

const (
	sessionSets  = 64      // the key says which
	sessionWays  = 4       // sessions in a set
	sessionWords = 2 << 10 // of a session: 16 KiB, touched as far as it needs them
	headWords    = 4
	maxSession   = 8 * (sessionWords - headWords) // bytes of ticket and state, which have the certificates in them
	sessionAge   = int64(24 * time.Hour)          // for which one is kept
)

// Sessions are those that servers have given us, for all workers: a connection
// that one opens resumes a session that another got. There is room for 256; of
// those in a set the oldest gives way.
//
// There is no lock. A session is written word by word, with a sum of all of it,
// and taken for one only if the sum is right. Two who write one at a time, or one
// who is killed doing it, leave none, which costs a full handshake.
type Sessions struct {
	words  []atomic.Uint64
	hasher shm.Hasher
}

// OpenSessions returns the sessions in seg.
func OpenSessions(seg *shm.Segment) (*Sessions, error) {
	words, err := seg.Words("tls/sessions", sessionSets*sessionWays*sessionWords)
	if err != nil {
		return nil, err
	}
	return &Sessions{words, seg.Hasher("tls/sessions")}, nil
}

// Cache is for connections of one trust: to what is the same in all parts. These
// are what a server is verified by and what we show it, such as the authority's
// certificates, whether they are asked for, our own certificate and the protocols.
// A session is found by them and the server's name.
func (s *Sessions) Cache(trust ...[]byte) tls.ClientSessionCache {
	h := sha256.New()
	fmt.Fprintf(h, "%s:", runtime.Version()) // whose form it is
	for _, part := range trust {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return &sessionCache{s, h.Sum(nil)}
}

type sessionCache struct {
	sessions *Sessions
	trust    []byte
}

// A session is the words of one.
type session struct {
	key    *atomic.Uint64 // of trust and name; 0: there is none
	sum    *atomic.Uint64 // of trust, name, size and content
	stored *atomic.Uint64 // shm.Now
	size   *atomic.Uint64 // of content, in bytes
	words  []atomic.Uint64
}

func (s *Sessions) at(i uint64) session {
	w := s.words[i*sessionWords:][:sessionWords]
	return session{&w[0], &w[1], &w[2], &w[3], w[headWords:]}
}

// Get is for crypto/tls.
func (c *sessionCache) Get(name string) (*tls.ClientSessionState, bool) {
	return c.get(shm.Now(), name)
}

func (c *sessionCache) get(now int64, name string) (*tls.ClientSessionState, bool) {
	id := c.id(name)
	x, found := c.sessions.find(c.sessions.hasher.Hash(id) | 1)
	if !found {
		return nil, false
	}
	if age := now - int64(x.stored.Load()); age < 0 || age > sessionAge {
		x.clear()
		return nil, false
	}
	content, ok := x.load(c.sessions.hasher, id)
	if !ok {
		return nil, false
	}
	return decode(content)
}

// Put is for crypto/tls; nil stands for none.
func (c *sessionCache) Put(name string, state *tls.ClientSessionState) {
	c.put(shm.Now(), name, state)
}

func (c *sessionCache) put(now int64, name string, state *tls.ClientSessionState) {
	id := c.id(name)
	key := c.sessions.hasher.Hash(id) | 1 // never 0
	x, found := c.sessions.find(key)
	content := encode(state)
	if len(content) == 0 || len(content) > maxSession {
		if found {
			x.clear() // it is worse than none: this one has taken its place
		}
		return
	}
	x.store(c.sessions.hasher, id, content)
	x.stored.Store(uint64(now))
	x.key.Store(key)
}

func (c *sessionCache) id(name string) []byte {
	return append(bytes.Clone(c.trust), name...)
}

// find returns the session of key, or the one whose place is to be taken.
func (s *Sessions) find(key uint64) (best session, found bool) {
	first := key >> 1 % sessionSets * sessionWays
	oldest := uint64(math.MaxUint64)
	for i := first; i < first+sessionWays; i++ {
		x := s.at(i)
		stored := x.stored.Load()
		switch x.key.Load() {
		case key:
			return x, true
		case 0:
			stored = 0
		}
		if stored < oldest {
			best, oldest = x, stored
		}
	}
	return best, false
}

// clear overwrites the secrets of x, too.
func (x session) clear() {
	x.key.Store(0)
	x.sum.Store(0)
	n := min(x.size.Load(), maxSession)
	for i := range (n + 7) / 8 {
		x.words[i].Store(0)
	}
}

// store writes content as the session of id.
func (x session) store(h shm.Hasher, id, content []byte) {
	x.size.Store(uint64(len(content)))
	x.sum.Store(sum(h, id, content))
	var last [8]byte
	for i := 0; len(content) > 0; i++ {
		if len(content) < 8 {
			content = last[:copy(last[:], content)+8-len(content)]
		}
		x.words[i].Store(binary.NativeEndian.Uint64(content))
		content = content[8:]
	}
}

// load returns the content of x if it is whole and that of id.
func (x session) load(h shm.Hasher, id []byte) ([]byte, bool) {
	size := x.size.Load()
	if size > maxSession {
		return nil, false
	}
	content := make([]byte, 0, size+7)
	for i := range (size + 7) / 8 {
		content = binary.NativeEndian.AppendUint64(content, x.words[i].Load())
	}
	content = content[:size]
	return content, x.sum.Load() == sum(h, id, content)
}

func sum(h shm.Hasher, id, content []byte) uint64 {
	all := make([]byte, 0, 8+len(id)+len(content))
	all = binary.NativeEndian.AppendUint64(all, uint64(len(id)))
	return h.Hash(append(append(all, id...), content...))
}

// encode is the stored form of a session, empty if it has none: the length of the
// ticket, the ticket, the state.
func encode(s *tls.ClientSessionState) []byte {
	if s == nil {
		return nil
	}
	ticket, state, err := s.ResumptionState()
	if err != nil || state == nil {
		return nil
	}
	text, err := state.Bytes()
	if err != nil {
		return nil
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(ticket)))
	return append(append(b, ticket...), text...)
}

// decode undoes encode. What crypto/tls gets keeps parts of b.
func decode(b []byte) (*tls.ClientSessionState, bool) {
	if len(b) < 4 {
		return nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return nil, false
	}
	state, err := tls.ParseSessionState(b[n:])
	if err != nil {
		return nil, false
	}
	s, err := tls.NewResumptionState(b[:n:n], state)
	return s, err == nil
}
