package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// A Diagnostic is one mistake in a configuration.
type Diagnostic struct {
	File       string `json:"file"`
	Line       int    `json:"line,omitempty"`        // from 1; 0: the file as a whole
	Column     int    `json:"column,omitempty"`      // from 1, in characters
	Length     int    `json:"length,omitempty"`      // characters concerned, at least 1 if Line is set
	Caret      int    `json:"caret,omitempty"`       // characters of SourceLine before the first one concerned
	Summary    string `json:"summary"`               // what kind of mistake
	Detail     string `json:"detail"`                // which, and what to write instead
	SourceLine string `json:"source_line,omitempty"` // printable; cut where it is very long
}

// Errors are all mistakes of a configuration in the order of the file.
type Errors []Diagnostic

// Error returns the mistakes as text for a terminal, each with its line of
// source and carets below it.
func (e Errors) Error() string {
	parts := make([]string, len(e))
	for i := range e {
		parts[i] = e[i].String()
	}
	return strings.Join(parts, "\n\n")
}

// String returns the mistake as text for a terminal, without a last newline.
func (d Diagnostic) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "error: %s\n --> %s", d.Summary, printable(d.File))
	if d.Line > 0 {
		number := fmt.Sprintf("%4d", d.Line)
		fmt.Fprintf(&b, ":%d:%d\n%s | %s\n%*s | %s%s", d.Line, d.Column, number, d.SourceLine,
			len(number), "", indent(d.SourceLine, d.Caret), strings.Repeat("^", max(d.Length, 1)))
	}
	fmt.Fprintf(&b, "\n     = %s", strings.ReplaceAll(d.Detail, "\n", "\n       "))
	return b.String()
}

// indent returns blanks as wide as the first n characters of line.
func indent(line string, n int) string {
	var b strings.Builder
	for _, r := range line {
		if n--; n < 0 {
			break
		}
		switch {
		case r == '\t':
			b.WriteByte('\t')
		case !unicode.Is(unicode.Mn, r):
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// maxMistakes bounds what is kept: a file of noise is not a million mistakes.
const maxMistakes = 500

// mistakes collects what is wrong with one file.
type mistakes struct {
	file    string
	src     []byte
	list    Errors
	dropped int
	broken  map[int]bool // lines that did not parse: what they say is not to be judged
}

// at adds a mistake about the text in r.
func (m *mistakes) at(r hcl.Range, summary, format string, args ...any) {
	if m.broken[r.Start.Line] {
		return
	}
	if len(m.list) >= maxMistakes {
		m.dropped++
		return
	}
	d := Diagnostic{File: m.file, Summary: summary, Detail: fmt.Sprintf(format, args...)}
	d.Line, d.Column = max(r.Start.Line, 1), max(r.Start.Column, 1)
	d.SourceLine, d.Caret, d.Length = excerpt(m.src, r.Start.Byte, r.End.Byte)
	m.list = append(m.list, d)
}

// whole adds a mistake about the file as such.
func (m *mistakes) whole(summary, format string, args ...any) {
	m.list = append(m.list, Diagnostic{File: m.file, Summary: summary, Detail: fmt.Sprintf(format, args...)})
}

// err returns the mistakes as an error: sorted, each told once; nil if none.
func (m *mistakes) err() error {
	if len(m.list) == 0 {
		return nil
	}
	slices.SortStableFunc(m.list, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Detail, b.Detail))
	})
	m.list = slices.Compact(m.list)
	if m.dropped > 0 {
		m.whole("Too many mistakes", "%d more are not shown.", m.dropped)
	}
	return m.list
}

// maxBefore and maxAfter bound the bytes of a source line that are shown before
// and after the start of what is wrong.
const maxBefore, maxAfter = 120, 160

// excerpt returns the line of src that holds the byte at start, the number of
// characters before it, and the number of characters from there to end or to
// the end of the line, at least 1.
func excerpt(src []byte, start, end int) (line string, before, length int) {
	start = min(max(start, 0), len(src))
	end = min(max(end, start), len(src))
	from := start
	for from > 0 && src[from-1] != '\n' && start-from < maxBefore {
		from--
	}
	for from < start && !utf8.RuneStart(src[from]) {
		from++
	}
	to := start
	for to < len(src) && src[to] != '\n' && src[to] != '\r' && to-start < maxAfter {
		to++
	}
	for to > start && to < len(src) && !utf8.RuneStart(src[to]) {
		to--
	}
	head, tail := printable(string(src[from:start])), printable(string(src[start:to]))
	if from > 0 && src[from-1] != '\n' {
		head = "…" + head
	}
	marked := printable(string(src[start:min(end, to)]))
	if to < len(src) && src[to] != '\n' && src[to] != '\r' {
		tail += "…"
	}
	return head + tail, utf8.RuneCountInString(head), max(utf8.RuneCountInString(marked), 1)
}

// printable keeps hostile bytes off the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}
