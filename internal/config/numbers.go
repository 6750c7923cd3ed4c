package config

import (
	"strconv"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A numberFunc yields a number, or false for null.
type numberFunc func(s Subject, buf *[]byte) (float64, bool)

// asNumber returns the closure that yields n, a numberNode. What it leaves
// behind buf it drops.
func (n node) asNumber() numberFunc {
	if n.constant {
		value, err := strconv.ParseFloat(n.value, 64)
		return func(Subject, *[]byte) (float64, bool) { return value, err == nil }
	}
	text := n.text
	return func(s Subject, buf *[]byte) (float64, bool) {
		start := len(*buf)
		b := text(s, buf)
		*buf = (*buf)[:start]
		if b == nil {
			return 0, false
		}
		return parseDecimal(b)
	}
}

// parseDecimal parses digits with or without a point in them. It is exact for up
// to 15 digits. strconv would allocate an error for what is no number.
func parseDecimal(b []byte) (value float64, ok bool) {
	scale := 0.0
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			value, ok = 10*value+float64(c-'0'), true
			scale *= 10
		case c == '.' && scale == 0:
			scale = 1
		default:
			return 0, false
		}
	}
	return value / max(scale, 1), ok
}

// sameNumber compares two numbers; null equals null only.
func sameNumber(a, b numberFunc, want bool) truthFunc {
	return func(s Subject, buf *[]byte) bool {
		x, isX := a(s, buf)
		y, isY := b(s, buf)
		return (isX == isY && x == y) == want
	}
}

// order compiles a comparison of two numbers. It is false if one is null.
func (d *decoder) order(e *hclsyntax.BinaryOpExpr, depth int) (node, bool) {
	x, ok1 := d.numeric(e.LHS, depth)
	y, ok2 := d.numeric(e.RHS, depth)
	if !ok1 || !ok2 {
		return node{}, false
	}
	a, b := x.asNumber(), y.asNumber()
	below, equal := e.Op == hclsyntax.OpLessThan || e.Op == hclsyntax.OpLessThanOrEqual,
		e.Op == hclsyntax.OpLessThanOrEqual || e.Op == hclsyntax.OpGreaterThanOrEqual
	n := node{kind: boolNode, size: 1 + x.size + y.size}
	n.truth = func(s Subject, buf *[]byte) bool {
		x, isX := a(s, buf)
		y, isY := b(s, buf)
		switch {
		case !isX || !isY:
			return false
		case x == y:
			return equal
		}
		return x < y == below
	}
	if x.constant && y.constant {
		return fold(n), true
	}
	return n, true
}

// numeric compiles an expression that must be a number.
func (d *decoder) numeric(e hclsyntax.Expression, depth int) (node, bool) {
	n, ok := d.compile(e, depth)
	if ok && n.kind != numberNode {
		return d.refuse(e, "Not a number", "Only numbers have an order, such as response.status or 400 without quotes.")
	}
	return n, ok
}
