package worker

import (
	"cmp"
	"fmt"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/worker/http1"
	routing "github.com/proxyd/proxyd/worker/route"
)

// A route is what is done with the requests that it matches: they are sent to an
// upstream, within limits, or answered here.
type route struct {
	config    *config.Route
	name      []byte
	upstream  *upstream            // nil: chosen by expression, or none
	upstreams map[string]*upstream // to choose from by expression
	retry     *retry               // nil if it asks no server

	limited     bool // by any of these
	concurrency []*concurrency
	limits      []*limit
	rehearsed   []*limit // with dry_run
	strip       []byte
	request     *edit // nil: none
	response    *edit
}

// An edit is what a route does to the fields of a message.
type edit struct {
	*http1.HeaderEdit
	lines []line
}

// A line is a field that is added, if its value is not null.
type line struct {
	name  []byte
	value *config.Expr
}

func newEdit(ops config.HeaderOps) *edit {
	if len(ops.Set)+len(ops.Add)+len(ops.Remove) == 0 {
		return nil
	}
	drop := ops.Remove
	e := new(edit)
	for _, op := range ops.Set {
		drop = append(drop[:len(drop):len(drop)], op.Name)
		e.lines = append(e.lines, line{[]byte(op.Name), op.Value})
	}
	for _, op := range ops.Add {
		e.lines = append(e.lines, line{[]byte(op.Name), op.Value})
	}
	e.HeaderEdit = http1.NewHeaderEdit(drop)
	return e
}

// drops returns what to leave out of a head; e may be nil.
func (e *edit) drops() *http1.HeaderEdit {
	if e == nil {
		return nil
	}
	return e.HeaderEdit
}

// appendLines appends the fields that e (which may be nil) adds. A value that no
// field can have is left out: it is made of what the client sent.
func (x *exchange) appendLines(dst []byte, e *edit) []byte {
	if e == nil {
		return dst
	}
	for i := range e.lines {
		l := &e.lines[i]
		x.scratch = x.scratch[:0]
		value := l.value.Eval(x, &x.scratch)
		if value == nil {
			continue
		}
		var ok bool
		if dst, ok = http1.AppendField(dst, l.name, value); !ok {
			x.w.log.Debug("header value refused", "route", string(x.route.name), "header", string(l.name))
		}
	}
	return dst
}

// A routeCompiler makes the routes of a snapshot.
type routeCompiler struct {
	seg       *shm.Segment
	upstreams map[*config.Upstream]*upstream
	byName    map[string]*upstream
	limits    map[*config.RateLimit]*limit

	concurrency map[*config.ConcurrencyLimit]*concurrency
}

func (c *routeCompiler) route(rc *config.Route) (*route, error) {
	r := &route{
		config: rc, name: []byte(rc.Name), upstream: c.upstreams[rc.Upstream], strip: []byte(rc.StripPrefix),
		request: newEdit(rc.RequestHeaders), response: newEdit(rc.ResponseHeaders),
	}
	if rc.UpstreamName != nil {
		r.upstreams = c.byName
	}
	c.limit(r, rc)
	if rc.Upstream == nil && rc.UpstreamName == nil {
		return r, nil
	}
	policy := cmp.Or(rc.Retry, &config.DefaultRetry)
	r.retry = &retry{policy, rc.Retry != nil, make(map[*upstream]*lb.Budget)}
	targets := c.byName
	if r.upstream != nil {
		targets = map[string]*upstream{rc.Upstream.Name: r.upstream}
	}
	for name, u := range targets {
		b, err := lb.NewBudget(c.seg, name, policy.BudgetPercent)
		if err != nil {
			return nil, fmt.Errorf("route %q: %w", rc.Name, err)
		}
		r.retry.budgets[u] = b
	}
	return r, nil
}

// limit gives r the limits of rc.
func (c *routeCompiler) limit(r *route, rc *config.Route) {
	for _, l := range rc.RateLimits {
		if l.DryRun {
			r.rehearsed = append(r.rehearsed, c.limits[l])
		} else {
			r.limits = append(r.limits, c.limits[l])
		}
	}
	for _, l := range rc.ConcurrencyLimits {
		r.concurrency = append(r.concurrency, c.concurrency[l])
	}
	r.limited = len(rc.RateLimits)+len(rc.ConcurrencyLimits) > 0
}

// rulesOf is what the routes of a listener match, for the table.
func rulesOf(routes []*config.Route) []routing.Rule {
	rules := make([]routing.Rule, len(routes))
	for i, r := range routes {
		rules[i] = routing.Rule{Hosts: r.Hosts, Methods: r.Methods, Conditional: r.When != nil}
		for _, p := range r.Paths {
			rules[i].Paths = append(rules[i].Paths, routing.Pattern{Kind: routing.Kind(p.Kind), Text: p.Text, Regexp: p.Regexp})
		}
	}
	return rules
}

// choose finds the route of the request, and returns 0 or what to answer if there
// is none. Where routes go by the path, one with ".." is refused: the server might
// not take it for the path that the route was chosen by.
func (x *exchange) choose() (status int) {
	s := x.service
	if s.byPath && routing.Climbs(x.path[:0], x.req.Path) {
		return 400
	}
	path := routing.Normalize(x.path[:0], x.req.Path)
	i := s.table.Match(x.req.Host, path, x.req.Method, x)
	if i < 0 {
		return 404
	}
	x.route = s.routes[i]
	return 0
}

// Holds reports whether the request meets the condition of route i.
func (x *exchange) Holds(i int) bool {
	x.scratch = x.scratch[:0]
	return x.service.routes[i].config.When.Holds(x, &x.scratch)
}
