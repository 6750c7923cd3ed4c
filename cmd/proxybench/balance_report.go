package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A trial is what came of one contestant.
type trial struct {
	name   string
	rounds []round
}

// A round is one time through the script.
type round struct {
	tally
	length time.Duration
	asked  int64 // requests that servers got
	probed int64 // health checks that they got
}

// tooLong is more than the slowest server takes that is not stuck.
const tooLong = 500 * time.Millisecond

// sum adds the rounds up, and counts the requests that took too long.
func (t trial) sum() (all round, late int) {
	all = round{tally: tally{failures: make(map[string]int)}}
	for _, r := range t.rounds {
		all.requests += r.requests
		all.length += r.length
		all.asked += r.asked
		all.probed += r.probed
		late += r.latencies.over(tooLong)
		for kind, n := range r.failures {
			all.failures[kind] += n
		}
	}
	return all, late
}

// millis is the median over the rounds, the lower of two, of a percentile: a
// minute in which something else ran is left out so.
func (t trial) millis(percentile float64) string {
	var all []time.Duration
	for _, r := range t.rounds {
		all = append(all, r.latencies.percentile(percentile))
	}
	slices.Sort(all)
	return fmt.Sprintf("%.1f", float64(all[(len(all)-1)/2])/float64(time.Millisecond))
}

// report writes a table that is readable as it is and in Markdown.
func report(w io.Writer, trials []trial) error {
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprint(table, "| \t| requests\t| errors\t| ratio\t| p50 ms\t| p95 ms\t| p99 ms\t| max ms\t| over 0.5 s\t| tries\t| probes/s\t| kinds\t|\n")
	fmt.Fprint(table, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|\n")
	for _, t := range trials {
		sum, late := t.sum()
		n := float64(max(1, sum.requests))
		fmt.Fprintf(table, "| %s\t| %d\t| %d\t| %.3f %%\t| %s\t| %s\t| %s\t| %s\t| %d\t| %.3f\t| %.0f\t| %s\t|\n",
			t.name, sum.requests, sum.failed(), 100*float64(sum.failed())/n,
			t.millis(50), t.millis(95), t.millis(99), t.millis(100), late,
			float64(sum.asked)/n, float64(sum.probed)/sum.length.Seconds(), sum.kinds())
	}
	return table.Flush()
}

// kinds lists the failures, the most frequent kind first.
func (t tally) kinds() string {
	all := slices.SortedFunc(maps.Keys(t.failures), func(a, b string) int {
		return cmp.Or(-cmp.Compare(t.failures[a], t.failures[b]), cmp.Compare(a, b))
	})
	for i, kind := range all {
		all[i] = fmt.Sprintf("%d %s", t.failures[kind], kind)
	}
	return strings.Join(all, ", ")
}
