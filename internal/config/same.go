package config

import (
	"crypto/sha256"
	"hash"
	"reflect"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// An origin identifies what an expression was compiled from: its text, and what
// locals, files and the environment bring into it. Closures cannot be compared.
type origin [sha256.Size]byte

// Same reports whether u and o, of any two configurations, say the same. It may
// find a difference where expressions are written in other words.
func (u *Upstream) Same(o *Upstream) bool {
	a, b := *u, *o
	if !a.HashKey.same(b.HashKey) {
		return false
	}
	a.HashKey, b.HashKey = nil, nil
	if a.Health != nil && b.Health != nil {
		x, y := *a.Health, *b.Health
		if !x.Expect.same(y.Expect) {
			return false
		}
		x.Expect, y.Expect = nil, nil
		a.Health, b.Health = &x, &y
	}
	return reflect.DeepEqual(a, b)
}

func (e *Expr) same(o *Expr) bool {
	return e == o || e != nil && o != nil && e.origin == o.origin
}

func (c *Condition) same(o *Condition) bool {
	return c == o || c != nil && o != nil && c.origin == o.origin
}

// originOf returns the origin of e, which compiles.
func (d *decoder) originOf(e hclsyntax.Expression) (sum origin) {
	h := sha256.New()
	at := e.Range()
	h.Write(d.src[at.Start.Byte:at.End.Byte])
	hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		d.addInput(h, n)
		return nil
	})
	h.Sum(sum[:0])
	return sum
}

// addInput adds what n, a part of an expression, stands for if that is elsewhere.
func (d *decoder) addInput(h hash.Hash, n hclsyntax.Node) {
	switch n := n.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		l := d.localOf(n)
		if l == nil {
			return
		}
		if !l.traced {
			l.traced = true // before its origin is known: locals in lists may refer to each other
			l.origin = d.originOf(l.attr.Expr)
		}
		h.Write(l.origin[:])
	case *hclsyntax.FunctionCallExpr:
		if n.Name != "env" && n.Name != "file" {
			return
		}
		if value, ok := d.compileFor(logged, n); ok {
			sum := sha256.Sum256([]byte(value.value))
			h.Write(append(sum[:], byte(value.kind)))
		}
	}
}
