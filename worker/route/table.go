package route

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// A Table holds compiled rules.
type Table struct {
	rules  []matcher
	always bool // the first rule takes every request

	exact   map[string]*scope // by host
	wild    map[string]*scope // by what follows "*."
	longest int               // longest key of wild, in bytes
	any     *scope            // the rules without hosts
}

// A matcher is what is left to check of a rule once host and path match.
type matcher struct {
	methods     []string
	conditional bool
}

func (m *matcher) allows(method []byte) bool {
	for _, s := range m.methods {
		if string(method) == s {
			return true
		}
	}
	return len(m.methods) == 0
}

// A scope holds the rules of one host of the rules, and leads to those of the
// wildcards that cover it, at last to those without hosts.
type scope struct {
	paths *paths
	wider *scope
}

// Compile returns the Table of rules, which the caller may not change afterwards.
func Compile(rules []Rule) *Table {
	t := &Table{rules: make([]matcher, len(rules)), exact: map[string]*scope{}, wild: map[string]*scope{}}
	exact, wild, hostless := map[string][]int32{}, map[string][]int32{}, []int32(nil)
	for i, r := range rules {
		t.rules[i] = matcher{r.Methods, r.Conditional}
		for _, h := range r.Hosts {
			if suffix, ok := strings.CutPrefix(h, "*."); ok {
				add(wild, suffix, int32(i))
			} else {
				add(exact, h, int32(i))
			}
		}
		if len(r.Hosts) == 0 {
			hostless = append(hostless, int32(i))
		}
	}
	t.always = len(rules) > 0 && len(rules[0].Hosts)+len(rules[0].Paths)+len(rules[0].Methods) == 0 && !rules[0].Conditional

	b := builder{parts: partsOf(rules), built: map[string]*paths{}}
	t.any = &scope{paths: b.paths(hostless)}
	byLength := func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) }
	for _, suffix := range slices.SortedFunc(maps.Keys(wild), byLength) { // the wider first
		t.wild[suffix] = &scope{b.paths(wild[suffix]), t.wildcard([]byte(suffix))}
		t.longest = len(suffix)
	}
	for host, list := range exact {
		t.exact[host] = &scope{b.paths(list), t.wildcard([]byte(host))}
	}
	return t
}

// add appends rule to the list of a host, once.
func add(lists map[string][]int32, host string, rule int32) {
	var buf [maxHost]byte
	name := canonical(&buf, []byte(host))
	if list := lists[string(name)]; len(name) > 0 && (len(list) == 0 || list[len(list)-1] != rule) {
		lists[string(name)] = append(list, rule)
	}
}

// A builder makes the paths of hosts. Hosts that the same rules name share
// theirs: rules with many hosts and many paths cost their sum, not their product.
type builder struct {
	parts []parts // of each rule
	built map[string]*paths
}

// paths returns the paths of the rules in list, which is in order.
func (b *builder) paths(list []int32) *paths {
	var signature []byte
	for _, rule := range list {
		signature = binary.AppendUvarint(signature, uint64(rule))
	}
	p := b.built[string(signature)]
	if p != nil {
		return p
	}
	p = new(paths)
	var keys []key
	for _, rule := range list {
		keys = append(keys, b.parts[rule].keys...)
		p.patterns = append(p.patterns, b.parts[rule].patterns...)
	}
	slices.SortFunc(keys, key.compare)
	if len(keys) > 0 {
		p.root = newNode(keys, 0)
	}
	b.built[string(signature)] = p
	return p
}
