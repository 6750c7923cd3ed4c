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
// needs a key first makes it, word by word. A word bears the number of its period
// and is only ever replaced, by a compare-and-swap, by one of a later period, so
// that all agree on what the first has put there. Who is killed between two words
// leaves a part of a key, and the next completes it.
type Tickets struct {
	words []atomic.Uint64 // of the two keys
	turn  uint64          // the period that Rotate has seen to; used on the loop only
}

const (
	keyWords   = 6  // 288 random bits
	wordRandom = 48 // of them in each; above them is the period, for the next 90 years
)

// A ticketKey is the words of one key.
type ticketKey [keyWords]uint64

// OpenTickets returns the keys in seg.
func OpenTickets(seg *shm.Segment) (*Tickets, error) {
	words, err := seg.Words("tls/tickets", 2*keyWords)
	if err != nil {
		return nil, err
	}
	return &Tickets{words: words}, nil
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
func (t *Tickets) current(p uint64) (key ticketKey, ok bool) {
	var random [8 * keyWords]byte
	rand.Read(random[:])
	cell := t.cell(p)
	for i := range cell {
		fresh := p<<wordRandom | binary.NativeEndian.Uint64(random[8*i:])>>(64-wordRandom)
		w := cell[i].Load()
		for w>>wordRandom < p && !cell[i].CompareAndSwap(w, fresh) {
			w = cell[i].Load()
		}
	}
	return t.find(p)
}

// find returns the key of period p if there is one.
func (t *Tickets) find(p uint64) (key ticketKey, ok bool) {
	cell := t.cell(p)
	for i := range cell {
		if key[i] = cell[i].Load(); key[i]>>wordRandom != p {
			return ticketKey{}, false
		}
	}
	return key, true
}

func (t *Tickets) cell(p uint64) []atomic.Uint64 { return t.words[p%2*keyWords:][:keyWords] }

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

func (k *keyring) derive(key ticketKey) [32]byte {
	var secret []byte
	for _, w := range key {
		secret = binary.NativeEndian.AppendUint64(secret, w)
	}
	b, err := hkdf.Key(sha256.New, secret, nil, "proxyd session tickets "+k.trust, 32)
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
