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
	tally  tally
	length time.Duration // of the script
	asked  int64         // requests that servers got
	probed int64         // health checks that they got
}

// report writes a table that is readable as it is and in Markdown.
func report(w io.Writer, trials []trial) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprint(t, "| \t| requests\t| errors\t| ratio\t| p50 ms\t| p95 ms\t| p99 ms\t| max ms\t| tries\t| probes/s\t| kinds\t|\n")
	fmt.Fprint(t, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|\n")
	for _, x := range trials {
		n := float64(max(1, x.tally.requests))
		fmt.Fprintf(t, "| %s\t| %d\t| %d\t| %.3f %%\t| %s\t| %s\t| %s\t| %s\t| %.3f\t| %.0f\t| %s\t|\n",
			x.name, x.tally.requests, x.tally.failed(), 100*float64(x.tally.failed())/n,
			x.millis(50), x.millis(95), x.millis(99), x.millis(100),
			float64(x.asked)/n, float64(x.probed)/x.length.Seconds(), x.kinds())
	}
	return t.Flush()
}

func (x trial) millis(percentile float64) string {
	return fmt.Sprintf("%.1f", float64(x.tally.latencies.percentile(percentile))/float64(time.Millisecond))
}

// kinds lists the failures, the most frequent kind first.
func (x trial) kinds() string {
	all := slices.SortedFunc(maps.Keys(x.tally.failures), func(a, b string) int {
		return cmp.Or(-cmp.Compare(x.tally.failures[a], x.tally.failures[b]), cmp.Compare(a, b))
	})
	for i, kind := range all {
		all[i] = fmt.Sprintf("%d %s", x.tally.failures[kind], kind)
	}
	return strings.Join(all, ", ")
}
