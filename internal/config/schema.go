package config

import (
	"slices"
	"time"
)

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
	ratesKind                  // { text = rate }
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
	later    bool     // known, but not built yet
	of       []string // the labels of blocks that have it; none: all
	def      any      // of the type that the kind's reader returns; nil: none
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

// choiceArg is an argument whose default is the first of choices.
func choiceArg(name string, choices ...string) arg {
	return arg{name: name, kind: choiceKind, def: choices[0], choices: choices}
}

func objectArg(name string, args ...arg) arg { return arg{name: name, kind: objectKind, args: args} }

func expressionArg(name string, p phase) arg { return arg{name: name, kind: expressionKind, phase: p} }

func conditionArg(name string, p phase) arg { return arg{name: name, kind: conditionKind, phase: p} }

func (a arg) needed() arg { a.required = true; return a }

func (a arg) only(labels ...string) arg { a.of = labels; return a }

// fits reports whether a may stand in a block with the given label.
func (a *arg) fits(label string) bool { return a.of == nil || slices.Contains(a.of, label) }

// later returns arguments that are known, but not built yet.
func later(names ...string) []arg {
	args := make([]arg, len(names))
	for i, name := range names {
		args[i] = arg{name: name, kind: anyKind, later: true}
	}
	return args
}

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
		concurrencyLimitBlock,
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
			durationArg("handshake", 10*time.Second, second/100, hour),
		),
		objectArg("limits",
			sizeArg("header_bytes", 32<<10, 1<<10, 1<<20),
			countArg("headers", 128, 1, 10_000),
			sizeArg("body", 0, 0, 1<<50),
			countArg("connections", 0, 0, 10_000_000),
			countArg("requests_per_connection", 0, 0, 1<<40),
			countArg("streams", 100, 1, 10_000),
		),
		boolArg("h2c", false),
	},
	blocks: []block{listenerTLSBlock, routeBlock},
}

var listenerTLSBlock = block{
	name: "tls", single: true,
	args: []arg{
		choiceArg("min_version", "1.2", "1.3"),
		listArg("alpn"),
		pathArg("client_ca"),
		choiceArg("client_auth", "require", "request"),
	},
	blocks: []block{{
		name: "certificate", label: "name",
		args: []arg{pathArg("cert").needed(), pathArg("key").needed(), pathArg("ocsp")},
	}},
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
	args: []arg{
		listArg("servers"),
		choiceArg("policy", "round_robin", "random", "least_request", "p2c", "ewma", "maglev", "ketama"),
		expressionArg("hash_key", routed),
		durationArg("slow_start", 0, 0, hour),
		{name: "panic_threshold", kind: percentKind, def: percent(0), max: 100},
		{name: "host", kind: hostKind},
		choiceArg("protocol", "h1", "h2", "h2c"),
		objectArg("eject",
			countArg("errors", 5, 1, 1000),
			durationArg("for", 10*time.Second, second/10, hour),
			countArg("max_percent", 50, 1, 100),
		),
		objectArg("timeouts",
			durationArg("connect", 3*time.Second, second/1000, hour),
			durationArg("tls", 5*time.Second, second/1000, hour),
			durationArg("first_byte", 60*time.Second, second/1000, day),
			durationArg("body_idle", 60*time.Second, second/1000, day),
			durationArg("idle", 60*time.Second, second/1000, day),
		),
		objectArg("limits",
			countArg("idle", 128, 0, 1_000_000),
			countArg("connections", 0, 0, 1_000_000),
			countArg("pending", 256, 0, 1_000_000),
		),
	},
	blocks: []block{
		{
			name: "server", label: "address",
			args: []arg{countArg("weight", 1, 1, 65_535), boolArg("backup", false)},
		},
		{
			name: "discover", label: "kind", kinds: []string{"file", "dns"},
			args: []arg{
				pathArg("path").needed().only("file"),
				textArg("name").needed().only("dns"),
				arg{name: "port", kind: countKind, min: 1, max: 65_535}.only("dns"),
				listArg("resolvers").only("dns"),
			},
		},
		{
			name: "tls", single: true,
			args: []arg{textArg("sni"), pathArg("ca"), boolArg("verify", true), pathArg("cert"), pathArg("key")},
		},
		{
			name: "health", label: "kind", kinds: []string{"tcp", "http", "grpc"}, single: true,
			args: []arg{
				durationArg("interval", time.Second, second/10, hour),
				durationArg("timeout", time.Second, second/1000, hour),
				countArg("rise", 1, 1, 1000),
				countArg("fall", 1, 1, 1000),
				choiceArg("initial", "down", "up"),
				arg{name: "path", kind: textKind, def: "/"}.only("http"),
				arg{name: "host", kind: hostKind}.only("http", "grpc"),
				conditionArg("expect", probed).only("http"),
				textArg("service").only("grpc"),
			},
		},
	},
}

var rateLimitBlock = block{
	name: "rate_limit", label: "name",
	args: []arg{
		expressionArg("key", routed).needed(),
		arg{name: "rate", kind: rateKind}.needed(),
		choiceArg("algorithm", "estimator", "window", "gcra"),
		countArg("burst", 1, 1, 1_000_000),
		{name: "overrides", kind: ratesKind},
		countArg("keys", 1_000_000, 1, 16_000_000),
		choiceArg("headers", "x-rate-limit", "ietf", "both", "none"),
		boolArg("dry_run", false),
	},
}

var concurrencyLimitBlock = block{
	name: "concurrency_limit", label: "name",
	args: []arg{
		expressionArg("key", routed).needed(),
		countArg("max", 0, 1, 1_000_000).needed(),
		countArg("keys", 16_384, 1, 262_144),
		boolArg("dry_run", false),
	},
}
