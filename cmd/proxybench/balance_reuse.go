package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A reusing measures how often proxyd finds a kept connection to a server, with
// more and more workers, each of which keeps its own.
type reusing struct {
	workers []int
	length  time.Duration
	proxyd  string // path
}

// reuseScenarios are clients that keep their connections, and clients that make
// one for each request.
var reuseScenarios = []scenario{
	{name: "kept", connections: 64, body: 128},
	{name: "one each", connections: 64, body: 128, oneShot: true},
}

func parseReuse(args []string, stderr io.Writer) (*reusing, error) {
	r := new(reusing)
	flags := flag.NewFlagSet("proxybench reuse", flag.ContinueOnError)
	flags.SetOutput(stderr)
	workers := flags.String("workers", "1,2,4", "numbers of workers, separated by commas")
	flags.DurationVar(&r.length, "for", 20*time.Second, "of load for each; warming up takes half as long")
	flags.StringVar(&r.proxyd, "proxyd", "./proxyd", "proxyd's `program`")
	if err := parseFlags(flags, args); err != nil {
		return nil, err
	}
	for _, text := range strings.Split(*workers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 64 {
			return nil, fmt.Errorf("-workers: got %q; want numbers from 1 to 64", text)
		}
		r.workers = append(r.workers, n)
	}
	if r.length < 50*time.Millisecond || r.length > longest {
		return nil, fmt.Errorf("-for %v: want 50ms to %v", r.length, longest)
	}
	return r, nil
}

// run measures: the table goes to stdout, progress to stderr.
func (r *reusing) run(ctx context.Context, stdout, stderr io.Writer) error {
	// Children die with the thread that started them: it is this one, and stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	b := &bench{plan: plan{length: r.length, proxyd: r.proxyd}, progress: stderr}
	var err error
	if err := raiseDescriptors(); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "proxybench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	origins, stop, err := b.startOrigin(ctx, reuseScenarios[0].body)
	if err != nil {
		return err
	}
	defer stop()
	t := tabwriter.NewWriter(stdout, 0, 0, 1, ' ', 0)
	fmt.Fprint(t, "| workers\t| connections of clients\t| requests\t| connects\t| reused\t|\n|---\t|---\t|---\t|---\t|---\t|\n")
	for _, n := range r.workers {
		for _, s := range reuseScenarios {
			b.say("workers %d, connections %s", n, s.name)
			c, err := b.reuse(ctx, s, n, origins)
			if err != nil {
				return fmt.Errorf("workers %d, connections %s: %w", n, s.name, err)
			}
			all := c.connects + c.reuses
			fmt.Fprintf(t, "| %d\t| %s\t| %d\t| %d\t| %.4f %%\t|\n", n, s.name, all, c.connects, 100*float64(c.reuses)/float64(max(1, all)))
		}
	}
	return t.Flush()
}

// reuse puts proxyd with that many workers under load, and returns how it came by
// its connections since it started.
func (b *bench) reuse(ctx context.Context, s scenario, workers int, origins [2]int) (connections, error) {
	p := peer{
		name: "proxyd", file: "proxy.hcl", args: []string{"{proxyd}", "-c", "{config}"},
		config: strings.Replace(proxydConfig, "workers   = 1", fmt.Sprintf("workers   = %d", workers), 1),
	}
	proxy, at, err := p.start(ctx, &b.cpus, 0, place{dir: b.dir, self: b.self, proxyd: b.proxyd, origins: origins})
	if err != nil {
		return connections{}, err
	}
	defer proxy.stop(stopPatience)
	m, err := b.underLoad(ctx, s, proxy, at)
	if err != nil {
		return connections{}, err
	}
	if m.failed > 0 {
		return connections{}, fmt.Errorf("%d requests failed, the first: %s", m.failed, m.complaint)
	}
	return countConnections(ctx, proxy.command.Args)
}

// Connections is how often a request was sent on a new connection to a server,
// and how often on a kept one.
type connections struct{ connects, reuses uint64 }

// countConnections asks the proxyd that was started by command.
func countConnections(ctx context.Context, command []string) (connections, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	args := append([]string{"status", "--format", "json"}, command[1:]...)
	text, err := exec.CommandContext(ctx, command[0], args...).Output()
	if err != nil {
		return connections{}, fmt.Errorf("%s %s: %w", command[0], strings.Join(args, " "), err)
	}
	return parseConnections(text)
}

func parseConnections(status []byte) (connections, error) {
	var s struct {
		Workers []struct{ Counters map[string]uint64 }
	}
	if err := json.Unmarshal(status, &s); err != nil {
		return connections{}, fmt.Errorf("status: %w", err)
	}
	var c connections
	for _, w := range s.Workers {
		c.connects += w.Counters["proxyd_upstream_connects_total"]
		c.reuses += w.Counters["proxyd_upstream_reuses_total"]
	}
	if c.connects == 0 {
		return c, errors.New("status: no connection was ever made")
	}
	return c, nil
}
