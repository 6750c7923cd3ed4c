package config

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Bounds of regular expressions. Repetitions multiply: a short text may compile
// to much, and a file may have many.
const (
	maxPattern    = 4096    // bytes of one, or of any pattern of paths
	maxProgram    = 20_000  // about the instructions of one
	maxProgramSum = 500_000 // of all in a file
)

// regexp compiles a regular expression. Its error is a sentence without its end.
func (d *decoder) regexp(text string) (*regexp.Regexp, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("a regular expression may have %d bytes", maxPattern)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	size := programSize(tree)
	if d.programs += size; size > maxProgram || d.programs > maxProgramSum {
		return nil, fmt.Errorf("this regular expression, or all up to here together, would take too much memory")
	}
	return regexp.Compile(text)
}

// programSize estimates the instructions that re compiles to.
func programSize(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += programSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxProgram+1)
}

// regexMatch builds regex_match(text, "re"); it is false for null.
func regexMatch(d *decoder, e *hclsyntax.FunctionCallExpr, args []node) (node, bool) {
	pattern, at, ok := d.loadTime(e, args, 1)
	if !ok {
		return node{}, false
	}
	re, err := d.regexp(pattern)
	if err != nil {
		d.at(at, "Invalid regular expression", "%v.", err)
		return node{}, false
	}
	text := args[0].asText()
	return folded(node{kind: boolNode, truth: func(s Subject, buf *[]byte) bool {
		start := len(*buf)
		b := text(s, buf)
		*buf = (*buf)[:start]
		return b != nil && re.Match(b)
	}}, args)
}
