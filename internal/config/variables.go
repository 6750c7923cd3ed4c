package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// place is where a variable lives in the namespace of expressions.
type place struct {
	v      Var
	since  phase // when it is known
	named  bool  // takes a name: request.header["name"]
	number bool
}

var variables = map[string]map[string]place{
	"request": {
		"method": {v: Method},
		"scheme": {v: Scheme},
		"host":   {v: Host},
		"path":   {v: Path},
		"uri":    {v: URI},
		"id":     {v: RequestID},
		"proto":  {v: Proto},
		"query":  {v: Query, named: true},
		"header": {v: Header, named: true},
		"cookie": {v: Cookie, named: true},
		"bytes":  {v: RequestBytes, since: logged, number: true},
	},
	"client": {
		"ip":   {v: ClientIP},
		"port": {v: ClientPort, number: true},
		"cert": {v: ClientCert, named: true},
	},
	"tls": {
		"version": {v: TLSVersion},
		"cipher":  {v: TLSCipher},
		"sni":     {v: TLSServerName},
		"alpn":    {v: TLSProtocol},
	},
	"listener": {"name": {v: ListenerName}},
	"route":    {"name": {v: RouteName, since: routed}},
	"response": {
		"status":   {v: ResponseStatus, since: answered, number: true},
		"header":   {v: ResponseHeader, since: answered, named: true},
		"bytes":    {v: ResponseBytes, since: logged, number: true},
		"duration": {v: Duration, since: logged, number: true},
	},
	"upstream": {
		"name":     {v: UpstreamName, since: answered},
		"address":  {v: UpstreamAddress, since: answered},
		"attempts": {v: Attempts, since: logged, number: true},
		"duration": {v: FirstByteDuration, since: logged, number: true},
	},
	"time": {"iso8601": {v: TimeISO, since: logged}},
}

// variable compiles a reference to a local or to a value of the request.
func (d *decoder) variable(e *hclsyntax.ScopeTraversalExpr, depth int) (node, bool) {
	steps := e.Traversal
	root := steps.RootName()
	if root == "local" {
		return d.localVariable(e, depth)
	}
	members, ok := variables[root]
	if !ok {
		d.at(steps[0].SourceRange(), "Unknown variable", "There is no variable named %q.%s", root,
			didYouMean(root, append(keys(variables), "local")))
		return node{}, false
	}
	if len(steps) == 1 {
		return d.refuse(e, "Invalid reference", "Name one of its values: "+root+"."+strings.Join(keys(members), ", "+root+".")+".")
	}
	name, ok := stepName(steps[1])
	if !ok {
		return d.refuse(e, "Invalid reference", `The name in brackets must be a plain text, as in request.header["name"].`)
	}
	at, known := members[name]
	full := root + "." + name
	switch {
	case !known:
		d.at(steps[1].SourceRange(), "Unknown variable", "There is no %s.%s", full, nearestKey(name, members))
		return node{}, false
	case !d.use(at.need(full), "", e.Range()):
		return node{}, false
	case !at.named && len(steps) > 2:
		return d.refuse(e, "Invalid reference", full+" has no parts.")
	case !at.named:
		return lookup(at, ""), true
	}
	return d.named(e, at, full)
}

// need returns what an expression asks for that has the variable in it.
func (p place) need(name string) need {
	if p.v == ResponseStatus {
		return need{p.since, name, ""}
	}
	return need{p.since, name, name}
}

// named compiles a variable that takes a name as its third step.
func (d *decoder) named(e *hclsyntax.ScopeTraversalExpr, at place, full string) (node, bool) {
	steps := e.Traversal
	if len(steps) == 3 {
		if name, ok := stepName(steps[2]); ok {
			if at.v == Header || at.v == ResponseHeader {
				name = strings.ToLower(name)
				if !isToken(name) {
					d.at(steps[2].SourceRange(), "Invalid name", "%q cannot be the name of a header.", name)
					return node{}, false
				}
			}
			if at.v == ClientCert && !slices.Contains(CertFacts, name) {
				d.at(steps[2].SourceRange(), "Unknown variable", "There is no %s[%q].%s", full, name, didYouMean(name, CertFacts))
				return node{}, false
			}
			return lookup(at, name), true
		}
	}
	return d.refuse(e, "Invalid reference", full+` takes one name in brackets, as in `+full+`["name"].`)
}

func lookup(at place, name string) node {
	n := node{kind: textNode, size: 1 + len(name), text: func(s Subject, _ *[]byte) []byte { return s.Value(at.v, name) }}
	if at.number {
		n.kind = numberNode
	}
	return n
}

// isToken reports whether s may be the name of a field (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func (d *decoder) localVariable(e *hclsyntax.ScopeTraversalExpr, depth int) (node, bool) {
	steps := e.Traversal
	if len(steps) == 1 {
		return d.refuse(e, "Invalid reference", "Name one of the values in a locals block, as in local.name.")
	}
	name, ok := stepName(steps[1])
	l := d.locals[name]
	switch {
	case !ok || l == nil:
		if d.complete {
			d.at(steps[1].SourceRange(), "Unknown local", "There is no local.%s in a locals block.%s", name, nearestKey(name, d.locals))
		}
		return node{}, false
	case len(steps) > 2:
		return d.refuse(e, "Invalid reference", "Steps into a local are not supported; use local."+name+" as a whole.")
	}
	switch d.definition(e).(type) {
	case *hclsyntax.TupleConsExpr:
		return d.refuse(e, "Invalid value", "A list is not expected here.")
	case *hclsyntax.ObjectConsExpr:
		return d.refuse(e, "Invalid value", "An object is not expected here.")
	}
	return d.compileLocal(l, e.Range(), depth)
}

// stepName returns the name in a step of a traversal: .name or ["name"].
func stepName(step hcl.Traverser) (string, bool) {
	switch step := step.(type) {
	case hcl.TraverseAttr:
		return step.Name, true
	case hcl.TraverseIndex:
		if step.Key.IsKnown() && !step.Key.IsNull() && step.Key.Type() == cty.String {
			return step.Key.AsString(), true
		}
	}
	return "", false
}
