package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A function is what expressions may call.
type function struct {
	min, max int // arguments
	// build compiles a call whose arguments have been counted and, up to the
	// first list, compiled.
	build builder
	lists bool // its last argument is a list, which build reads
}

type builder = func(*decoder, *hclsyntax.FunctionCallExpr, []node) (node, bool)

const unlimited = 1 << 30

var functions map[string]function

func init() { // a list is read by what calls functions
	functions = map[string]function{
		"lower":       {min: 1, max: 1, build: mapped('A', 'Z')},
		"upper":       {min: 1, max: 1, build: mapped('a', 'z')},
		"coalesce":    {min: 1, max: unlimited, build: coalesce},
		"env":         {min: 1, max: 1, build: environment},
		"file":        {min: 1, max: 1, build: content},
		"starts_with": {min: 2, max: 2, build: tested(bytes.HasPrefix)},
		"ends_with":   {min: 2, max: 2, build: tested(bytes.HasSuffix)},
		"cidr_match":  {min: 2, max: 2, build: cidrMatch, lists: true},
		"ip_prefix":   {min: 2, max: 3, build: ipPrefix},
		"regex_match": {min: 2, max: 2, build: regexMatch},
		"sample":      {min: 1, max: 1, build: sample},
		"hash":        {min: 1, max: 2, build: hashed},
	}
}

// arity says how many arguments f takes.
func (f function) arity() string {
	switch {
	case f.max == unlimited:
		return "1 or more arguments"
	case f.max > f.min:
		return fmt.Sprintf("%d or %d arguments", f.min, f.max)
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
	case e.ExpandFinal:
		return d.refuse(e, "Unsupported expression", "Expanding a list into arguments is not supported.")
	case len(e.Args) < f.min || len(e.Args) > f.max:
		d.at(e.NameRange, "Wrong number of arguments", "%s takes %s, not %d.", e.Name, f.arity(), len(e.Args))
		return node{}, false
	}
	texts := e.Args
	if f.lists {
		texts = texts[:len(texts)-1]
	}
	args, valid := make([]node, len(texts)), true
	size := 1
	for i, a := range texts {
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

// loadTime returns the text of an argument that must be known at load.
func (d *decoder) loadTime(e *hclsyntax.FunctionCallExpr, args []node, i int) (string, hcl.Range, bool) {
	at := e.Args[i].Range()
	if n := args[i]; !n.constant || n.kind != textNode || n.value == "" || strings.ContainsRune(n.value, 0) {
		d.at(at, "Invalid argument", "%s takes a text that is known when the file is loaded.", e.Name)
		return "", at, false
	}
	return args[i].value, at, true
}

// wholeNumber returns an argument that must be a number from lo to hi, known at
// load.
func (d *decoder) wholeNumber(e *hclsyntax.FunctionCallExpr, args []node, i int, lo, hi int64) (int64, bool) {
	v, err := strconv.ParseInt(args[i].value, 10, 64)
	if n := args[i]; !n.constant || n.kind != numberNode || err != nil || v < lo || v > hi {
		d.at(e.Args[i].Range(), "Invalid argument", "This argument of %s must be a whole number from %d to %d.", e.Name, lo, hi)
		return 0, false
	}
	return v, true
}

// environment builds env(name): null if it is not set.
func environment(d *decoder, e *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
	name, _, ok := d.loadTime(e, args, 0)
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
	name, at, ok := d.loadTime(e, args, 0)
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
