package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"
)

// A table is what came out of a scenario.
type table struct {
	scenario scenario
	rows     []row
}

// A row is one peer's. It is empty if no round of the peer came to an end.
type row struct {
	peer peer
	all  []measurement
}

// median returns the round whose value is in the middle, the lower of two. Its
// other columns are of the same round; only failures are of all.
func (r row) median() (measurement, bool) {
	if len(r.all) == 0 {
		return measurement{}, false
	}
	sorted := slices.SortedFunc(slices.Values(r.all), func(a, b measurement) int { return cmp.Compare(a.value, b.value) })
	m := sorted[(len(sorted)-1)/2]
	m.failed = 0
	for _, x := range r.all {
		m.failed += x.failed
	}
	return m, true
}

// print writes t as text, with a blank line before it.
func (t table) print(w io.Writer) {
	if len(t.rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%-10s %10s %8s %8s %8s %7s %7s %7s %7s\n",
		t.scenario.name, t.scenario.unit(), "vs relay", "vs nginx", "req/s", "p50 ms", "p99 ms", "RSS MB", "failed")
	for _, r := range t.rows {
		m, ok := r.median()
		if !ok {
			fmt.Fprintf(w, "%-10s did not run\n", r.peer.name)
			continue
		}
		fmt.Fprintf(w, "%-10s %10.2f %8s %8s %8s %7s %7s %7.1f %7d\n", r.peer.name, m.value, t.ratio(m, "relay"), t.ratio(m, "nginx"),
			t.ofTraffic(fmt.Sprintf("%.0f", m.perSecond)), t.ofTraffic(milliseconds(m.p50)), t.ofTraffic(milliseconds(m.p99)), float64(m.resident)/1e6, m.failed)
	}
}

// ratio returns m's value as a multiple of name's.
func (t table) ratio(m measurement, name string) string {
	for _, r := range t.rows {
		if of, ok := r.median(); ok && r.peer.name == name && of.value > 0 {
			return fmt.Sprintf("%.2f", m.value/of.value)
		}
	}
	return "-"
}

// ofTraffic blanks what says nothing when connections are only held.
func (t table) ofTraffic(text string) string {
	if t.scenario.hold {
		return "-"
	}
	return text
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond))
}
