package tlsconn

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// ticketPeriod is for how long a key encrypts tickets. It decrypts them for as
// long again.
const ticketPeriod = 12 * time.Hour

// Tickets are the keys of session tickets, one set for all workers: a client
// resumes its session with whichever it meets, also after a reload or an upgrade.
//
// Time since boot is divided into periods, and each has a key of its own, which
// encrypts in its period and decrypts in the next. There is room for two keys: a
// period's takes the place of the last but one, which is overwritten. Whoever
// needs a key first makes it, word by word: a word that is zero is replaced by a
// random one, by a compare-and-swap, so that all agree on what the first has put
// there. Who is killed between two words leaves a part of a key, and the next
// completes it.
type Tickets struct {
	cells *[2]ticketKey
	turn  uint64 // the period that Rotate has seen to; used on the loop only
}

// A ticketKey is the words of one key.
type ticketKey struct {
	period *atomic.Uint64 // that it is of; it only grows
	words  []atomic.Uint64
}

const keyWords = 4 // of 64 bits

// OpenTickets returns the keys in seg.
func OpenTickets(seg *shm.Segment) (*Tickets, error) {
	w, err := seg.Words("tls/tickets", 2*(1+keyWords))
	if err != nil {
		return nil, err
	}
	cell := func(w []atomic.Uint64) ticketKey { return ticketKey{&w[0], w[1 : 1+keyWords]} }
	return &Tickets{cells: &[2]ticketKey{cell(w), cell(w[1+keyWords:])}}, nil
}

// Rotate overwrites the key whose time is over, if no handshake has. Call it on
// the loop every now and then; it costs 30 ns.
func (t *Tickets) Rotate() { t.rotate(shm.Now()) }

func (t *Tickets) rotate(now int64) {
	if p := period(now); p != t.turn {
		t.turn = p
		t.current(p)
	}
}

// period is the number of the period that now is in, from 1.
func period(now int64) uint64 { return uint64(now)/uint64(ticketPeriod) + 1 }

// current returns the key of period p, made if need be. It fails if that period is
// over for another process.
func (t *Tickets) current(p uint64) (key [32]byte, ok bool) {
	k := t.cells[p%2]
	if !k.advance(p) {
		return key, false
	}
	var random [32]byte
	rand.Read(random[:])
	for i := range k.words {
		r := binary.NativeEndian.Uint64(random[8*i:])
		k.words[i].CompareAndSwap(0, max(r, 1))
	}
	return t.find(p)
}

// advance makes k that of period p: empty if it was another's. Each word is taken
// away by its value, so that one who comes late with it takes no newer one.
func (k ticketKey) advance(p uint64) bool {
	for {
		old := k.period.Load()
		if old >= p {
			return old == p
		}
		for i := range k.words {
			w := k.words[i].Load()
			if k.period.Load() != old {
				break // w may be of the new key
			}
			k.words[i].CompareAndSwap(w, 0)
		}
		k.period.CompareAndSwap(old, p)
	}
}

// find returns the key of period p if there is one.
func (t *Tickets) find(p uint64) (key [32]byte, ok bool) {
	k := t.cells[p%2]
	if k.period.Load() != p {
		return key, false
	}
	for i := range k.words {
		w := k.words[i].Load()
		if w == 0 {
			return key, false
		}
		binary.NativeEndian.PutUint64(key[8*i:], w)
	}
	return key, k.period.Load() == p
}

// A keyring has the keys of one configuration. They are derived from those of all,
// for a ticket that says of a client that it was verified must not be taken where
// others are trusted.
type keyring struct {
	tickets *Tickets
	trust   string // what the keys are for
	period  uint64 // that config has the keys of
}

// renew gives config, if another period has begun, the keys of the present one.
func (k *keyring) renew(config *tls.Config) { k.renewAt(shm.Now(), config) }

func (k *keyring) renewAt(now int64, config *tls.Config) {
	p := period(now)
	if p == k.period {
		return
	}
	key, ok := k.tickets.current(p)
	if !ok {
		return // this process stood still for half a day since it read the clock: the next handshake is in time
	}
	keys := [][32]byte{k.derive(key)}
	if key, ok = k.tickets.find(p - 1); ok {
		keys = append(keys, k.derive(key))
	}
	config.SetSessionTicketKeys(keys)
	k.period = p
}

func (k *keyring) derive(key [32]byte) [32]byte {
	b, err := hkdf.Key(sha256.New, key[:], nil, "proxyd session tickets "+k.trust, 32)
	if err != nil {
		panic("bug: " + err.Error()) // it is for lengths that are none
	}
	return [32]byte(b)
}

// trustOf is a digest of what s trusts and who it is. Its keys are not in it: a
// certificate that is renewed is the same.
func trustOf(s *Settings, certificates *Certificates) string {
	h := sha256.New()
	add := func(b []byte) { fmt.Fprintf(h, "%d:%s", len(b), b) }
	add(s.ClientCA)
	add(fmt.Append(nil, s.RequireClient))
	for _, list := range [][]string{s.ALPN, certificates.names()} {
		add(fmt.Append(nil, len(list)))
		for _, text := range list {
			add([]byte(text))
		}
	}
	return string(h.Sum(nil))
}
