package main

import (
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A table is lines of columns for people. Colours are not counted as width.
type table struct{ rows [][]cell }

type cell struct {
	text  string
	paint func(string) string // nil: plain
}

// add appends a row; what is not printable in it is escaped.
func (t *table) add(cells ...cell) {
	for i := range cells {
		cells[i].text = printable(cells[i].text)
	}
	t.rows = append(t.rows, cells)
}

// head appends a row of titles.
func (t *table) head(p painter, titles ...string) {
	row := make([]cell, len(titles))
	for i, title := range titles {
		row[i] = cell{title, p.bold}
	}
	t.add(row...)
}

// write writes the columns, each as wide as it must be, two blanks apart.
func (t *table) write(out io.Writer) error {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		blanks := 0
		for i, c := range row {
			if c.text != "" {
				b.WriteString(strings.Repeat(" ", blanks))
				blanks = 0
				if c.paint != nil {
					b.WriteString(c.paint(c.text))
				} else {
					b.WriteString(c.text)
				}
			}
			blanks += widths[i] - utf8.RuneCountInString(c.text) + 2
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// plain is a row without colours.
func plain(texts ...string) []cell {
	row := make([]cell, len(texts))
	for i, text := range texts {
		row[i].text = text
	}
	return row
}

// printable escapes what could make a terminal do things: keys of limits are
// what clients send.
func printable(s string) string {
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// ago is how long t is before now, in one unit; "" for no time.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return brief(now.Sub(t))
}

// brief is d in the largest unit that it has some of.
func brief(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + "d"
}
