package config

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A local is a name for an expression. Each is compiled once, however often it
// is used.
type local struct {
	attr  *hclsyntax.Attribute
	state localState
	node  node
	need  need
	ok    bool

	origin origin
	traced bool // origin is known
}

type localState int

const (
	untouched localState = iota
	compiling
	compiled
)

// defineLocals collects the names of all locals blocks.
func (d *decoder) defineLocals(tree *hclsyntax.Body) {
	d.locals = map[string]*local{}
	for _, b := range tree.Blocks {
		if b.Type != "locals" || b.Body == nil {
			continue
		}
		for _, a := range attributes(b.Body) {
			if first, twice := d.locals[a.Name]; twice {
				d.at(a.NameRange, "Duplicate local", "local.%s is defined at line %d already.", a.Name, first.attr.NameRange.Start.Line)
				continue
			}
			d.locals[a.Name] = &local{attr: a}
		}
	}
}

// checkLocals reports the mistakes in locals, used or not.
func (d *decoder) checkLocals() {
	d.context = context{phase: logged}
	for _, name := range keys(d.locals) {
		l := d.locals[name]
		switch e := unwrap(l.attr.Expr).(type) {
		case *hclsyntax.TupleConsExpr:
			for _, inner := range e.Exprs {
				d.compile(inner, 0)
			}
		case *hclsyntax.ObjectConsExpr:
			for _, inner := range e.Items {
				d.compile(inner.ValueExpr, 0)
			}
		default:
			d.compileLocal(l, l.attr.NameRange, 0)
		}
	}
}

// compileLocal compiles the expression that l, used at the given place, names.
func (d *decoder) compileLocal(l *local, at hcl.Range, depth int) (node, bool) {
	switch l.state {
	case compiling:
		d.at(at, "Circular definition", "local.%s refers to itself.", l.attr.Name)
		return node{}, false
	case untouched:
		outer := d.context
		d.context = context{phase: logged} // where it is used is checked there
		l.state = compiling
		l.node, l.ok = d.compile(l.attr.Expr, depth)
		l.state, l.need = compiled, d.need
		d.context = outer
	}
	if l.ok && !d.use(l.need, "local."+l.attr.Name, at) {
		return node{}, false
	}
	return l.node, l.ok
}

// maxAliases bounds the locals that name each other in a row.
const maxAliases = 100

// definition returns the expression that e stands for: what is in its
// parentheses, or what the local that it names is defined as.
func (d *decoder) definition(e hclsyntax.Expression) hclsyntax.Expression {
	for range maxAliases {
		e = unwrap(e)
		l := d.localOf(e)
		if l == nil {
			return e
		}
		e = l.attr.Expr
	}
	return e
}

// localOf returns the local that e is no more than the name of, else nil.
func (d *decoder) localOf(e hclsyntax.Expression) *local {
	t, ok := e.(*hclsyntax.ScopeTraversalExpr)
	if !ok || len(t.Traversal) != 2 || t.Traversal.RootName() != "local" {
		return nil
	}
	name, ok := stepName(t.Traversal[1])
	if !ok {
		return nil
	}
	return d.locals[name]
}

// unwrap removes parentheses.
func unwrap(e hclsyntax.Expression) hclsyntax.Expression {
	for {
		p, ok := e.(*hclsyntax.ParenthesesExpr)
		if !ok {
			return e
		}
		e = p.Expression
	}
}
