package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/supervisor"
	"github.com/proxyd/proxyd/supervisor/admin"
)

// serverCommand is what can be done with the servers of upstreams at run time.
type serverCommand struct {
	List    serverListCommand    `cmd:"" help:"List the servers of all upstreams and how they are."`
	Drain   serverDrainCommand   `cmd:"" help:"Send a server no new requests; those in flight finish."`
	Disable serverDisableCommand `cmd:"" help:"Send a server no new requests and no probes."`
	Enable  serverEnableCommand  `cmd:"" help:"Take a server back that was drained or disabled."`
	Weight  serverWeightCommand  `cmd:"" help:"Give a server another share of the requests."`
}

// questionLimit is how long a question may take, all workers that are asked included.
const questionLimit = 10 * time.Second

type serverListCommand struct {
	target
	Upstream string `arg:"" optional:"" help:"Only the servers of this upstream."`
	JSON     bool   `name:"json" help:"For programs."`
}

func (c *serverListCommand) Help() string {
	return `WEIGHT is the weight as it counts now and, if it is another one, that of the configuration. FROM is where
the server comes from: "config" for the file, else the kind of its discovery.

  proxyd server list
  proxyd server list one
  proxyd server list --json | jq '.upstreams[].servers[].state'`
}

func (c *serverListCommand) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), questionLimit)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	servers, err := client.Servers(ctx)
	if err != nil {
		return operatorError("server list", err, nil)
	}
	if c.Upstream != "" {
		i := slices.IndexFunc(servers.Upstreams, func(u handoff.Upstream) bool { return u.Name == c.Upstream })
		if i < 0 {
			err := handoff.Unknown("there is no upstream %q", c.Upstream)
			return operatorError("server list", err, func() string { return suggest(c.Upstream, upstreamNames(servers)) })
		}
		servers.Upstreams = servers.Upstreams[i : i+1]
	}
	if c.JSON {
		return printJSON(os.Stdout, servers)
	}
	return printServers(os.Stdout, servers, newPainter(os.Stdout), time.Now())
}

// A serverTarget says which server a command is for.
type serverTarget struct {
	target
	Upstream string `arg:"" help:"Name of the upstream."`
	Server   string `arg:"" help:"Address of the server, as 'proxyd server list' shows it."`
	JSON     bool   `name:"json" help:"For programs."`
}

// change has the server changed, and prints how it is then.
func (c *serverTarget) change(verb handoff.Verb, weight int) error {
	ctx, cancel := context.WithTimeout(context.Background(), questionLimit)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	server, err := client.ChangeServer(ctx, verb, c.Upstream, c.Server, weight)
	if err != nil {
		return operatorError("server "+string(verb), err, func() string { return c.suggest(ctx, client) })
	}
	if c.JSON {
		return printJSON(os.Stdout, server)
	}
	_, err = fmt.Printf("upstream %s: server %s: %s\n", c.Upstream, printable(server.Address), describe(server))
	return err
}

// suggest finds the name that may have been meant: of the upstream if there is no
// such, else of the server.
func (c *serverTarget) suggest(ctx context.Context, client *admin.Client) string {
	servers, err := client.Servers(ctx)
	if err != nil {
		return ""
	}
	for _, u := range servers.Upstreams {
		if u.Name == c.Upstream {
			return suggest(c.Server, serverNames(u))
		}
	}
	return suggest(c.Upstream, upstreamNames(servers))
}

type serverDrainCommand struct {
	serverTarget
	Wait time.Duration `placeholder:"TIME" help:"Wait so long at most until no request is in flight."`
}

func (c *serverDrainCommand) Help() string {
	return `All workers obey at once. Probes go on. It holds over reloads, upgrades and crashes until 'proxyd server
enable', or until the whole proxy is stopped.

  proxyd server drain one 10.0.0.1:8080
  proxyd server drain one 10.0.0.1:8080 --wait 1m && ssh 10.0.0.1 reboot`
}

func (c *serverDrainCommand) Run() error {
	if err := c.change(handoff.DrainServer, 0); err != nil || c.Wait <= 0 {
		return err
	}
	return c.await()
}

// await waits until nothing is in flight to the server.
func (c *serverDrainCommand) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Wait)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := c.inFlight()
		exit, gone := errors.AsType[*supervisor.ExitError](err)
		if err == nil && n == 0 || gone && exit.Code == exitNotRunning {
			return err
		}
		select {
		case <-tick.C: // also after an error: an upgrade is one for a moment
		case <-ctx.Done():
			if err != nil {
				return err
			}
			return &supervisor.ExitError{Code: exitStart, Err: fmt.Errorf(
				"upstream %s: server %s: %s still in flight after %v", c.Upstream, c.Server, count(n, "request"), c.Wait)}
		}
	}
}

// inFlight counts the requests in flight to the server; 0 if it is there no more.
func (c *serverDrainCommand) inFlight() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), questionLimit)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return 0, err
	}
	servers, err := client.Servers(ctx)
	if err != nil {
		return 0, operatorError("server drain", err, nil)
	}
	for _, u := range servers.Upstreams {
		for _, s := range u.Servers {
			if u.Name == c.Upstream && s.Address == c.Server {
				return s.InFlight, nil
			}
		}
	}
	return 0, nil
}

type serverDisableCommand struct{ serverTarget }

func (c *serverDisableCommand) Help() string {
	return `As 'proxyd server drain', and the server is not probed either: for one that is taken away for long.

  proxyd server disable one 10.0.0.1:8080`
}

func (c *serverDisableCommand) Run() error { return c.change(handoff.DisableServer, 0) }

type serverEnableCommand struct{ serverTarget }

func (c *serverEnableCommand) Help() string {
	return `The server gets requests again as soon as it is up.

  proxyd server enable one 10.0.0.1:8080`
}

func (c *serverEnableCommand) Run() error { return c.change(handoff.EnableServer, 0) }

type serverWeightCommand struct {
	serverTarget
	Weight string `arg:"" help:"1 to 65535, or 'default' for that of the configuration."`
}

func (c *serverWeightCommand) Help() string {
	return `It holds as a drain does, and until 'default' is given.

  proxyd server weight one 10.0.0.1:8080 5
  proxyd server weight one 10.0.0.1:8080 default`
}

func (c *serverWeightCommand) Run() error {
	weight := 0
	if c.Weight != "default" {
		var err error
		if weight, err = strconv.Atoi(c.Weight); err != nil || weight < 1 || weight > handoff.MaxWeight {
			return &supervisor.ExitError{Code: exitUsage, Err: fmt.Errorf(
				"weight %q: want 1 to %d, or 'default'; to send no requests at all there is 'proxyd server drain'", c.Weight, handoff.MaxWeight)}
		}
	}
	return c.change(handoff.WeighServer, weight)
}

// operatorError is the exit for a question that was not answered. What names
// something that is not there is a mistake on the command line; hint says then
// what may have been meant.
func operatorError(what string, err error, hint func() string) error {
	refusal, ok := errors.AsType[*handoff.Refusal](err)
	if !ok {
		return controlError(what, err)
	}
	text := printable(refusal.Text)
	if refusal.Unknown && hint != nil {
		text += hint()
	}
	return &supervisor.ExitError{Code: exitUsage, Err: errors.New(text)}
}

func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func upstreamNames(s handoff.Servers) (names []string) {
	for _, u := range s.Upstreams {
		names = append(names, u.Name)
	}
	return names
}

func serverNames(u handoff.Upstream) (names []string) {
	for _, s := range u.Servers {
		names = append(names, s.Address)
	}
	return names
}

// printServers shows s as it was at now.
func printServers(out io.Writer, s handoff.Servers, p painter, now time.Time) error {
	var servers, sources table
	servers.head(p, "UPSTREAM", "SERVER", "WEIGHT", "STATE", "SINCE", "ACTIVE", "FROM", "NOTE")
	sources.head(p, "UPSTREAM", "DISCOVERY", "SERVERS", "ANSWERED", "NEXT", "ERROR")
	for _, u := range s.Upstreams {
		for _, server := range u.Servers {
			from, _, _ := strings.Cut(server.Source, " ")
			state, paint := condition(server, p)
			servers.add(cell{text: u.Name}, cell{text: server.Address}, cell{text: weightOf(server)}, cell{state, paint},
				cell{text: ago(server.Since, now)}, cell{text: strconv.Itoa(server.InFlight)}, cell{text: from}, cell{noteOn(server, now), p.dim})
		}
		for _, source := range u.Sources {
			answered, next := "never", ""
			if !source.Answered.IsZero() {
				answered = ago(source.Answered, now) + " ago"
			}
			if !source.Next.IsZero() {
				next = "in " + brief(source.Next.Sub(now))
			}
			sources.add(cell{text: u.Name}, cell{text: source.Name}, cell{text: strconv.Itoa(source.Servers)},
				cell{text: answered}, cell{text: next}, cell{source.Error, p.red})
		}
	}
	if err := servers.write(out); err != nil {
		return err
	}
	if len(sources.rows) == 1 {
		return nil
	}
	fmt.Fprintln(out)
	return sources.write(out)
}

// condition is how a server is, in a word and its colour.
func condition(s handoff.Server, p painter) (string, func(string) string) {
	switch {
	case s.Admin != "":
		return s.Admin, p.dim
	case s.State == "down":
		return s.State, p.red
	case !s.EjectedUntil.IsZero():
		return "ejected", p.red
	case s.State == "up":
		return s.State, p.green
	}
	return s.State, p.dim
}

func weightOf(s handoff.Server) string {
	if s.Weight == s.Configured {
		return strconv.Itoa(s.Weight)
	}
	return fmt.Sprintf("%d/%d", s.Weight, s.Configured)
}

// noteOn is what else there is to say about a server.
func noteOn(s handoff.Server, now time.Time) string {
	var notes []string
	if s.Backup {
		notes = append(notes, "backup")
	}
	if s.Admin != "" && s.State != "up" {
		notes = append(notes, s.State)
	}
	if left := s.EjectedUntil.Sub(now); left > 0 {
		notes = append(notes, "ejected for "+brief(left+time.Second-1))
	}
	if s.Reason != "" {
		notes = append(notes, s.Reason)
	}
	return strings.Join(notes, "; ")
}

// describe says how a server is, in a line.
func describe(s handoff.Server) string {
	state, _ := condition(s, false)
	text := fmt.Sprintf("%s, weight %s, %s in flight", state, weightOf(s), count(s.InFlight, "request"))
	if note := noteOn(s, time.Now()); note != "" {
		text += ", " + note
	}
	return printable(text)
}
