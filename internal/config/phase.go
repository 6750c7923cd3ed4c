package config

import (
	"cmp"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A phase is a moment in the life of a request. What is known in one is known in
// all that follow.
type phase int

const (
	matching phase = iota // a route is looked for
	routed                // it has been found
	answered              // the head of the response is there
	logged                // all is over

	// probed is not of a request: a probe has been answered.
	probed
)

// where says which expressions are evaluated in p or later.
func (p phase) where() string {
	switch p {
	case routed:
		return `everywhere but in "when" of a route`
	case answered:
		return "in response_headers and access_log blocks only"
	case logged:
		return "in access_log blocks only"
	}
	return "everywhere"
}

// A need is what an expression asks for.
type need struct {
	since   phase
	name    string // of the variable that is known last
	request string // the variable that a probe does not have, "" if none
}

// A context is what the compilation of an expression depends on, and what is
// found out on the way.
type context struct {
	phase  phase // it is evaluated in
	need   need
	dashes bool // a text with null in it has "-" in its place, instead of being null
}

// compileFor compiles an expression that is evaluated in phase p.
func (d *decoder) compileFor(p phase, e hclsyntax.Expression) (node, bool) {
	return d.compileIn(context{phase: p}, e)
}

func (d *decoder) compileIn(c context, e hclsyntax.Expression) (node, bool) {
	outer := d.context
	d.context = c
	n, ok := d.compile(e, 0)
	d.context = outer
	return n, ok
}

// use notes that the expression at hand needs n, and reports whether that is
// known when it is evaluated. by is the local that brings n, or "".
func (d *decoder) use(n need, by string, at hcl.Range) bool {
	if n.since > d.need.since {
		d.need.since, d.need.name = n.since, n.name
	}
	d.need.request = cmp.Or(d.need.request, n.request)
	summary, name, what := "Not known yet", n.name, "not known here yet. It can be used "+n.since.where()
	if d.phase == probed {
		summary, name, what = "Not known", n.request, "not known of a probe, but response.status is"
	}
	switch {
	case d.phase == probed && n.request == "" || d.phase != probed && n.since <= d.phase:
		return true
	case by != "":
		d.at(at, summary, "%s needs %s, which is %s.", by, name, what)
	default:
		d.at(at, summary, "%s is %s.", name, what)
	}
	return false
}
