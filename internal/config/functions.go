package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A function is what expressions may call.
type function struct {
	min, max int // arguments
	later    bool
	// build compiles a call whose arguments have been compiled and counted.
	build func(d *decoder, e *hclsyntax.FunctionCallExpr, args []node) (node, bool)
}

const unlimited = 1 << 30

var functions = map[string]function{
	"lower":       {1, 1, false, mapped('A', 'Z')},
	"upper":       {1, 1, false, mapped('a', 'z')},
	"coalesce":    {1, unlimited, false, coalesce},
	"env":         {1, 1, false, environment},
	"file":        {1, 1, false, content},
	"starts_with": {2, 2, false, tested(bytes.HasPrefix)},
	"ends_with":   {2, 2, false, tested(bytes.HasSuffix)},
	"cidr_match":  {later: true},
	"ip_prefix":   {later: true},
	"regex_match": {later: true},
	"sample":      {later: true},
	"hash":        {later: true},
}

// arity says how many arguments f takes.
func (f function) arity() string {
	switch {
	case f.max == unlimited:
		return "1 or more arguments"
	case f.max == 1:
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", f.max)
}

// call compiles a call of a function.
func (d *decoder) call(e *hclsyntax.FunctionCallExpr, depth int) (node, bool) {
	f, ok := functions[e.Name]
	switch {
	case !ok:
		d.at(e.NameRange, "Unknown function", "There is no function named %q.%s", e.Name, nearestKey(e.Name, functions))
		return node{}, false
	case f.later:
		d.unsupported(e.NameRange, e.Name)
		return node{}, false
	case e.ExpandFinal:
		return d.refuse(e, "Unsupported expression", "Expanding a list into arguments is not supported.")
	case len(e.Args) < f.min || len(e.Args) > f.max:
		d.at(e.NameRange, "Wrong number of arguments", "%s takes %s, not %d.", e.Name, f.arity(), len(e.Args))
		return node{}, false
	}
	args, valid := make([]node, len(e.Args)), true
	size := 1
	for i, a := range e.Args {
		n, ok := d.compile(a, depth)
		if ok && n.kind == boolNode {
			d.at(a.Range(), "Invalid argument", "%s takes texts, not conditions.", e.Name)
			ok = false
		}
		args[i], valid = n, valid && ok
		size = min(size+n.size, maxSize+1)
	}
	if !valid {
		return node{}, false
	}
	n, ok := f.build(d, e, args)
	n.size = max(n.size, size)
	return n, ok
}

func allConstant(args []node) bool {
	for _, n := range args {
		if !n.constant {
			return false
		}
	}
	return true
}

// folded returns n, evaluated at once if all it depends on is known.
func folded(n node, args []node) (node, bool) {
	if allConstant(args) {
		return fold(n), true
	}
	return n, true
}

type builder = func(*decoder, *hclsyntax.FunctionCallExpr, []node) (node, bool)

// mapped builds a function that changes the case of ASCII letters from lo to hi.
func mapped(lo, hi byte) builder {
	return func(_ *decoder, _ *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
		arg := args[0].asText()
		return folded(node{kind: textNode, text: func(s Subject, buf *[]byte) []byte {
			n := len(*buf)
			b := arg(s, buf)
			if len(b) == 0 {
				return b
			}
			*buf = append((*buf)[:n], b...) // a copy: b may be the request's own
			b = (*buf)[n:]
			for i, c := range b {
				if lo <= c && c <= hi {
					b[i] = c ^ 0x20
				}
			}
			return b
		}}, args)
	}
}

func coalesce(_ *decoder, _ *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
	funcs := make([]textFunc, len(args))
	for i, n := range args {
		funcs[i] = n.asText()
	}
	return folded(node{kind: textNode, text: func(s Subject, buf *[]byte) []byte {
		for _, f := range funcs {
			if b := f(s, buf); b != nil {
				return b
			}
		}
		return nil
	}}, args)
}

// tested builds a condition on two texts; it is false if one is null.
func tested(test func(s, part []byte) bool) builder {
	return func(_ *decoder, _ *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
		a, b := args[0].asText(), args[1].asText()
		return folded(node{kind: boolNode, truth: func(s Subject, buf *[]byte) bool {
			n := len(*buf)
			x := a(s, buf)
			y := b(s, buf)
			ok := x != nil && y != nil && test(x, y)
			*buf = (*buf)[:n]
			return ok
		}}, args)
	}
}

// loadTime returns the text of the only argument of a function of load time.
func (d *decoder) loadTime(e *hclsyntax.FunctionCallExpr, args []node) (string, hcl.Range, bool) {
	at := e.Args[0].Range()
	if n := args[0]; !n.constant || n.kind != textNode || n.value == "" || strings.ContainsRune(n.value, 0) {
		d.at(at, "Invalid argument", "%s takes a text that is known when the file is loaded.", e.Name)
		return "", at, false
	}
	return args[0].value, at, true
}

// environment builds env(name): null if it is not set.
func environment(d *decoder, e *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
	name, _, ok := d.loadTime(e, args)
	if !ok {
		return node{}, false
	}
	value := d.bundle.env(name)
	if value == nil {
		return constantNode(nullNode, ""), true
	}
	return constantNode(textNode, string(value)), true
}

// content builds file(name): without the line break at its end, which secrets
// in files have by accident.
func content(d *decoder, e *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
	name, at, ok := d.loadTime(e, args)
	if !ok {
		return node{}, false
	}
	data, err := d.bundle.file(name)
	if err != nil {
		d.at(at, "Cannot read file", "%v.", err)
		return node{}, false
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	return constantNode(textNode, string(data)), true
}
