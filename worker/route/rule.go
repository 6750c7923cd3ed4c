package route

import "regexp"

// A Rule says which requests a route takes: those that meet all of its fields.
// The zero value takes every request.
type Rule struct {
	// Hosts are names or IP addresses in lower case, without a port; none stands
	// for any host, also for a request without one. "*.example.com" stands for
	// whatever has something before ".example.com". Addresses are compared as
	// text; an IPv6 address may stand in brackets.
	Hosts []string

	Paths       []Pattern // none: any path
	Methods     []string  // compared with case, RFC 9110 section 9.1; none: any
	Conditional bool      // the last word is that of Conditions
}

// A Pattern stands for a set of paths, in the spelling of Normalize: Compile
// brings an Exact or Prefix into it, and decodes the escapes of a Glob.
type Pattern struct {
	Kind   Kind
	Text   string         // of all but Regex
	Regexp *regexp.Regexp // of Regex
}

// A Kind says how a Pattern is read.
type Kind uint8

const (
	Exact  Kind = iota // the path is Text
	Prefix             // the path starts with Text; "/" is every path, also the "*" of OPTIONS
	Glob               // in Text, * is any run without "/", ** any run, ? one byte but "/"
	Regex              // Regexp matches somewhere in the path
)

// Conditions answers for the rules that are Conditional.
type Conditions interface {
	// Holds reports whether the request meets the condition of that rule. It is
	// asked in the order of the rules, and only if all else matches.
	Holds(rule int) bool
}
