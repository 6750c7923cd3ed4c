package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// An item is a text in a list, and where it stands.
type item struct {
	text string
	at   hcl.Range
}

// value reads the value of an argument by its kind. If it is not a valid one,
// that has been reported.
func (d *decoder) value(a *arg, e hclsyntax.Expression) (any, bool) {
	switch a.kind {
	case expressionKind:
		return d.expression(a, e)
	case conditionKind:
		return d.conditionOf(a, e)
	case formatKind:
		return d.format(a, e)
	case upstreamKind:
		return e, !isBroken(e) // compiled when the upstreams are known
	case fieldKind:
		return d.fieldValue(a.name, a.phase, e)
	case fieldsKind:
		return d.fields(a, e)
	case ratesKind:
		return d.rates(a, e)
	case networksKind:
		return d.networks(a, e)
	case listKind:
		return d.list(a, e)
	}
	n, ok := d.constant(a, e)
	if !ok {
		return nil, false
	}
	at := e.Range()
	switch a.kind {
	case boolKind:
		if n.kind != boolNode {
			d.at(at, "Invalid value", "%q must be true or false.", a.name)
			return nil, false
		}
		return n.value == "true", true
	case countKind, autoKind:
		if a.kind == autoKind && n.kind == textNode && n.value == "auto" {
			return int64(0), true
		}
		return d.count(a, n, at)
	case sizeKind:
		return d.size(a, n, at)
	}
	if n.kind != textNode {
		d.at(at, "Invalid value", "%q must be a text in quotes%s.", a.name, example(a.kind))
		return nil, false
	}
	return d.textual(a, n.value, at)
}

// example returns the end of a sentence that shows a value of a kind.
func example(k kind) string {
	switch k {
	case durationKind:
		return `, such as "10s"`
	case rateKind:
		return `, such as "10/s"`
	case percentKind:
		return `, such as "20%"`
	}
	return ""
}

// textual reads a value that is written as text.
func (d *decoder) textual(a *arg, s string, at hcl.Range) (any, bool) {
	switch a.kind {
	case durationKind:
		v, err := parseDuration(s)
		if err != nil {
			return d.bad(at, "Invalid duration", err)
		}
		if int64(v) < a.min || int64(v) > a.max {
			d.at(at, "Out of range", "%q must be from %s to %s.", a.name,
				formatDuration(time.Duration(a.min)), formatDuration(time.Duration(a.max)))
			return nil, false
		}
		return v, true
	case rateKind:
		v, err := parseRate(s)
		if err != nil {
			return d.bad(at, "Invalid rate", err)
		}
		return v, true
	case percentKind:
		v, err := parsePercent(s)
		if err == nil && (int64(v) < a.min || int64(v) > a.max) {
			err = fmt.Errorf("%q must be from %d%% to %d%%", a.name, a.min, a.max)
		}
		if err != nil {
			return d.bad(at, "Invalid percentage", err)
		}
		return v, true
	case choiceKind:
		return s, d.checkChoice(at, a.name, s, a.choices, a.unbuilt)
	case hostKind:
		if err := checkHost(s); err != nil {
			return d.bad(at, "Invalid host", err)
		}
	case pathKind:
		if s == "" || strings.ContainsRune(s, 0) {
			d.at(at, "Invalid path", "%q must be a file name.", a.name)
			return nil, false
		}
	}
	return s, true
}

// bad reports err, whose text is a sentence without its end.
func (d *decoder) bad(at hcl.Range, summary string, err error) (any, bool) {
	d.at(at, summary, "%v.", err)
	return nil, false
}

// checkChoice reports a value that is not one of choices.
func (d *decoder) checkChoice(at hcl.Range, name, value string, choices, unbuilt []string) bool {
	if slices.Contains(choices, value) {
		return true
	}
	if slices.Contains(unbuilt, value) {
		d.at(at, "Not supported yet", "%s %q is not supported yet; use %s.", name, value, quoted(choices, "or"))
		return false
	}
	hint := didYouMean(value, slices.Concat(choices, unbuilt))
	d.at(at, "Invalid value", "%q is not a value of %s, which may be %s.%s", value, name, quoted(choices, "or"), hint)
	return false
}

// quoted returns texts in quotes, with word before the last.
func quoted(texts []string, word string) string {
	var b strings.Builder
	for i, text := range texts {
		switch {
		case i > 0 && i == len(texts)-1:
			b.WriteString(" " + word + " ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(text))
	}
	return b.String()
}

// pairs reads the names and values of an object whose names are not the schema's.
func (d *decoder) pairs(a *arg, e hclsyntax.Expression) ([]hclsyntax.ObjectConsItem, bool) {
	def := d.definition(e)
	cons, ok := def.(*hclsyntax.ObjectConsExpr)
	if !ok {
		if !isBroken(def) {
			d.at(def.Range(), "Invalid value", "%q is an object: write { \"name\" = value, ... }.", a.name)
		}
		return nil, false
	}
	return cons.Items, true
}

func (d *decoder) count(a *arg, n node, at hcl.Range) (any, bool) {
	v, err := strconv.ParseInt(n.value, 10, 64)
	if (n.kind != numberNode && n.kind != textNode) || err != nil {
		auto := ""
		if a.kind == autoKind {
			auto = ` or "auto"`
		}
		d.at(at, "Invalid number", "%q must be a whole number from %d to %d%s.", a.name, a.min, a.max, auto)
		return nil, false
	}
	if v < a.min || v > a.max {
		d.at(at, "Out of range", "%q must be from %d to %d.", a.name, a.min, a.max)
		return nil, false
	}
	return v, true
}

func (d *decoder) size(a *arg, n node, at hcl.Range) (any, bool) {
	if n.kind != numberNode && n.kind != textNode {
		d.at(at, "Invalid size", `%q must be a size, such as "32KiB".`, a.name)
		return nil, false
	}
	v, err := parseSize(n.value)
	if err != nil {
		return d.bad(at, "Invalid size", err)
	}
	if v < a.min || v > a.max {
		d.at(at, "Out of range", "%q must be from %s to %s.", a.name, formatSize(a.min), formatSize(a.max))
		return nil, false
	}
	return v, true
}

// list reads texts in brackets, or one text.
func (d *decoder) list(a *arg, e hclsyntax.Expression) ([]item, bool) {
	def := d.definition(e)
	tuple, ok := def.(*hclsyntax.TupleConsExpr)
	if !ok {
		it, ok := d.item(a, e)
		return []item{it}, ok
	}
	list, valid := []item{}, true
	for _, inner := range tuple.Exprs {
		it, ok := d.item(a, inner)
		list = append(list, it)
		valid = valid && ok
	}
	return list, valid
}

func (d *decoder) item(a *arg, e hclsyntax.Expression) (item, bool) {
	n, ok := d.constant(a, e)
	if ok && n.kind != textNode {
		d.at(e.Range(), "Invalid value", "%q must be a list of texts in quotes.", a.name)
		ok = false
	}
	return item{n.value, e.Range()}, ok
}

// expression compiles a value that is evaluated for each request.
func (d *decoder) expression(a *arg, e hclsyntax.Expression) (any, bool) {
	n, ok := d.compileFor(a.phase, e)
	if !ok {
		return nil, false
	}
	if n.kind == nullNode {
		d.null(a.name, e.Range())
		return nil, false
	}
	return &Expr{n.asText(), d.originOf(e)}, true
}

// conditionOf compiles a condition that is evaluated for each request.
func (d *decoder) conditionOf(a *arg, e hclsyntax.Expression) (any, bool) {
	n, ok := d.compileFor(a.phase, e)
	if ok && n.kind != boolNode {
		_, ok = d.notCondition(e)
	}
	if !ok {
		return nil, false
	}
	if n.constant && n.value == "true" {
		return (*Condition)(nil), true
	}
	return &Condition{n.asTruth(), d.originOf(e)}, true
}

// format compiles the line of a log.
func (d *decoder) format(a *arg, e hclsyntax.Expression) (any, bool) {
	n, ok := d.compileIn(context{phase: logged, dashes: true}, d.definition(e))
	if !ok {
		return nil, false
	}
	if n.kind == nullNode {
		d.null(a.name, e.Range())
		return nil, false
	}
	return &Expr{eval: concat([]textFunc{n.asText()}, true)}, true
}

// constant evaluates a value that must be known when the file is loaded.
func (d *decoder) constant(a *arg, e hclsyntax.Expression) (node, bool) {
	n, ok := d.compileFor(logged, e)
	switch {
	case !ok:
		return node{}, false
	case !n.constant:
		d.at(e.Range(), "Not a constant", "%q must be known when the file is loaded; it cannot depend on a request.", a.name)
		return node{}, false
	case n.kind == nullNode:
		d.null(a.name, e.Range())
		return node{}, false
	}
	return n, true
}

func (d *decoder) null(name string, at hcl.Range) {
	d.at(at, "Missing value",
		"%q is null here. An environment variable that is not set is null; coalesce(env(\"NAME\"), \"default\") gives it a default.", name)
}
