package handoff

import (
	"encoding/hex"
	"fmt"
	"time"
)

// A Digest is the SHA-256 of a bundle, in JSON as hexadecimal digits.
type Digest [32]byte

// String gives the hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText is for package json.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is for package json.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) != 2*len(d) {
		return fmt.Errorf("digest of %d characters: want %d", len(b), 2*len(d))
	}
	if _, err := hex.Decode(d[:], b); err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	return nil
}

// HelloBody is the body of Hello.
type HelloBody struct {
	Pid     int    `json:"pid"`
	Build   string `json:"build"`
	Version int    `json:"version"` // of the channel
	Slot    int    `json:"slot"`
	Answers bool   `json:"answers"` // it knows Ask, which builds before it do not

	// What follows is said by an orphan: a worker that has served another
	// supervisor, now dead. With its Hello come the shared segment, the bundle of
	// Config, and that of Prepared if that is not 0. Then it sends its listeners,
	// in messages of type Listen, which are acknowledged, and awaits Owner.
	Config    uint64 `json:"config,omitempty"`    // in use; 0: no orphan
	Prepared  uint64 `json:"prepared,omitempty"`  // could be used; its fate has not reached the worker
	Draining  bool   `json:"draining,omitempty"`  // it has no listeners any more
	Listeners int    `json:"listeners,omitempty"` // how many it will send
}

// ListenBody is the body of Listen: the names of its descriptors, in order.
// A name is config.Address.Name of the address that the descriptor is bound to.
// A worker keeps them all and accepts on those its configuration in force names.
// It is sent every one once: all of them at its start, then what a reload adds.
type ListenBody struct {
	Names []string `json:"names"`
}

// AckBody is the body of Ack: the sequence of the message it answers.
type AckBody struct {
	Sequence uint32 `json:"sequence"`
}

// PrepareBody is the body of Prepare; the sealed bundle is its one descriptor.
type PrepareBody struct {
	Config uint64 `json:"config"` // number of the configuration, from 1
	SHA256 Digest `json:"sha256"` // of the bundle
}

// PreparedBody is the body of Prepared.
type PreparedBody struct {
	Config uint64 `json:"config"`
}

// NackBody is the body of Nack. Config is set if it answers Prepare, Sequence
// is that of the message refused.
type NackBody struct {
	Config   uint64 `json:"config,omitempty"`
	Sequence uint32 `json:"sequence"`
	Text     string `json:"text"`
}

// StartBody is the body of Start.
type StartBody struct{}

// AcceptingBody is the body of Accepting.
type AcceptingBody struct {
	Config uint64 `json:"config"`
}

// CommitBody is the body of Commit.
type CommitBody struct {
	Config uint64 `json:"config"`
}

// AbortBody is the body of Abort. The worker also closes the listeners that came
// for the configuration it forgets.
type AbortBody struct {
	Config uint64 `json:"config"`
}

// CommittedBody is the body of Committed. By then the worker has accepted what
// was queued on listeners that the configuration no longer names, and has closed
// them: once all workers have said so the supervisor ends them.
type CommittedBody struct {
	Config uint64 `json:"config"`
}

// BeatBody is the body of Beat.
type BeatBody struct{}

// DrainBody is the body of Drain: idle connections may stay for Soft, and
// nothing stays after Hard. Zero is at once. The worker accepts what is queued,
// closes its listeners at once, and then answers with Ack.
type DrainBody struct {
	Soft time.Duration `json:"soft"` // nanoseconds
	Hard time.Duration `json:"hard"` // nanoseconds
}

// DrainedBody is the body of Drained.
type DrainedBody struct{}

// OwnerBody is the body of Owner. Its one descriptor is where the worker is to
// log from now on, as its descriptors 1 and 2.
type OwnerBody struct {
	Incarnation uint64 `json:"incarnation"`
}

// LogsBody is the body of Logs: the names of its descriptors, in order. A name
// is config.AccessLog.FileName. A worker keeps them all, writes to those that its
// configuration in force names, and replaces what it has of the same name: so a
// reload and a reopen after logrotate are one thing. It answers with Ack.
type LogsBody struct {
	Names []string `json:"names"`
}

// A supervisor that upgrades speaks to its successor, which it has started:
//
//	successor HELLO      I run
//	old       ESTATE     what you need to know, GIVE descriptors, each answered with ACK; START
//	successor ACCEPTING  a generation of mine serves beside yours, or NACK
//	old       OWNER      it is all yours
//	successor COMMITTED  I have it, or NACK
//
// Either may die at any moment: until COMMITTED all is the old one's.

// EstateBody is the body of Estate.
type EstateBody struct {
	Newest   uint32 `json:"newest"`   // generation
	Offered  uint64 `json:"offered"`  // highest number of a configuration
	Slots    []int  `json:"slots"`    // of workers that are not the successor's
	Items    int    `json:"items"`    // descriptors to come
	StateDir string `json:"stateDir"` // where the lock is that is among them
	Made     bool   `json:"made"`     // StateDir was, by proxyd
	Leave    bool   `json:"leave"`    // once it has the estate: the old process will go on in its place
}

// GiveBody is the body of Give: the names of its descriptors, in order.
type GiveBody struct {
	Names []string `json:"names"`
}
