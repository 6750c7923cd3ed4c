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
	"strings"
	"time"
)

// A balancing is a comparison of how proxies get on with servers that fail. Each
// gets the same requests and the same script of failures.
type balancing struct {
	contestants []contestant
	script      script
	rate        float64 // requests a second
	length      time.Duration
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
	var trials []trial
	var failures []string
	for _, c := range b.contestants {
		at := place{proxyd: b.proxyd}
		if _, err := c.program(at); errors.Is(err, exec.ErrNotFound) && !strings.HasPrefix(c.name, "proxyd") {
			fmt.Fprintf(stderr, "%s: skipped, it is not in PATH\n", c.name)
			continue
		}
		fmt.Fprintf(stderr, "%s: ", c.name) // the line ends when it is known how it went
		if at.dir, err = os.MkdirTemp(dir, c.peer.file+"-"); err != nil {
			return err
		}
		t, err := b.try(ctx, c, at)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("stopped: %w", context.Cause(ctx))
		case err != nil:
			fmt.Fprintln(stderr, "did not run")
			failures = append(failures, fmt.Sprintf("%s: %v", c.name, err))
			continue
		}
		fmt.Fprintf(stderr, "%d of %d requests failed\n", t.tally.failed(), t.tally.requests)
		trials = append(trials, t)
	}
	if err := report(stdout, trials); err != nil {
		return err
	}
	if len(failures) > 0 {
		return errors.New(strings.Join(failures, "\n"))
	}
	return nil
}

// try puts c through the script.
func (b *balancing) try(ctx context.Context, c contestant, at place) (trial, error) {
	t := trial{name: c.name, length: b.length}
	f, err := startFleet()
	if err != nil {
		return t, err
	}
	defer f.stop()
	if at.port, err = freePort(); err != nil {
		return t, err
	}
	start, err := c.at(f.addresses()).prepare(at)
	if err != nil {
		return t, err
	}
	var anyCPU cpus
	proxy, err := anyCPU.start(start)
	if err != nil {
		return t, err
	}
	defer proxy.stop(stopPatience)
	if err := awaitAnswer(ctx, proxy, at.port); err != nil {
		return t, err
	}
	load, err := newCaller(fmt.Sprintf("127.0.0.1:%d", at.port), balancePatience)
	if err != nil {
		return t, err
	}
	defer load.close()
	warm, err := load.call(ctx, b.rate, min(balanceWarmup, b.length))
	if err != nil {
		return t, err
	}
	if n := warm.failed(); n > 0 {
		return t, fmt.Errorf("%d of %d requests failed before any server did: %v: %s", n, warm.requests, warm.failures, proxy.lastWords())
	}
	asked, probed := f.asked.Load(), f.probed.Load()
	over := make(chan struct{})
	played := make(chan error, 1)
	go func() { played <- f.play(b.script, over) }()
	t.tally, err = load.call(ctx, b.rate, b.length)
	t.asked, t.probed = f.asked.Load()-asked, f.probed.Load()-probed
	close(over)
	return t, errors.Join(err, <-played)
}
