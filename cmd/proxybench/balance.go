package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// A balancing is a comparison of how proxies get on with servers that fail. Each
// gets the same requests and the same script of failures.
type balancing struct {
	contestants []contestant
	script      script
	rate        float64 // requests a second
	length      time.Duration
	rounds      int
	seed        uint64
	proxyd      string // path
}

const (
	balanceWarmup   = 3 * time.Second // of requests that do not count, before servers fail
	balancePatience = 5 * time.Second // of a client for a response
)

func (c contestant) label() string { return c.name }

func parseBalance(args []string, stderr io.Writer) (*balancing, error) {
	b := new(balancing)
	flags := flag.NewFlagSet("proxybench balance", flag.ContinueOnError)
	flags.SetOutput(stderr)
	who := flags.String("peers", namesOf(contestants), "whom to compare, separated by commas")
	flags.Float64Var(&b.rate, "rate", 500, "requests a second")
	flags.DurationVar(&b.length, "for", 40*time.Second, "length of the script of failures")
	flags.IntVar(&b.rounds, "rounds", 1, "times through the script; errors are added up, and the median is shown of percentiles")
	flags.Uint64Var(&b.seed, "seed", 1, "of the script")
	flags.StringVar(&b.proxyd, "proxyd", "./proxyd", "proxyd's `program`")
	if err := parseFlags(flags, args); err != nil {
		return nil, err
	}
	switch {
	case !(b.rate >= 1 && b.rate <= 10_000):
		return nil, fmt.Errorf("-rate %g: want 1 to 10000", b.rate)
	case b.length < time.Second || b.length > longest:
		return nil, fmt.Errorf("-for %v: want 1s to %v", b.length, longest)
	case b.rounds < 1 || b.rounds > 1000:
		return nil, fmt.Errorf("-rounds %d: want 1 to 1000", b.rounds)
	}
	var err error
	b.contestants, err = choose("-peers", *who, contestants)
	b.script = makeScript(b.seed, b.length)
	return b, err
}

// run compares: the table goes to stdout, progress to stderr.
func (b *balancing) run(ctx context.Context, stdout, stderr io.Writer) error {
	// Children die with the thread that started them: it is this one, and stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if err := raiseDescriptors(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "proxybench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintf(stderr, "%g requests/s for %v, seed %d; of %d servers\n%s", b.rate, b.length, b.seed, fleetSize, plot())
	if err := b.findContestants(stderr); err != nil {
		return err
	}
	trials, err := b.takeRounds(ctx, dir, stderr)
	if err != nil {
		return err
	}
	return report(stdout, trials)
}

// findContestants drops those that are not installed, but for proxyd itself.
func (b *balancing) findContestants(stderr io.Writer) error {
	var found []contestant
	for _, c := range b.contestants {
		_, err := c.program(place{proxyd: b.proxyd})
		switch {
		case err == nil:
			found = append(found, c)
		case errors.Is(err, exec.ErrNotFound) && c.args[0] != "{proxyd}":
			fmt.Fprintf(stderr, "%s: skipped, it is not in PATH\n", c.name)
		default:
			return err
		}
	}
	b.contestants = found
	return nil
}

// takeRounds goes from contestant to contestant in each round.
func (b *balancing) takeRounds(ctx context.Context, dir string, stderr io.Writer) ([]trial, error) {
	trials := make([]trial, len(b.contestants))
	for n := range b.rounds {
		for i, c := range b.contestants {
			fmt.Fprintf(stderr, "%d/%d %s: ", n+1, b.rounds, c.name) // the line ends when it is known how it went
			r, err := b.round(ctx, c, place{dir: dir, proxyd: b.proxyd})
			if err != nil {
				fmt.Fprintln(stderr, "did not run")
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Fprintf(stderr, "%d of %d requests failed\n", r.failed(), r.requests)
			trials[i].name = c.name
			trials[i].rounds = append(trials[i].rounds, r)
		}
	}
	return trials, nil
}

// round puts c through the script.
func (b *balancing) round(ctx context.Context, c contestant, at place) (round, error) {
	r := round{length: b.length}
	f, err := startFleet()
	if err != nil {
		return r, err
	}
	defer f.stop()
	proxy, at, err := c.at(f.addresses()).start(ctx, new(cpus), 0, at)
	if err != nil {
		return r, err
	}
	defer proxy.stop(stopPatience)
	load, err := newCaller(fmt.Sprintf("127.0.0.1:%d", at.port), balancePatience)
	if err != nil {
		return r, err
	}
	defer load.close()
	warm, err := load.call(ctx, b.rate, min(balanceWarmup, b.length))
	if err != nil {
		return r, err
	}
	if n := warm.failed(); n > 0 {
		return r, fmt.Errorf("%d of %d requests failed before any server did: %v: %s", n, warm.requests, warm.failures, proxy.lastWords())
	}
	asked, probed := f.asked.Load(), f.probed.Load()
	over := make(chan struct{})
	played := make(chan error, 1)
	go func() { played <- f.play(b.script, over) }()
	r.tally, err = load.call(ctx, b.rate, b.length)
	r.asked, r.probed = f.asked.Load()-asked, f.probed.Load()-probed
	close(over)
	return r, errors.Join(err, <-played)
}
