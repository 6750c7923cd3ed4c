package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// A Config is a valid configuration. It is immutable.
type Config struct {
	Path       string // of the file, as given to Load
	Supervisor Supervisor
	Listeners  []*Listener  // in the order of the file, at least one
	Upstreams  []*Upstream  // in the order of the file
	RateLimits []*RateLimit // in the order of the file
	AccessLogs []*AccessLog // in the order of the file, each with an Output of its own

	UpstreamOf map[string]*Upstream // by name
}

// Supervisor is what the supervisor process needs. All paths are absolute.
type Supervisor struct {
	Workers      int    // processes; 0: as many as usable CPUs
	PIDFile      string // default: proxyd.pid in StateDir
	StateDir     string // default: DefaultStateDir
	AdminSocket  string // admin.sock in StateDir
	Log          string // "": standard error
	User         string // name or number of whom to become; "": stay who we are
	Via          string // name of this proxy in Via, a token
	ReadyTimeout time.Duration
	DrainTimeout time.Duration
	// StreamTimeout is how long a WebSocket may be silent.
	StreamTimeout time.Duration
}

// A Listener is a set of addresses whose requests share routes and limits.
type Listener struct {
	Name      string
	Addresses []Address // at least one; none overlaps another of any listener
	Timeouts  ListenerTimeouts
	Limits    ListenerLimits
	// ProxyProtocol is whose connections begin with a PROXY header,
	// TrustedProxies whose X-Forwarded-* is believed. No network holds another.
	ProxyProtocol  []netip.Prefix
	TrustedProxies []netip.Prefix
	Routes         []*Route // at least one; the first that matches wins
}

// ListenerTimeouts bound the waiting for a client. All are positive.
type ListenerTimeouts struct {
	Header   time.Duration // for the whole head
	BodyIdle time.Duration // between two pieces of a body
	Idle     time.Duration // between two requests of a connection
	Write    time.Duration // until a stalled client takes more of the response
}

// ListenerLimits bound what a client may send.
type ListenerLimits struct {
	HeaderBytes           int   // of a request head
	Headers               int   // fields of a request head
	Body                  int64 // bytes of a request body; 0: unlimited
	Connections           int   // at once, per worker; 0: as descriptors allow
	RequestsPerConnection int   // 0: unlimited
}

// An Upstream is a group of servers that answer alike.
type Upstream struct {
	Name     string
	Servers  []Server // at least one, all different
	Policy   string   // "round_robin"
	Host     string   // Host field sent upstream; "": the client's
	TLS      *TLS     // nil: plain
	Health   *Health  // nil: servers always count as up
	Timeouts UpstreamTimeouts
	Limits   UpstreamLimits
}

// A Server is one address of an upstream.
type Server struct {
	Address string // "ip:port", "[ip]:port" or "unix:/path"
	Weight  int    // 1 or more
}

// TLS says how to speak TLS to the servers of an upstream.
type TLS struct {
	SNI    string // name asked for and verified; may be "" only if Verify is false
	CA     []byte // certificates in PEM; nil: the system's
	Verify bool
}

// Health says how to probe the servers of an upstream.
type Health struct {
	Kind     string // "tcp"
	Interval time.Duration
	Timeout  time.Duration // at most Interval
	Rise     int           // passes in a row until a server is up
	Fall     int           // failures in a row until it is down
}

// UpstreamTimeouts bound the waiting for a server. All are positive.
type UpstreamTimeouts struct {
	Connect   time.Duration
	TLS       time.Duration // handshake
	FirstByte time.Duration // from the end of the request to the head of the response
	BodyIdle  time.Duration // between two pieces of a body
	Idle      time.Duration // of a pooled connection
}

// UpstreamLimits bound what an upstream may hold.
type UpstreamLimits struct {
	Idle int // pooled idle connections per worker
}

// A RateLimit bounds the requests that share a key.
type RateLimit struct {
	Name    string
	Key     *Expr // null: not limited
	Max     int64 // requests per Window, 1 or more
	Window  time.Duration
	Keys    int  // capacity of the exact table
	Headers bool // X-Rate-Limit-* on refused requests
}

// An AccessLog says which requests are written down, where, and how.
type AccessLog struct {
	Format string     // "json", "combined" or "text"
	Output string     // absolute path
	Text   *Expr      // of "text": a line, never null; else nil
	When   *Condition // nil: always
}

// DefaultStateDir is where the supervisor keeps its lock, PID file and admin
// socket unless the file says otherwise: /run/proxyd for root, else a folder of
// the user's own.
func DefaultStateDir() string {
	if os.Geteuid() == 0 {
		return "/run/proxyd"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "proxyd")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("proxyd-%d", os.Geteuid()))
}
