package config

import "time"

// A kind says which values an argument takes.
type kind int

const (
	textKind       kind = iota // text known at load
	pathKind                   // file name, relative to the folder of the configuration
	hostKind                   // host name for a Host field
	durationKind               // "1s": nanoseconds between min and max
	sizeKind                   // "32KiB": bytes between min and max
	countKind                  // whole number between min and max
	autoKind                   // countKind, or "auto", which is 0
	boolKind                   // true or false
	choiceKind                 // one of choices
	rateKind                   // "10/s"
	listKind                   // texts in brackets; a single text counts as a list of one
	expressionKind             // evaluated for each request
	objectKind                 // { name = value }, as args say
	anyKind                    // not looked at: not built
)

// An arg is an argument of a block: name = value.
type arg struct {
	name     string
	kind     kind
	required bool
	later    bool // known, but not built yet
	dynamic  bool // will depend on the request; not built yet
	def      any  // of the type that the kind's reader returns; nil: none
	min, max int64
	choices  []string
	unbuilt  []string // choices that are known, but not built yet
	args     []arg    // of an object
}

// A block is a type of block and what may stand in it.
type block struct {
	name    string
	label   string   // what its label is; "": it has none
	kinds   []string // what the label may be, if not a name
	unbuilt []string // kinds that are known, but not built yet
	single  bool     // at most one in its place
	later   bool     // known, but not built yet
	args    []arg
	blocks  []block
}

const (
	second = int64(time.Second)
	hour   = int64(time.Hour)
	day    = 24 * hour
)

func textArg(name string) arg { return arg{name: name, kind: textKind} }
func pathArg(name string) arg { return arg{name: name, kind: pathKind} }
func listArg(name string) arg { return arg{name: name, kind: listKind} }
func boolArg(name string, def bool) arg {
	return arg{name: name, kind: boolKind, def: def}
}

func durationArg(name string, def time.Duration, lo, hi int64) arg {
	return arg{name: name, kind: durationKind, def: def, min: lo, max: hi}
}

func sizeArg(name string, def, lo, hi int64) arg {
	return arg{name: name, kind: sizeKind, def: def, min: lo, max: hi}
}

func countArg(name string, def, lo, hi int64) arg {
	return arg{name: name, kind: countKind, def: def, min: lo, max: hi}
}

func choiceArg(name, def string, unbuilt ...string) arg {
	return arg{name: name, kind: choiceKind, def: def, choices: []string{def}, unbuilt: unbuilt}
}

func objectArg(name string, args ...arg) arg { return arg{name: name, kind: objectKind, args: args} }

func (a arg) needed() arg { a.required = true; return a }

// later returns arguments that are known, but not built yet.
func later(names ...string) []arg {
	args := make([]arg, len(names))
	for i, name := range names {
		args[i] = arg{name: name, kind: anyKind, later: true}
	}
	return args
}

func with(args []arg, more ...arg) []arg { return append(args, more...) }

// maxWorkers is the number of worker slots in the shared segment.
const maxWorkers = 64

// schema is the grammar: what may stand in a file. docs/reference.md tells it to
// people; a test holds the two together.
var schema = block{
	args: later("include"),
	blocks: []block{
		{name: "locals", args: nil},
		supervisorBlock,
		listenerBlock,
		upstreamBlock,
		rateLimitBlock,
		{name: "concurrency_limit", label: "name", later: true},
		{name: "access_log", label: "format", later: true},
		{name: "admin", later: true},
	},
}

var supervisorBlock = block{
	name: "supervisor", single: true,
	args: with(later("user"),
		arg{name: "workers", kind: autoKind, def: int64(0), min: 1, max: maxWorkers},
		pathArg("pid_file"),
		pathArg("state_dir"),
		pathArg("log"),
		durationArg("ready_timeout", 30*time.Second, second/10, hour),
		durationArg("drain_timeout", 30*time.Second, 0, day),
		durationArg("stream_timeout", 10*time.Minute, second, day),
	),
}

var listenerBlock = block{
	name: "listener", label: "name",
	args: with(later("proxy_protocol", "trusted_proxies"),
		listArg("address").needed(),
		objectArg("timeouts",
			durationArg("header", 10*time.Second, second/100, hour),
			durationArg("body_idle", 30*time.Second, second/100, day),
			durationArg("idle", 75*time.Second, second/100, day),
			durationArg("write", 60*time.Second, second/100, day),
		),
		objectArg("limits",
			sizeArg("header_bytes", 32<<10, 1<<10, 1<<20),
			countArg("headers", 128, 1, 10_000),
			sizeArg("body", 0, 0, 1<<50),
			countArg("connections", 0, 0, 10_000_000),
			countArg("requests_per_connection", 0, 0, 1<<40),
		),
	),
	blocks: []block{{name: "tls", later: true}, routeBlock},
}

// matchers are the arguments of a route that select requests.
var matchers = []string{"hosts", "paths", "methods", "when"}

var routeBlock = block{
	name: "route", label: "name",
	args: with(later(append([]string{"timeouts", "retry", "strip_prefix", "redirect", "respond"}, matchers...)...),
		arg{name: "upstream", kind: textKind, dynamic: true}, // or redirect or respond
		listArg("rate_limit"),
	),
	blocks: []block{{name: "request_headers", later: true}, {name: "response_headers", later: true}},
}

var upstreamBlock = block{
	name: "upstream", label: "name",
	args: with(later("hash_key", "slow_start", "panic_threshold", "eject"),
		listArg("servers"),
		choiceArg("policy", "round_robin", "random", "least_request", "p2c", "ewma", "maglev", "ketama"),
		arg{name: "host", kind: hostKind},
		choiceArg("protocol", "h1", "h2", "h2c"),
		objectArg("timeouts",
			durationArg("connect", 3*time.Second, second/1000, hour),
			durationArg("tls", 5*time.Second, second/1000, hour),
			durationArg("first_byte", 60*time.Second, second/1000, day),
			durationArg("body_idle", 60*time.Second, second/1000, day),
			durationArg("idle", 60*time.Second, second/1000, day),
		),
		objectArg("limits", with(later("connections", "pending"),
			countArg("idle", 128, 0, 1_000_000))...),
	),
	blocks: []block{
		{
			name: "server", label: "address",
			args: with(later("backup"), countArg("weight", 1, 1, 65_535)),
		},
		{name: "discover", label: "kind", later: true},
		{
			name: "tls", single: true,
			args: with(later("cert", "key"), textArg("sni"), pathArg("ca"), boolArg("verify", true)),
		},
		{
			name: "health", label: "kind", kinds: []string{"tcp"}, unbuilt: []string{"http", "grpc"}, single: true,
			args: with(later("path", "expect", "initial"),
				durationArg("interval", time.Second, second/10, hour),
				durationArg("timeout", time.Second, second/1000, hour),
				countArg("rise", 1, 1, 1000),
				countArg("fall", 1, 1, 1000),
			),
		},
	},
}

var rateLimitBlock = block{
	name: "rate_limit", label: "name",
	args: with(later("burst", "overrides", "dry_run"),
		arg{name: "key", kind: expressionKind}.needed(),
		arg{name: "rate", kind: rateKind}.needed(),
		choiceArg("algorithm", "estimator", "window", "gcra"),
		countArg("keys", 1_000_000, 1, 16_000_000),
		arg{
			name: "headers", kind: choiceKind, def: "x-rate-limit",
			choices: []string{"x-rate-limit", "none"}, unbuilt: []string{"ietf", "both"},
		},
	),
}
