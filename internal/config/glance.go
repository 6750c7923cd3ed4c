package config

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// maxWords bounds the words and signs of a file: hcl takes some 200 bytes for
// each while it parses.
const maxWords = 2_000_000

// words counts the words and signs of src, about as many as its tokens.
func words(src []byte) (n int) {
	inWord := false
	for _, c := range src {
		switch {
		case isAlphanumeric(c) || c == '_' || c >= 0x80 || inWord && (c == '-' || c == '.'):
			if !inWord {
				n++
			}
			inWord = true
		case c == ' ' || c == '\t' || c == '\r':
			inWord = false
		default:
			n++
			inWord = false
		}
	}
	return n
}

// A glancer follows the brackets and quotes of a file.
type glancer struct {
	src    []byte
	levels []glanceLevel
	depth  int // levels and operators of them all
}

type glanceLevel struct {
	level
	open byte // '{', '[', '(', '"', or '$' for an insertion into a text; 0 outside of all
}

// glance reports whether src is surely nothing that survey would refuse. It
// spares an ordinary file to be split into tokens twice, a third of the time
// that a large one takes. Whatever is rare is left to survey.
func glance(src []byte) bool {
	if !utf8.Valid(src) { // the scanner reads what follows a broken character in ways of its own
		return false
	}
	g := glancer{src: src, levels: make([]glanceLevel, 1, maxDepth), depth: 1}
	digits := 0 // in a row, with what else a number has
	for i := 0; i < len(src); {
		if digits++; strings.IndexByte("0123456789.eE+-", src[i]) < 0 {
			digits = 0
		}
		n := g.code(i)
		top := &g.levels[len(g.levels)-1]
		if n == 0 || g.depth > maxDepth || top.open == '"' && top.pieces > maxPieces || digits > maxDigits {
			return false
		}
		i += n
	}
	return len(g.levels) == 1
}

// code takes what is at i and returns its length, 0 to give up.
func (g *glancer) code(i int) int {
	c, next := g.src[i], byte(0)
	if i+1 < len(g.src) {
		next = g.src[i+1]
	}
	top := &g.levels[len(g.levels)-1]
	if top.open == '"' {
		return g.text(c, next)
	}
	switch c {
	case '{', '[', '(', '"':
		g.push(c)
	case '}', ']', ')':
		return g.pop(c)
	case '!', '-', '?':
		top.operators++
		g.depth++
	case '*': // see survey
		g.levels[max(len(g.levels)-2, 0)].operators++
		g.depth++
	case ',', '=':
		if c == ',' || next != '=' && next != '>' && (i == 0 || strings.IndexByte("=!<>", g.src[i-1]) < 0) {
			g.depth -= top.operators
			top.operators = 0
		}
	case '#', '/', '<', ':':
		return g.rare(i, c, next)
	}
	return 1
}

// rare is code for what begins a comment, a heredoc or a qualified name.
func (g *glancer) rare(i int, c, next byte) int {
	switch {
	case c == '#' || c == '/' && next == '/':
		if end := bytes.IndexByte(g.src[i:], '\n'); end > 0 {
			return end
		}
		return len(g.src) - i
	case c == '/' && next == '*', c != '/' && c == next:
		return 0
	}
	return 1
}

// text is code within quotes.
func (g *glancer) text(c, next byte) int {
	top := &g.levels[len(g.levels)-1]
	switch {
	case c == '"':
		return g.pop(c)
	case c == '\\':
		if strings.IndexByte(`nrt"\uU`, next) < 0 {
			return 0
		}
		return 2
	case c == '\n' || c == '%' && next == '{' || (c == '$' || c == '%') && next == c:
		return 0
	case c == '$' && next == '{':
		top.pieces++ // the text behind it
		g.push('$')
		return 2
	case c == '$' || c == '%':
		top.pieces += 2
	}
	return 1
}

func (g *glancer) push(open byte) {
	g.levels[len(g.levels)-1].pieces++
	g.levels = append(g.levels, glanceLevel{level{pieces: 1}, open})
	g.depth++
}

// pop closes what c closes, or gives up.
func (g *glancer) pop(c byte) int {
	top := g.levels[len(g.levels)-1]
	if closing(top.open) != c {
		return 0
	}
	g.depth -= 1 + top.operators
	g.levels = g.levels[:len(g.levels)-1]
	return 1
}

// closing returns what closes a bracket or a quote.
func closing(open byte) byte {
	switch open {
	case '{', '$':
		return '}'
	case '[':
		return ']'
	case '(':
		return ')'
	case '"':
		return '"'
	}
	return 0
}
