package route

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// A paths holds the rules of one scope by their paths.
type paths struct {
	root     node      // of exact paths and prefixes
	patterns []pattern // in the order of the rules
}

// A pattern is a path of a rule that has no place in the tree.
type pattern struct {
	rule   int32
	glob   *glob
	regexp *regexp.Regexp // if glob is nil
}

func (p *pattern) match(path []byte) bool {
	if p.glob != nil {
		return p.glob.match(path)
	}
	return p.regexp.Match(path)
}

// A node of the radix tree stands for the text on the way to it from the root,
// its own label included.
type node struct {
	label    string
	first    string // the first byte of each child's label
	children []node
	exact    []int32 // rules whose path is that text, in order
	prefix   []int32 // rules whose path starts with it, in order
}

// A key is the place of a rule in the tree.
type key struct {
	text string
	rule int32
	kind Kind // Exact or Prefix
}

func (k key) compare(other key) int {
	return cmp.Or(strings.Compare(k.text, other.text), cmp.Compare(k.rule, other.rule))
}

// newNode returns the node above keys: one or more, sorted, with the same first
// depth bytes, which are those of the nodes above it.
func newNode(keys []key, depth int) node {
	end := depth
	for a, b := keys[0].text, keys[len(keys)-1].text; end < len(a) && end < len(b) && a[end] == b[end]; {
		end++
	}
	n := node{label: keys[0].text[depth:end]}
	for len(keys) > 0 && len(keys[0].text) == end {
		if keys[0].kind == Exact {
			n.exact = append(n.exact, keys[0].rule)
		} else {
			n.prefix = append(n.prefix, keys[0].rule)
		}
		keys = keys[1:]
	}
	var first []byte
	for len(keys) > 0 {
		c := keys[0].text[end]
		next := slices.IndexFunc(keys, func(k key) bool { return k.text[end] != c })
		if next < 0 {
			next = len(keys)
		}
		first = append(first, c)
		n.children = append(n.children, newNode(keys[:next], end))
		keys = keys[next:]
	}
	n.first = string(first)
	return n
}

// The parts of a rule are its paths, compiled.
type parts struct {
	keys     []key
	patterns []pattern
}

func partsOf(rules []Rule) []parts {
	list := make([]parts, len(rules))
	for i, r := range rules {
		rule, p := int32(i), &list[i]
		for _, path := range r.Paths {
			switch path.Kind {
			case Exact, Prefix:
				p.keys = append(p.keys, key{keyText(path), rule, path.Kind})
			case Glob:
				p.patterns = append(p.patterns, pattern{rule: rule, glob: newGlob(path.Text)})
			case Regex:
				p.patterns = append(p.patterns, pattern{rule: rule, regexp: path.Regexp})
			}
		}
		if len(r.Paths) == 0 {
			p.keys = []key{{"", rule, Prefix}}
		}
	}
	return list
}

func keyText(p Pattern) string {
	text := string(Normalize(nil, []byte(p.Text)))
	if p.Kind == Prefix && text == "/" {
		return "" // the asterisk of OPTIONS has no slash
	}
	return text
}
