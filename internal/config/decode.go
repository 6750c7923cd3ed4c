package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A decoder turns one file's syntax tree into a Config by the schema and
// collects the mistakes on its way.
type decoder struct {
	mistakes
	context  // of the expression that is compiled
	bundle   *Bundle
	complete bool // the tree has all that the file says
	locals   map[string]*local

	names      map[string]hcl.Range // by "type name": where it is defined
	upstreams  map[string]*Upstream
	limits     map[string]limit
	routeCount int                           // of all listeners
	yielded    map[hclsyntax.Expression]bool // checked as names of upstreams
	programs   int                           // about the instructions of all regular expressions
}

// parse makes the Config of b.
func parse(b *Bundle) (*Config, error) {
	d := &decoder{
		mistakes:  mistakes{file: string(b.data.Path), src: b.data.Text},
		bundle:    b,
		names:     map[string]hcl.Range{},
		upstreams: map[string]*Upstream{},
		limits:    map[string]limit{},
		yielded:   map[hclsyntax.Expression]bool{},
	}
	tree, complete := d.body()
	if tree == nil {
		return nil, d.err()
	}
	d.complete = complete
	d.defineLocals(tree)
	root := d.section(&schema, &hclsyntax.Block{Body: tree})
	d.checkLocals()
	c := d.config(root)
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// config builds the Config from the whole file. Blocks are built in the order
// of reference: what is named comes before what names it.
func (d *decoder) config(root *section) *Config {
	c := &Config{Path: d.file, Supervisor: d.supervisor(root), UpstreamOf: d.upstreams}
	for _, s := range root.blocks["rate_limit"] {
		c.RateLimits = append(c.RateLimits, d.rateLimit(s))
	}
	for _, s := range root.blocks["concurrency_limit"] {
		c.ConcurrencyLimits = append(c.ConcurrencyLimits, d.concurrencyLimit(s))
	}
	for _, s := range root.blocks["upstream"] {
		c.Upstreams = append(c.Upstreams, d.upstream(s))
	}
	var bound []boundAddress
	for _, s := range root.blocks["listener"] {
		l := d.listener(s)
		bound = d.addresses(s, l, bound)
		c.Listeners = append(c.Listeners, l)
	}
	for i, s := range root.blocks["access_log"] {
		if i == maxAccessLogs {
			d.at(s.at, "Too many access logs", "There may be %d.", maxAccessLogs)
			break
		}
		c.AccessLogs = append(c.AccessLogs, d.accessLog(s))
	}
	if len(c.Listeners) == 0 {
		d.absent(hcl.Range{Start: hcl.InitialPos, End: hcl.InitialPos}, "No listener",
			`Nothing would be served. Write at least one listener "name" { ... } block.`)
	}
	return c
}

// absent reports something missing, unless it may only seem so because of an
// error of syntax.
func (d *decoder) absent(at hcl.Range, summary, format string, args ...any) {
	if d.complete {
		d.at(at, summary, format, args...)
	}
}

// section checks b, whose type is that of spec, and all within it.
func (d *decoder) section(spec *block, b *hclsyntax.Block) *section {
	s := &section{spec: spec, at: b.TypeRange, values: map[string]setting{}, blocks: map[string][]*section{}}
	d.readLabel(s, b)
	if b.Body == nil {
		return s
	}
	if spec.name != "locals" {
		for _, a := range attributes(b.Body) {
			d.argument(s, a)
		}
	}
	for i := range spec.args {
		if a := &spec.args[i]; a.required && a.fits(s.label) && !s.has(a.name) && !s.failed(a.name) {
			d.absent(s.at, "Missing required argument", "The argument %q is required, but no definition was found.", a.name)
		}
	}
	for _, inner := range b.Body.Blocks {
		d.innerBlock(s, inner)
	}
	return s
}

// attributes returns the arguments of a body in the order of the file.
func attributes(b *hclsyntax.Body) []*hclsyntax.Attribute {
	list := make([]*hclsyntax.Attribute, 0, len(b.Attributes))
	for _, a := range b.Attributes {
		if a != nil {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(x, y *hclsyntax.Attribute) int { return x.NameRange.Start.Byte - y.NameRange.Start.Byte })
	return list
}

// readLabel checks the labels of b against the schema.
func (d *decoder) readLabel(s *section, b *hclsyntax.Block) {
	spec := s.spec
	switch {
	case spec.label == "" && len(b.Labels) > 0:
		d.at(b.LabelRanges[0], "Extraneous label for "+spec.name, "No labels are expected for %s blocks.", spec.name)
		return
	case spec.label != "" && len(b.Labels) == 0:
		d.absent(b.TypeRange, "Missing "+spec.label+" for "+spec.name, "Write %s \"%s\" { ... }.", spec.name, spec.label)
		return
	case len(b.Labels) > 1:
		d.at(b.LabelRanges[1], "Extraneous label for "+spec.name, "Only one label is expected for %s blocks, the %s.", spec.name, spec.label)
	case len(b.Labels) == 0:
		return
	}
	s.label, s.at = b.Labels[0], b.LabelRanges[0]
	switch spec.label {
	case "name":
		if err := checkName(s.label); err != nil {
			d.at(s.at, "Invalid name", "The name of a %s %v.", spec.name, err)
		}
	case "kind":
		d.checkChoice(s.at, spec.name, s.label, spec.kinds, spec.unbuilt)
	}
}

// innerBlock checks a block in s.
func (d *decoder) innerBlock(s *section, b *hclsyntax.Block) {
	i := slices.IndexFunc(s.spec.blocks, func(x block) bool { return x.name == b.Type })
	if i < 0 {
		if i = d.unknownBlock(s.spec, b); i < 0 {
			return
		}
	}
	spec := &s.spec.blocks[i]
	if spec.later {
		d.unsupported(b.TypeRange, spec.name)
		return
	}
	if spec.single && s.one(spec.name) != nil {
		d.at(b.TypeRange, "Duplicate "+spec.name+" block", "Only one %s block is allowed here; there is one at line %d already.",
			spec.name, s.one(spec.name).at.Start.Line)
	}
	s.blocks[spec.name] = append(s.blocks[spec.name], d.section(spec, b))
}

func (d *decoder) unsupported(at hcl.Range, name string) {
	d.at(at, "Not supported yet", "%q is not supported yet.", name)
}

// unknownBlock reports a block that the schema does not have and returns the
// index of the one it was likely meant to be, so that its mistakes are found and
// it is not missed; -1 if there is none.
func (d *decoder) unknownBlock(spec *block, b *hclsyntax.Block) int {
	if slices.ContainsFunc(spec.args, func(a arg) bool { return a.name == b.Type }) {
		d.at(b.TypeRange, "Unsupported block type",
			"Blocks of type %q are not expected here. Did you mean to define argument %q? If so, use the equals sign to assign it a value.",
			b.Type, b.Type)
		return -1
	}
	var names []string
	for _, x := range spec.blocks {
		names = append(names, x.name)
	}
	d.at(b.TypeRange, "Unsupported block type", "Blocks of type %q are not expected here.%s", b.Type, didYouMean(b.Type, names))
	meant := nearest(b.Type, names)
	return slices.IndexFunc(spec.blocks, func(x block) bool { return x.name == meant && !x.later })
}

// unknownArgument is unknownBlock for an argument.
func (d *decoder) unknownArgument(spec *block, name string, at hcl.Range) int {
	if slices.ContainsFunc(spec.blocks, func(x block) bool { return x.name == name }) {
		d.at(at, "Unsupported argument", "An argument named %q is not expected here. Did you mean to define a block of type %q?", name, name)
		return -1
	}
	var names []string
	for _, a := range spec.args {
		names = append(names, a.name)
	}
	d.at(at, "Unsupported argument", "An argument named %q is not expected here.%s", name, didYouMean(name, names))
	meant := nearest(name, names)
	return slices.IndexFunc(spec.args, func(x arg) bool { return x.name == meant && !x.later })
}

// argument checks one argument of s and keeps its value.
func (d *decoder) argument(s *section, a *hclsyntax.Attribute) {
	i := slices.IndexFunc(s.spec.args, func(x arg) bool { return x.name == a.Name })
	if i < 0 {
		if i = d.unknownArgument(s.spec, a.Name, a.NameRange); i < 0 {
			return
		}
	}
	spec := &s.spec.args[i]
	switch {
	case spec.later:
		d.unsupported(a.NameRange, spec.name)
	case !spec.fits(s.label) && slices.Contains(s.spec.kinds, s.label):
		d.at(a.NameRange, "No effect", "%q is for %s %s; this one is %q.", spec.name, s.spec.name, quoted(spec.of, "and"), s.label)
	case spec.kind == objectKind:
		d.object(s, spec, a.Expr)
	default:
		if v, ok := d.value(spec, a.Expr); ok {
			s.values[spec.name] = setting{v, a.Expr.Range()}
		} else {
			s.invalid = append(s.invalid, spec.name)
		}
	}
}

// object checks the value of an argument that is an object, and keeps its
// values by the names "argument.name".
func (d *decoder) object(s *section, spec *arg, e hclsyntax.Expression) {
	def := d.definition(e)
	cons, ok := def.(*hclsyntax.ObjectConsExpr)
	switch {
	case ok:
		s.values[spec.name] = setting{at: e.Range()}
	case isBroken(def):
		return
	case spec.just != "":
		s.values[spec.name] = setting{at: e.Range()}
		i := slices.IndexFunc(spec.args, func(x arg) bool { return x.name == spec.just })
		only := spec.args[i]
		only.name = spec.name
		d.member(s, spec.name+"."+spec.just, &only, e)
		return
	default:
		s.invalid = append(s.invalid, spec.name)
		d.at(def.Range(), "Invalid value", "%q is an object: write { name = value, ... }.", spec.name)
		return
	}
	inner := &block{name: spec.name, args: spec.args}
	for _, item := range cons.Items {
		at := item.KeyExpr.Range()
		name, ok := keyName(item.KeyExpr)
		if !ok {
			d.at(at, "Invalid name", "The names in an object must be plain.")
			continue
		}
		i := slices.IndexFunc(spec.args, func(x arg) bool { return x.name == name })
		if i < 0 {
			d.unknownArgument(inner, name, at)
			continue
		}
		full := spec.name + "." + name
		if s.has(full) {
			d.at(at, "Attribute redefined", "%q is set twice in this object.", name)
		}
		if spec.args[i].later {
			d.unsupported(at, full)
			continue
		}
		d.member(s, full, &spec.args[i], item.ValueExpr)
	}
	for i := range spec.args {
		if a := &spec.args[i]; a.required && !s.has(spec.name+"."+a.name) && !s.failed(spec.name+"."+a.name) {
			d.absent(e.Range(), "Missing required argument", "The argument %q is required in %q, but no definition was found.", a.name, spec.name)
		}
	}
}

// member keeps the value of an argument in an object by its full name.
func (d *decoder) member(s *section, full string, a *arg, e hclsyntax.Expression) {
	if v, ok := d.value(a, e); ok {
		s.values[full] = setting{v, e.Range()}
	} else {
		s.invalid = append(s.invalid, full)
	}
}

// keyName returns the name that a key of an object stands for.
func keyName(e hclsyntax.Expression) (string, bool) {
	key, ok := e.(*hclsyntax.ObjectConsKeyExpr)
	if !ok || key.ForceNonLiteral {
		return "", false
	}
	if name := hcl.ExprAsKeyword(key.Wrapped); name != "" {
		return name, true
	}
	if t, ok := key.Wrapped.(*hclsyntax.TemplateExpr); ok && t.IsStringLiteral() {
		v, _ := t.Value(nil)
		return v.AsString(), true
	}
	return "", false
}

// define reports s if a block of the same kind has its name already, else takes
// the name.
func (d *decoder) define(kind string, s *section) {
	if s.label == "" {
		return
	}
	name := kind + " " + s.label
	if first, taken := d.names[name]; taken {
		d.duplicate(kind, s, first)
		return
	}
	d.names[name] = s.at
}

func (d *decoder) duplicate(kind string, s *section, first hcl.Range) {
	d.at(s.at, "Duplicate name", "Another %s is named %q already, at line %d.", kind, s.label, first.Start.Line)
}
