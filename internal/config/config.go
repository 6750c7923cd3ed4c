package config

import (
	"crypto/tls"
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

	// ConcurrencyLimits are in the order of the file. None has the name of a rate limit.
	ConcurrencyLimits []*ConcurrencyLimit

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
	// StreamTimeout is how long a WebSocket, or a stream of gRPC, may be silent.
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
	TLS            *ListenerTLS // nil: plain
	H2C            bool         // HTTP/2 is spoken with those who begin with its preface; plain listeners only
	Routes         []*Route     // at least one; the first that matches wins
}

// A ListenerTLS says how a listener speaks TLS.
type ListenerTLS struct {
	MinVersion    uint16        // tls.VersionTLS12 or later
	ALPN          []string      // "h2", "http/1.1" or both, the one that is liked better first
	ClientCA      []byte        // certificates in PEM that verify those of clients; nil: none are asked for
	RequireClient bool          // a client without a certificate is refused
	Certificates  []Certificate // at least one; the first is for those who ask for no known name
}

// A Certificate is what a listener proves its name with.
type Certificate struct {
	Name string          // of the block
	Pair tls.Certificate // with its key, its leaf parsed, and its OCSP staple if there is one
}

// ListenerTimeouts bound the waiting for a client. All are positive.
type ListenerTimeouts struct {
	Header    time.Duration // for the whole head
	BodyIdle  time.Duration // between two pieces of a body
	Idle      time.Duration // between two requests of a connection
	Write     time.Duration // until a stalled client takes more of the response
	Handshake time.Duration // for the whole TLS handshake
}

// ListenerLimits bound what a client may send.
type ListenerLimits struct {
	HeaderBytes           int   // of a request head
	Headers               int   // fields of a request head
	Body                  int64 // bytes of a request body; 0: unlimited
	Connections           int   // at once, per worker; 0: as descriptors allow
	RequestsPerConnection int   // 0: unlimited
	Streams               int   // at once, of an HTTP/2 connection
}

// An Upstream is a group of servers that answer alike.
type Upstream struct {
	Name     string
	Servers  []Server   // all different, not all of them backups; at least one, or one Discover
	Discover []Discover // where more servers are found, all different
	Policy   string     // "round_robin", "random", "least_request", "p2c", "ewma", "maglev" or "ketama"
	// HashKey is what maglev and ketama send to one server, nil for the others. It
	// is of the request as it came. Null: as if random.
	HashKey        *Expr
	SlowStart      time.Duration // until a server that came up gets its full share; 0: at once
	PanicThreshold int           // percent; fewer primaries up than this: all are used; 0: never
	Host           string        // Host field sent upstream; "": the client's
	Protocol       string        // "h1", "h2" (TLS is set) or "h2c" (it is not)
	TLS            *TLS          // nil: plain
	Health         *Health       // nil: servers always count as up
	Eject          *Eject        // nil: never
	Timeouts       UpstreamTimeouts
	Limits         UpstreamLimits
}

// A Server is one address of an upstream.
type Server struct {
	Address string // "ip:port", "[ip]:port" or "unix:/path"
	Weight  int    // 1 or more
	Backup  bool   // used when no primary is usable
}

// A Discover says where more servers of an upstream are found.
type Discover struct {
	Kind      string   // "file" or "dns"
	Path      string   // of "file": absolute
	Name      string   // of "dns": a DNS name, lower case, no dot at its end; of SRV records if it begins with "_"
	Port      int      // of "dns": of the addresses; 0 for SRV records, which have their own
	Resolvers []string // of "dns": "ip:port" or "[ip]:port"; none: those of the system
}

// Eject says when a server is not used for a while because of how it answers.
type Eject struct {
	Errors     int           // in a row, 1 or more
	For        time.Duration // the first time
	MaxPercent int           // of the servers at once, 1 to 100
}

// TLS says how to speak TLS to the servers of an upstream.
type TLS struct {
	SNI    string // name asked for and verified; may be "" only if Verify is false
	CA     []byte // certificates in PEM; nil: the system's
	Verify bool
	// Certificate, with its key, is what proxyd proves itself with to servers that
	// ask; nil: it has none.
	Certificate *tls.Certificate
}

// Health says how to probe the servers of an upstream.
type Health struct {
	Kind string // "tcp", "http" or "grpc"
	Path string // of "http": of the request, with its query
	// Host is the Host field or the :authority of "http" and "grpc"; "": the
	// server's address.
	Host    string
	Service string // of "grpc": whose health is asked for; "": the server's
	// Expect says of the status in Subject, of "http", whether it is a pass; nil:
	// 200 to 399 is. It asks for ResponseStatus only.
	Expect    *Condition
	InitialUp bool // servers count as up before their first probe

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
	Idle        int // pooled idle connections per worker
	Connections int // requests in flight per server, over all workers; 0: unlimited
	Pending     int // requests per worker that wait while all servers have Connections; 0: none waits
}

// A RateLimit bounds the requests that share a key.
type RateLimit struct {
	Name      string
	Key       *Expr // null: not limited
	Max       int64 // requests per Window, 1 or more
	Window    time.Duration
	Keys      int             // capacity of the exact table
	Headers   string          // "x-rate-limit", "ietf", "both" or "none"
	Algorithm string          // "estimator", "window" or "gcra"
	Burst     int64           // of "gcra": requests at once, 1 or more; else 0
	Overrides map[string]Rate // by key, instead of Max and Window; nil: none
	DryRun    bool            // counted, but never refused
}

// A Rate is a number of requests in a window of time.
type Rate struct {
	Max    int64 // 1 or more
	Window time.Duration
}

// A ConcurrencyLimit bounds the requests in flight that share a key.
type ConcurrencyLimit struct {
	Name   string
	Key    *Expr // null: not limited
	Max    int64 // 1 or more
	Keys   int   // in flight at once, per worker, each counted by itself
	DryRun bool  // counted, but never refused
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
