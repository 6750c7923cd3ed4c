package config

import (
	"fmt"
	"math/big"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// nodeKind is the type of an expression's value, known at load.
type nodeKind int

const (
	nullNode   nodeKind = iota // constant
	textNode                   // may be null at run time
	numberNode                 // its decimal text, which may be null at run time
	boolNode
)

// A node is a compiled expression: a constant, or a closure.
type node struct {
	kind     nodeKind
	constant bool
	value    string // of a constant; "true" or "false" if boolNode
	text     textFunc
	truth    truthFunc
	size     int // bytes of constants plus closures, all locals inserted
}

// Bounds of one expression. The second also bounds what locals that insert each
// other many times may grow to.
const (
	maxTree = 500     // operators in a row
	maxSize = 1 << 20 // see node.size
)

func constantNode(kind nodeKind, value string) node {
	return node{kind: kind, constant: true, value: value, size: 1 + len(value)}
}

func boolConstant(b bool) node { return constantNode(boolNode, fmt.Sprint(b)) }

var trueText, falseText = []byte("true"), []byte("false")

// asText returns the closure that yields n as text.
func (n node) asText() textFunc {
	switch {
	case n.kind == nullNode:
		return func(Subject, *[]byte) []byte { return nil }
	case n.constant:
		value := []byte(n.value) // never nil, even if empty
		return func(Subject, *[]byte) []byte { return value }
	case n.kind == boolNode:
		truth := n.truth
		return func(s Subject, buf *[]byte) []byte {
			if truth(s, buf) {
				return trueText
			}
			return falseText
		}
	}
	return n.text
}

// asTruth returns the closure that yields n, a boolNode, as condition.
func (n node) asTruth() truthFunc {
	if n.constant {
		value := n.value == "true"
		return func(Subject, *[]byte) bool { return value }
	}
	return n.truth
}

// compile turns e into a node. If it cannot, that has been reported.
func (d *decoder) compile(e hclsyntax.Expression, depth int) (node, bool) {
	if depth++; depth > maxTree {
		d.at(e.Range(), "Expression too large", "An expression may have %d operators in a row.", maxTree)
		return node{}, false
	}
	n, ok := d.compileAny(e, depth)
	if ok && n.size > maxSize {
		d.at(e.Range(), "Expression too large", "With all its locals and texts this exceeds %s.", formatSize(maxSize))
		return node{}, false
	}
	return n, ok
}

func (d *decoder) compileAny(e hclsyntax.Expression, depth int) (node, bool) {
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return d.literal(e)
	case *hclsyntax.TemplateExpr:
		return d.template(e, depth)
	case *hclsyntax.TemplateWrapExpr:
		return d.compile(e.Wrapped, depth)
	case *hclsyntax.ParenthesesExpr:
		return d.compile(e.Expression, depth)
	case *hclsyntax.ScopeTraversalExpr:
		return d.variable(e, depth)
	case *hclsyntax.FunctionCallExpr:
		return d.call(e, depth)
	case *hclsyntax.ConditionalExpr:
		return d.conditional(e, depth)
	case *hclsyntax.BinaryOpExpr:
		return d.binary(e, depth)
	case *hclsyntax.UnaryOpExpr:
		return d.unary(e, depth)
	case *hclsyntax.ExprSyntaxError:
		return node{}, false // reported by the parser
	case *hclsyntax.TupleConsExpr:
		return d.refuse(e, "Invalid value", "A list is not expected here.")
	case *hclsyntax.ObjectConsExpr:
		return d.refuse(e, "Invalid value", "An object is not expected here.")
	case *hclsyntax.IndexExpr:
		return d.refuse(e, "Unsupported expression", `The name in brackets must be a plain text, as in request.header["name"].`)
	}
	return d.refuse(e, "Unsupported expression", "Loops, splats and steps into values are not supported.")
}

func (d *decoder) refuse(e hclsyntax.Expression, summary, detail string) (node, bool) {
	d.at(e.Range(), summary, "%s", detail)
	return node{}, false
}

// isBroken reports whether e is a placeholder for what did not parse.
func isBroken(e hclsyntax.Expression) bool {
	switch e := e.(type) {
	case *hclsyntax.ExprSyntaxError:
		return true
	case *hclsyntax.LiteralValueExpr:
		return !e.Val.IsKnown()
	}
	return false
}

func (d *decoder) literal(e *hclsyntax.LiteralValueExpr) (node, bool) {
	v := e.Val
	switch {
	case !v.IsKnown(): // reported by the parser
		return node{}, false
	case v.IsNull():
		return constantNode(nullNode, ""), true
	case v.Type() == cty.String:
		return constantNode(textNode, v.AsString()), true
	case v.Type() == cty.Bool:
		return boolConstant(v.True()), true
	case v.Type() == cty.Number:
		return constantNode(numberNode, formatNumber(v.AsBigFloat())), true
	}
	return d.refuse(e, "Invalid value", "This value is not expected here.")
}

// formatNumber writes whole numbers that fit an int64 with all their digits and
// any other, whose digits may be many, in short.
func formatNumber(f *big.Float) string {
	if i, exact := f.Int64(); exact == big.Exact {
		return fmt.Sprint(i)
	}
	return f.Text('g', 17)
}

func (d *decoder) template(e *hclsyntax.TemplateExpr, depth int) (node, bool) {
	parts := make([]node, 0, len(e.Parts))
	constant, valid := true, true
	size := 1
	for _, p := range e.Parts {
		n, ok := d.compile(p, depth)
		if ok && n.kind == nullNode {
			d.at(p.Range(), "Missing value", "Null cannot be put into a text. coalesce(value, \"default\") gives it a default.")
			ok = false
		}
		valid = valid && ok
		constant = constant && n.constant
		if size += n.size; size > maxSize {
			return d.refuse(e, "Expression too large", "With all its locals and texts this exceeds "+formatSize(maxSize)+".")
		}
		parts = append(parts, n)
	}
	if !valid {
		return node{}, false
	}
	funcs := make([]textFunc, len(parts))
	for i, n := range parts {
		funcs[i] = n.asText()
	}
	n := node{kind: textNode, text: concat(funcs, d.dashes), size: size}
	if constant {
		return fold(n), true
	}
	return n, true
}

// empty is the empty text, which is not null.
var empty = []byte{}

var dash = []byte("-")

// concat joins parts behind buf. A part that is null makes the whole null, or is
// a dash.
func concat(parts []textFunc, dashes bool) textFunc {
	return func(s Subject, buf *[]byte) []byte {
		start := len(*buf)
		for _, part := range parts {
			n := len(*buf)
			b := part(s, buf)
			if b == nil && !dashes {
				*buf = (*buf)[:start]
				return nil
			} else if b == nil {
				b = dash
			}
			// What part left behind buf is at or beyond n, so moving b down to n is safe.
			*buf = append((*buf)[:n], b...)
		}
		if len(*buf) == start {
			return empty
		}
		return (*buf)[start:]
	}
}

// fold evaluates n, made of constants only, to a constant.
func fold(n node) node {
	var buf []byte
	if n.kind == boolNode {
		return boolConstant(n.truth(nil, &buf))
	}
	b := n.text(nil, &buf)
	if b == nil {
		return constantNode(nullNode, "")
	}
	return constantNode(n.kind, string(b))
}
