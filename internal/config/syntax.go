package config

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Bounds that hcl's parser does not have. It recurses on nesting, and some of
// its work grows with the square of a template's pieces or a number's digits.
const (
	maxDepth  = 100
	maxPieces = 2000 // lines and insertions of one text
	maxDigits = 100
)

// body parses the text of the file into a syntax tree. complete is false if
// there are errors of syntax: then parts of the tree may be missing. The tree
// is nil if the text must not be parsed at all.
func (m *mistakes) body() (tree *hclsyntax.Body, complete bool) {
	start := hcl.InitialPos
	if words(m.src) > maxWords {
		m.whole("File too large", "It may have %d words and signs.", maxWords)
		return nil, false
	}
	if !glance(m.src) {
		tokens, _ := hclsyntax.LexConfig(m.src, m.file, start) // ParseConfig finds its errors again
		if !m.survey(tokens) {
			return nil, false
		}
	}
	file, diags := hclsyntax.ParseConfig(m.src, m.file, start)
	broken := map[int]bool{}
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		at := hcl.Range{Start: start, End: start}
		if d.Subject != nil {
			at = *d.Subject
		}
		m.at(at, d.Summary, "%s", d.Detail)
		broken[at.Start.Line] = true
	}
	m.broken = broken
	tree, _ = file.Body.(*hclsyntax.Body)
	return tree, !diags.HasErrors()
}

// level counts what makes the parser recurse or repeat within one bracket.
type level struct{ operators, pieces int }

// survey walks the tokens before hcl's parser does and reports the first that
// would lead it too deep or cost it too long.
func (m *mistakes) survey(tokens hclsyntax.Tokens) bool {
	levels := make([]level, 1, 16)
	operators := 0 // of all levels
	for i := range tokens {
		t := &tokens[i]
		top := &levels[len(levels)-1]
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen,
			hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp:
			top.pieces++
			levels = append(levels, level{})
		case hclsyntax.TokenTemplateControl: // %{ if } nests in a text without nesting in brackets
			top.pieces++
			top.operators++
			operators++
			levels = append(levels, level{})
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen,
			hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			if len(levels) > 1 {
				operators -= top.operators
				levels = levels[:len(levels)-1]
			}
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenQuestion:
			top.operators++
			operators++
		case hclsyntax.TokenStar: // [*] recurses outside of its brackets
			levels[max(len(levels)-2, 0)].operators++
			operators++
		case hclsyntax.TokenComma, hclsyntax.TokenEqual: // a new expression begins
			operators -= top.operators
			top.operators = 0
		case hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit:
			top.pieces++
		}
		if !m.bearable(t, len(levels)+operators, top.pieces) {
			return false
		}
	}
	return true
}

// bearable reports whether the parser may go on to t, and says why not.
func (m *mistakes) bearable(t *hclsyntax.Token, depth, pieces int) bool {
	text := t.Type == hclsyntax.TokenQuotedLit || t.Type == hclsyntax.TokenStringLit ||
		t.Type == hclsyntax.TokenTemplateInterp || t.Type == hclsyntax.TokenTemplateControl
	switch {
	case depth > maxDepth:
		m.at(t.Range, "Nested too deep", "Blocks, brackets and operators may be nested %d deep.", maxDepth)
	case text && pieces > maxPieces:
		m.at(t.Range, "Text too long", "A text may have %d lines and insertions. Use file() for a long one.", maxPieces)
	case t.Type == hclsyntax.TokenNumberLit && len(t.Bytes) > maxDigits:
		m.at(t.Range, "Number too long", "A number may have %d digits.", maxDigits)
	case t.Type == hclsyntax.TokenDoubleColon:
		m.at(t.Range, "Invalid character", "\"::\" has no meaning here. Functions have plain names, such as lower.")
	default:
		return true
	}
	return false
}
