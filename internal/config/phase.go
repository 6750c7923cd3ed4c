package config

import (
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

// A need is the variable of an expression that is known last.
type need struct {
	since phase
	name  string
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
		d.need = n
	}
	if n.since <= d.phase {
		return true
	}
	if by != "" {
		d.at(at, "Not known yet", "%s needs %s, which is not known here yet. It can be used %s.", by, n.name, n.since.where())
	} else {
		d.at(at, "Not known yet", "%s is not known here yet. It can be used %s.", n.name, n.since.where())
	}
	return false
}
