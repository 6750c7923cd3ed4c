package config

import (
	"bytes"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

func (d *decoder) conditional(e *hclsyntax.ConditionalExpr, depth int) (node, bool) {
	cond, ok1 := d.condition(e.Condition, depth)
	yes, ok2 := d.compile(e.TrueResult, depth)
	no, ok3 := d.compile(e.FalseResult, depth)
	if !ok1 || !ok2 || !ok3 {
		return node{}, false
	}
	if cond.constant {
		if cond.value == "true" {
			return yes, true
		}
		return no, true
	}
	n := node{kind: textNode, size: 1 + cond.size + yes.size + no.size}
	if yes.kind == numberNode && no.kind == numberNode {
		n.kind = numberNode
	}
	test := cond.asTruth()
	if yes.kind == boolNode && no.kind == boolNode {
		a, b := yes.asTruth(), no.asTruth()
		n.kind = boolNode
		n.truth = func(s Subject, buf *[]byte) bool {
			if test(s, buf) {
				return a(s, buf)
			}
			return b(s, buf)
		}
		return n, true
	}
	a, b := yes.asText(), no.asText()
	n.text = func(s Subject, buf *[]byte) []byte {
		if test(s, buf) {
			return a(s, buf)
		}
		return b(s, buf)
	}
	return n, true
}

// condition compiles an expression that must be true or false.
func (d *decoder) condition(e hclsyntax.Expression, depth int) (node, bool) {
	n, ok := d.compile(e, depth)
	if ok && n.kind != boolNode {
		return d.notCondition(e)
	}
	return n, ok
}

func (d *decoder) notCondition(e hclsyntax.Expression) (node, bool) {
	return d.refuse(e, "Not a condition", "This must be true or false. To test for a value, write value != null or value == \"text\".")
}

func (d *decoder) unary(e *hclsyntax.UnaryOpExpr, depth int) (node, bool) {
	if e.Op != hclsyntax.OpLogicalNot {
		n, ok := d.compile(e.Val, depth)
		if !ok || n.kind != numberNode || !n.constant || n.value[0] == '-' {
			return d.refuse(e, "Unsupported operator", "Only a number that is written out can be negative.")
		}
		return constantNode(numberNode, "-"+n.value), true
	}
	n, ok := d.condition(e.Val, depth)
	if !ok {
		return node{}, false
	}
	if n.constant {
		return boolConstant(n.value != "true"), true
	}
	inner := n.truth
	return node{kind: boolNode, size: n.size + 1, truth: func(s Subject, buf *[]byte) bool { return !inner(s, buf) }}, true
}

func (d *decoder) binary(e *hclsyntax.BinaryOpExpr, depth int) (node, bool) {
	switch e.Op {
	case hclsyntax.OpEqual, hclsyntax.OpNotEqual:
		return d.equality(e, depth)
	case hclsyntax.OpLogicalAnd, hclsyntax.OpLogicalOr:
		return d.logical(e, depth)
	case hclsyntax.OpLessThan, hclsyntax.OpLessThanOrEqual, hclsyntax.OpGreaterThan, hclsyntax.OpGreaterThanOrEqual:
		return d.order(e, depth)
	}
	return d.refuse(e, "Unsupported operator", "Arithmetic is not supported.")
}

func (d *decoder) logical(e *hclsyntax.BinaryOpExpr, depth int) (node, bool) {
	x, ok1 := d.condition(e.LHS, depth)
	y, ok2 := d.condition(e.RHS, depth)
	if !ok1 || !ok2 {
		return node{}, false
	}
	n := node{kind: boolNode, size: 1 + x.size + y.size}
	a, b := x.asTruth(), y.asTruth()
	if e.Op == hclsyntax.OpLogicalAnd {
		n.truth = func(s Subject, buf *[]byte) bool { return a(s, buf) && b(s, buf) }
	} else {
		n.truth = func(s Subject, buf *[]byte) bool { return a(s, buf) || b(s, buf) }
	}
	if x.constant && y.constant {
		return fold(n), true
	}
	return n, true
}

func (d *decoder) equality(e *hclsyntax.BinaryOpExpr, depth int) (node, bool) {
	x, ok1 := d.compile(e.LHS, depth)
	y, ok2 := d.compile(e.RHS, depth)
	if !ok1 || !ok2 {
		return node{}, false
	}
	want := e.Op == hclsyntax.OpEqual
	n := node{kind: boolNode, size: 1 + x.size + y.size}
	switch {
	case x.kind == boolNode && y.kind == boolNode:
		a, b := x.asTruth(), y.asTruth()
		n.truth = func(s Subject, buf *[]byte) bool { return (a(s, buf) == b(s, buf)) == want }
	case x.kind == boolNode || y.kind == boolNode:
		return d.refuse(e, "Invalid comparison", "A condition can be compared with true, false or another condition only.")
	case x.kind == numberNode && y.kind == numberNode:
		n.truth = sameNumber(x.asNumber(), y.asNumber(), want)
	default:
		n.truth = equal(x.asText(), y.asText(), want)
	}
	if x.constant && y.constant {
		return fold(n), true
	}
	return n, true
}

// equal compares two texts; null equals null only. What they leave behind buf
// is dropped.
func equal(a, b textFunc, want bool) truthFunc {
	return func(s Subject, buf *[]byte) bool {
		n := len(*buf)
		x := a(s, buf)
		y := b(s, buf)
		same := (x == nil) == (y == nil) && bytes.Equal(x, y)
		*buf = (*buf)[:n]
		return same == want
	}
}
