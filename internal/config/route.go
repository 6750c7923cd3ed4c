package config

import (
	"regexp"
	"time"
)

// A Route says what happens to the requests it matches: those that match one of
// its hosts, one of its paths and one of its methods, and its condition.
type Route struct {
	Name    string
	Hosts   []string      // lower case, no port; "*.example.com" stands for one or more labels before it; none: any
	Paths   []PathPattern // none: any
	Methods []string      // upper case; none: any
	When    *Condition    // nil: always

	// What happens: exactly one of these is set.
	Upstream     *Upstream
	UpstreamName *Expr // yields a key of Config.UpstreamOf, or what is none
	Redirect     *Redirect
	Respond      *Respond

	RateLimits        []*RateLimit        // all must admit a request
	ConcurrencyLimits []*ConcurrencyLimit // and so must these
	Timeouts          RouteTimeouts
	Retry             *Retry    // nil: DefaultRetry
	StripPrefix       string    // "/v1", no slash at its end; "": nothing
	RequestHeaders    HeaderOps // on the request that goes upstream
	ResponseHeaders   HeaderOps // on the response that goes to the client
}

// A PathKind says how a PathPattern matches.
type PathKind int

// The kinds of path patterns.
const (
	PathExact  PathKind = iota // the path is Text
	PathPrefix                 // the path starts with Text, which ends with "/"; "/" is every path
	PathGlob                   // Text has "?", any byte but "/"; "*", any run without "/"; "**", any run
	PathRegex                  // Regexp matches somewhere in the path
)

// A PathPattern matches paths in their normal form.
type PathPattern struct {
	Kind   PathKind
	Text   string         // of a PathRegex: its source
	Regexp *regexp.Regexp // of a PathRegex only
}

// A Redirect sends the client elsewhere.
type Redirect struct {
	Location *Expr
	Status   int // 301, 302, 303, 307 or 308
}

// A Respond answers by itself.
type Respond struct {
	Status      int    // 200 to 599
	Body        []byte // empty for a Status that has none
	ContentType string
}

// RouteTimeouts bound how long a request may take. Zero is no bound of the
// route's own.
type RouteTimeouts struct {
	Request   time.Duration // from the end of the head to the end of the response
	FirstByte time.Duration // instead of the upstream's
}

// Retry says when a request is tried again on another server.
type Retry struct {
	Attempts      int   // in all, 1 to 10
	Connect       bool  // no connection came about
	Reset         bool  // the connection broke before the response
	Timeout       bool  // the response did not begin in time
	Statuses      []int // the response has one of these, 400 to 599
	BudgetPercent int   // retries per hundred requests, 0 to 100
}

// DefaultRetry is what holds for a route that does not say. It is never changed.
var DefaultRetry = Retry{Attempts: 2, Connect: true, Reset: true, BudgetPercent: 20}

// HeaderOps change the fields of a message: first Remove, then Set, then Add.
type HeaderOps struct {
	Set, Add []HeaderOp // in the order of the file
	Remove   []string   // lower case
}

// A HeaderOp is a field to set or to add. If Value is null at run time, none is
// added; Set removes what was there all the same.
type HeaderOp struct {
	Name  string // as written, a token
	Value *Expr
}
