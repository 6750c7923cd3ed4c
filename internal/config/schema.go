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
	percentKind                // "20%"
	listKind                   // texts in brackets; a single text counts as a list of one
	networksKind               // list of networks and addresses
	expressionKind             // text, evaluated for each request
	conditionKind              // true or false, evaluated for each request
	formatKind                 // expressionKind that is never null: a dash stands for null in it
	upstreamKind               // expressionKind that yields the name of an upstream
	fieldKind                  // expressionKind whose text becomes a header field
	fieldsKind                 // { name = expression }, the names those of header fields
	objectKind                 // { name = value }, as args say
	anyKind                    // not looked at: not built
)

// An arg is an argument of a block: name = value.
type arg struct {
	name     string
	kind     kind
	required bool
	later    bool // known, but not built yet
	def      any  // of the type that the kind's reader returns; nil: none
	min, max int64
	choices  []string
	unbuilt  []string // choices that are known, but not built yet
	phase    phase    // an expression is evaluated in
	args     []arg    // of an object
	just     string   // which of args a value that is no object is meant for; "": none
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

func textArg(name string) arg     { return arg{name: name, kind: textKind} }
func pathArg(name string) arg     { return arg{name: name, kind: pathKind} }
func listArg(name string) arg     { return arg{name: name, kind: listKind} }
func networksArg(name string) arg { return arg{name: name, kind: networksKind} }
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

func expressionArg(name string, p phase) arg { return arg{name: name, kind: expressionKind, phase: p} }

func conditionArg(name string, p phase) arg { return arg{name: name, kind: conditionKind, phase: p} }

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
		accessLogBlock,
		{name: "admin", later: true},
	},
}

var supervisorBlock = block{
	name: "supervisor", single: true,
	args: []arg{
		textArg("user"),
		{name: "via", kind: textKind, def: "proxyd"},
		{name: "workers", kind: autoKind, def: int64(0), min: 1, max: maxWorkers},
		pathArg("pid_file"),
		pathArg("state_dir"),
		pathArg("log"),
		durationArg("ready_timeout", 30*time.Second, second/10, hour),
		durationArg("drain_timeout", 30*time.Second, 0, day),
		durationArg("stream_timeout", 10*time.Minute, second, day),
	},
}

var listenerBlock = block{
	name: "listener", label: "name",
	args: []arg{
		listArg("address").needed(),
		objectArg("proxy_protocol", networksArg("from").needed()),
		networksArg("trusted_proxies"),
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
	},
	blocks: []block{{name: "tls", later: true}, routeBlock},
}

// actions are the arguments of a route one of which says what it does.
var actions = []string{"upstream", "redirect", "respond"}

var routeBlock = block{
	name: "route", label: "name",
	args: []arg{
		listArg("hosts"),
		listArg("paths"),
		listArg("methods"),
		conditionArg("when", matching),
		{name: "upstream", kind: upstreamKind},
		{name: "redirect", kind: objectKind, just: "to", args: []arg{
			arg{name: "to", kind: fieldKind, phase: routed}.needed(),
			countArg("status", 302, 301, 308),
		}},
		objectArg("respond",
			countArg("status", 200, 200, 599),
			textArg("body"),
			arg{name: "type", kind: textKind, def: "text/plain; charset=utf-8"},
		),
		listArg("rate_limit"),
		objectArg("timeouts",
			arg{name: "request", kind: durationKind, min: second / 1000, max: day},
			arg{name: "first_byte", kind: durationKind, min: second / 1000, max: day},
		),
		objectArg("retry",
			countArg("attempts", int64(DefaultRetry.Attempts), 1, 10),
			listArg("on"),
			arg{name: "budget", kind: percentKind, def: percent(DefaultRetry.BudgetPercent), max: 100},
		),
		textArg("strip_prefix"),
	},
	blocks: []block{fieldsBlock("request_headers", routed), fieldsBlock("response_headers", answered)},
}

// fieldsBlock is a block that changes the fields of a message in phase p.
func fieldsBlock(name string, p phase) block {
	return block{name: name, single: true, args: []arg{
		{name: "set", kind: fieldsKind, phase: p},
		{name: "add", kind: fieldsKind, phase: p},
		listArg("remove"),
	}}
}

var accessLogBlock = block{
	name: "access_log", label: "kind", kinds: []string{"json", "combined", "text"},
	args: []arg{
		pathArg("output").needed(),
		{name: "format", kind: formatKind},
		conditionArg("when", logged),
	},
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
		expressionArg("key", routed).needed(),
		arg{name: "rate", kind: rateKind}.needed(),
		choiceArg("algorithm", "estimator", "window", "gcra"),
		countArg("keys", 1_000_000, 1, 16_000_000),
		arg{
			name: "headers", kind: choiceKind, def: "x-rate-limit",
			choices: []string{"x-rate-limit", "none"}, unbuilt: []string{"ietf", "both"},
		},
	),
}
