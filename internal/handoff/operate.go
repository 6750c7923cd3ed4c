package handoff

import (
	"fmt"
	"time"
)

// An operator asks about the servers of upstreams and about limits, and changes
// them, while the proxy runs. All that is known about them is in the segment, so
// one worker answers for all, and what it changes all obey:
//
//	S→W ASK    a question
//	W→S TELL   the answer, a sealed memory file of JSON, or why there is none
//
// The supervisor carries questions and answers and reads neither.

// Bounds of questions and answers.
const (
	MaxAnswer = 8 << 20 // bytes
	MaxWeight = 65_535  // as in the file
)

// AskBody is the body of Ask.
type AskBody struct {
	Number   uint64   `json:"number"` // chosen at random by who asks
	Before   int64    `json:"before"` // the segment's time at which the asker gives up: later, nothing may be changed any more
	Question Question `json:"question"`
}

// TellBody is the body of Tell. The answer is its one descriptor, unless there
// is a Refusal.
type TellBody struct {
	Number  uint64   `json:"number"` // of the Ask
	Refusal *Refusal `json:"refusal,omitempty"`
}

// A Verb says what a Question is about.
type Verb string

// The verbs, with what else of the Question they need and what they are
// answered with.
const (
	ListServers   Verb = "servers" // Servers
	EnableServer  Verb = "enable"  // Upstream, Server; Server
	DrainServer   Verb = "drain"   // Upstream, Server; Server
	DisableServer Verb = "disable" // Upstream, Server; Server
	WeighServer   Verb = "weight"  // Upstream, Server, Weight; Server
	ListLimits    Verb = "limits"  // Limits
	ShowLimit     Verb = "limit"   // Limit, perhaps Key; Limit
	ResetLimit    Verb = "reset"   // Limit, Key; Limit
)

// A Question is what an operator wants to know or to have done.
type Question struct {
	Verb     Verb   `json:"verb"`
	Upstream string `json:"upstream,omitempty"`
	Server   string `json:"server,omitempty"` // address
	Weight   int    `json:"weight,omitempty"` // 0: the configuration's
	Limit    string `json:"limit,omitempty"`
	Key      []byte `json:"key"` // nil: none
}

// A Refusal is why a question has no answer that is the asker's mistake: another
// worker would say the same.
type Refusal struct {
	Unknown bool   `json:"unknown,omitempty"` // there is no upstream, server or limit of that name
	Text    string `json:"text"`
}

func (r *Refusal) Error() string { return r.Text }

// Unknown is the Refusal of a name that nothing has.
func Unknown(format string, args ...any) *Refusal {
	return &Refusal{Unknown: true, Text: fmt.Sprintf(format, args...)}
}

// Servers is all upstreams with their servers, in the order of the file.
type Servers struct {
	Worker    int        `json:"worker"` // slot of the one that answers
	Upstreams []Upstream `json:"upstreams"`
}

// An Upstream is the servers of one upstream and where they are found.
type Upstream struct {
	Name    string   `json:"name"`
	Policy  string   `json:"policy"`
	Servers []Server `json:"servers"`
	Sources []Source `json:"sources,omitempty"` // of discovery
}

// A Server is what all workers know of a server.
type Server struct {
	Address      string    `json:"address"`
	Weight       int       `json:"weight"`            // as it counts now
	Configured   int       `json:"configured_weight"` // by the configuration or the source
	Backup       bool      `json:"backup,omitempty"`
	State        string    `json:"state"` // up, down or unknown
	Since        time.Time `json:"since,omitzero"`
	Reason       string    `json:"reason,omitempty"`       // of the last failed probe
	Admin        string    `json:"admin,omitempty"`        // draining or disabled, by an operator
	EjectedUntil time.Time `json:"ejected_until,omitzero"` // after errors; zero: it is not
	InFlight     int       `json:"in_flight"`              // requests, of all workers
	Source       string    `json:"source"`                 // "config", or the name of one of the upstream's Sources
}

// Usable tells whether new requests go to the server while it is as it is.
func (s *Server) Usable() bool {
	return s.State != "down" && s.Admin == "" && s.EjectedUntil.IsZero()
}

// A Source is where servers are discovered.
type Source struct {
	Name     string    `json:"name"`
	Servers  int       `json:"servers"`
	Answered time.Time `json:"answered,omitzero"` // the answer in use; zero: there has been none
	Next     time.Time `json:"next,omitzero"`     // when it is asked again
	Error    string    `json:"error,omitempty"`   // of the last time, if that failed
}

// Limits is all limits, in the order of the file, rate limits first.
type Limits struct {
	Limits []Limit `json:"limits"`
}

// A Limit is a rate limit or a concurrency limit and what came of it.
type Limit struct {
	Name      string        `json:"name"`
	Max       int64         `json:"max"`                 // requests in Window, or at once
	Window    time.Duration `json:"window_ns,omitempty"` // 0: it is a concurrency limit
	Algorithm string        `json:"algorithm"`           // estimator, window, gcra or concurrency
	Burst     int64         `json:"burst,omitempty"`     // of gcra
	Overrides int           `json:"overrides,omitempty"` // keys with a rate of their own
	DryRun    bool          `json:"dry_run,omitempty"`
	Keys      int           `json:"keys"` // how many are counted exactly
	Admitted  uint64        `json:"admitted"`
	Refused   uint64        `json:"refused"`
	Hottest   []HotKey      `json:"hottest"`       // the hottest first
	Use       *Use          `json:"use,omitempty"` // of the Key asked about
}

// A HotKey is a key that is asked for more often than most.
type HotKey struct {
	Key     string `json:"key"`           // its first 64 bytes
	Cut     bool   `json:"cut,omitempty"` // it is longer
	Count   uint64 `json:"count"`         // in the running window or the one before; of a concurrency limit, in use now
	Refused uint64 `json:"refused"`
}

// A Use is how much of a limit a key has used.
type Use struct {
	Key       string        `json:"key"`
	Max       int64         `json:"max"` // its own, if the limit has overrides; of gcra, the burst
	Remaining int64         `json:"remaining"`
	Reset     time.Duration `json:"reset_ns,omitempty"` // until all is there again
}
