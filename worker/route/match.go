package route

import (
	"math"
	"slices"
	"strings"
)

// none is the index of no rule.
const none = math.MaxInt32

// Match returns the index of the first rule that a request meets, -1 if there is
// none. The host is as the client sent it, with or without port, in any case,
// nil if it sent none; one of more than 255 bytes meets rules without hosts
// only. The path is what Normalize returned. c may be nil if no rule is
// Conditional. Nothing is kept and nothing allocated.
func (t *Table) Match(host, path, method []byte, c Conditions) int {
	if t.always {
		return 0
	}
	s := t.scope(host)
	q := query{rules: t.rules, path: path, method: method}
	for {
		rule := q.first(s)
		if rule == none {
			return -1
		}
		if !t.rules[rule].conditional || c.Holds(int(rule)) {
			return int(rule)
		}
		q.from = rule + 1
	}
}

// A query is the search for the first rule from a given one on that a request
// meets but for its condition.
type query struct {
	rules        []matcher
	path, method []byte
	from         int32
	best         int32 // the first found so far
}

// first returns that rule among those of s and wider scopes, none if there is
// none. All trees come before all patterns, which cost more.
func (q *query) first(s *scope) int32 {
	q.best = none
	for at := s; at != nil; at = at.wider {
		q.walk(&at.paths.root)
	}
	for from := q.from; ; {
		list := nextPatterns(s, from)
		if len(list) == 0 || list[0].rule >= q.best {
			return q.best
		}
		if q.matchesAny(list) {
			return list[0].rule
		}
		from = list[0].rule + 1
	}
}

// walk takes the rules of the nodes on the way of the path through the tree.
func (q *query) walk(n *node) {
	rest := q.path
	for len(rest) >= len(n.label) && string(rest[:len(n.label)]) == n.label {
		rest = rest[len(n.label):]
		q.take(n.prefix)
		if len(rest) == 0 {
			q.take(n.exact)
			return
		}
		i := strings.IndexByte(n.first, rest[0])
		if i < 0 {
			return
		}
		n = &n.children[i]
	}
}

// take lowers best to the first of the rules in list that the method meets.
func (q *query) take(list []int32) {
	i := 0
	if q.from > 0 {
		i, _ = slices.BinarySearch(list, q.from)
	}
	for ; i < len(list) && list[i] < q.best; i++ {
		if q.rules[list[i]].allows(q.method) {
			q.best = list[i]
		}
	}
}

// nextPatterns returns the patterns of s and wider scopes that begin with those
// of the first rule at or after from. Going through the rules in order, scopes
// mixed, no pattern is tried twice when conditions fail.
func nextPatterns(s *scope, from int32) (next []pattern) {
	for ; s != nil; s = s.wider {
		list := s.paths.patterns
		i, _ := slices.BinarySearchFunc(list, from, func(p pattern, from int32) int { return int(p.rule - from) })
		if i < len(list) && (next == nil || list[i].rule < next[0].rule) {
			next = list[i:]
		}
	}
	return next
}

// matchesAny reports whether the first rule in list allows the method and has a
// pattern that the path matches.
func (q *query) matchesAny(list []pattern) bool {
	rule := list[0].rule
	if !q.rules[rule].allows(q.method) {
		return false
	}
	for i := range list {
		if list[i].rule != rule {
			return false
		}
		if list[i].match(q.path) {
			return true
		}
	}
	return false
}
