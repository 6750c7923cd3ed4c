package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Exit codes: a script learns from them whether the figures can be trusted.
const (
	exitFailures = 1 // a proxy failed requests or did not run
	exitUsage    = 2
)

// roles are what this program is as a child of its own.
var roles = map[string]func(args []string) error{
	"relay":  runRelay,
	"origin": runOrigin,
	"load":   runLoad,
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run does what args say and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && roles[args[0]] != nil {
		if err := roles[args[0]](args[1:]); err != nil {
			fmt.Fprintf(stderr, "error: %s: %v\n", args[0], err)
			return exitFailures
		}
		return 0
	}
	w, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "error: %v\n'proxybench -h' lists the flags\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := w.run(ctx, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return exitFailures
	}
	return 0
}

// A work is something to measure.
type work interface {
	run(ctx context.Context, stdout, stderr io.Writer) error
}

// parse says what args ask for.
func parse(args []string, stderr io.Writer) (work, error) {
	if len(args) > 0 {
		switch args[0] {
		case "balance":
			return parseBalance(args[1:], stderr)
		case "reuse":
			return parseReuse(args[1:], stderr)
		}
	}
	return parsePlan(args, stderr)
}

// parseFlags takes all of args for flags.
func parseFlags(flags *flag.FlagSet, args []string) error {
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errors.New("flags are wrong") // which, the flag set has said already
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return nil
}

// A plan is which costs to measure.
type plan struct {
	scenarios []scenario
	peers     []peer
	rounds    int
	length    time.Duration // of one measurement; warming up takes half as long
	proxyd    string        // path
}

// longest bounds a measurement, and with it a forgotten run.
const longest = 10 * time.Minute

// parsePlan reads the flags. An unknown name is an error, a peer that is not
// installed is not: that is found out when it should start.
func parsePlan(args []string, stderr io.Writer) (plan, error) {
	flags := flag.NewFlagSet("proxybench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, "usage: proxybench [flags]\n       proxybench balance|reuse [flags]\n\nMeasures proxyd beside a relay floor, nginx and haproxy; docs/performance.md tells how.\nbalance and reuse are of docs/balancing.md.\n\n")
		flags.PrintDefaults()
	}
	names := flags.String("scenario", namesOf(scenarios), "what to measure, separated by commas")
	who := flags.String("peers", namesOf(peers), "whom to measure, separated by commas")
	rounds := flags.Int("rounds", 3, "measurements of each peer; the median is shown")
	seconds := flags.Float64("seconds", 1, "of load for a measurement")
	proxyd := flags.String("proxyd", "./proxyd", "proxyd's `program`")
	if err := parseFlags(flags, args); err != nil {
		return plan{}, err
	}
	p := plan{rounds: *rounds, length: time.Duration(*seconds * float64(time.Second)), proxyd: *proxyd}
	switch {
	case p.rounds < 1 || p.rounds > 1000:
		return plan{}, fmt.Errorf("-rounds %d: want 1 to 1000", p.rounds)
	case p.length < 50*time.Millisecond || p.length > longest:
		return plan{}, fmt.Errorf("-seconds %g: want 0.05 to %g", *seconds, longest.Seconds())
	}
	var err error
	if p.scenarios, err = choose("-scenario", *names, scenarios); err != nil {
		return plan{}, err
	}
	p.peers, err = choose("-peers", *who, peers)
	return p, err
}

type named interface{ label() string }

func namesOf[T named](all []T) string {
	var names []string
	for _, x := range all {
		names = append(names, x.label())
	}
	return strings.Join(names, ",")
}

// choose returns those of all that list names, in the order of all.
func choose[T named](option, list string, all []T) ([]T, error) {
	wanted := strings.Split(list, ",")
	for _, w := range wanted {
		if !slices.ContainsFunc(all, func(x T) bool { return x.label() == w }) {
			return nil, fmt.Errorf("%s: got %q; want some of %s", option, w, namesOf(all))
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(x T) bool { return !slices.Contains(wanted, x.label()) }), nil
}
