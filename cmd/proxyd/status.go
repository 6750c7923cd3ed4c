package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/supervisor/admin"
)

type statusCommand struct {
	target
	Format string `enum:"text,json" default:"text" help:"text for people, json for programs."`
}

func (c *statusCommand) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	status, err := client.Status(ctx)
	if err != nil {
		return controlError("status", err)
	}
	if c.Format == "json" {
		return printJSON(os.Stdout, status)
	}
	brief, cancelBrief := context.WithTimeout(ctx, 1500*time.Millisecond) // one worker may fail to answer
	defer cancelBrief()
	servers, _ := client.Servers(brief) // none can be had of a proxy that just starts or stops
	return printStatus(os.Stdout, status, servers, time.Now())
}

// printStatus shows s and the servers as they were at now.
func printStatus(out io.Writer, s admin.Status, servers handoff.Servers, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "proxyd\t%s, pid %d, %s for %s\n", s.Version, s.Pid, s.State, age(s.Started, now))
	fmt.Fprintf(w, "serving\tgeneration %d of workers, under supervisor %d\n", s.Generation, s.Incarnation)
	fmt.Fprintf(w, "config\t%d, %s, sha256 %.12s\n", s.ConfigNumber, s.Config, s.Digest)
	if s.LastReload != "" {
		fmt.Fprintf(w, "reload\t%s\n", s.LastReload)
	}
	fmt.Fprintf(w, "state dir\t%s\n", s.StateDir)
	fmt.Fprintf(w, "pid file\t%s\n", s.PIDFile)
	fmt.Fprintf(w, "admin\t%s\n", s.AdminSocket)
	if s.Log != "" {
		fmt.Fprintf(w, "log\t%s\n", s.Log)
	}
	for _, l := range s.Listeners {
		fmt.Fprintf(w, "listener\t%s%s\n", l.Address, bound(l))
	}
	for _, u := range servers.Upstreams {
		fmt.Fprintf(w, "upstream\t%s, %d of %s usable\n", printable(u.Name), usable(u), count(len(u.Servers), "server"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nWORKER\tPID\tGENERATION\tSTATE\tSINCE\tRESTARTS\tACTIVE\tREQUESTS\tLIMITED\tUPSTREAM ERRORS")
	for _, worker := range s.Workers {
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\t%d\t%d\t%d\t%d\t%d\n",
			worker.Slot, worker.Pid, worker.Generation, worker.State, age(worker.Since, now), worker.Restarts,
			worker.Counters["proxyd_connections_active"], worker.Counters["proxyd_requests_total"],
			worker.Counters["proxyd_requests_limited_total"], worker.Counters["proxyd_upstream_errors_total"])
	}
	for _, worker := range s.Workers {
		if worker.Leaving != "" {
			fmt.Fprintf(w, "\nworker %d, pid %d, goes: %s", worker.Slot, worker.Pid, worker.Leaving)
		}
	}
	return w.Flush()
}

// usable counts the servers of u that get new requests.
func usable(u handoff.Upstream) int {
	n := 0
	for i := range u.Servers {
		if u.Servers[i].Usable() {
			n++
		}
	}
	return n
}

// bound says where a listener is if its configured address does not.
func bound(l admin.Listener) string {
	text := ""
	if l.Bound != "" && l.Bound != l.Address {
		text = " at " + l.Bound
	}
	if l.Passed {
		text += ", from systemd"
	}
	return text
}

// age is the time from t to now to the second.
func age(t, now time.Time) time.Duration {
	return now.Sub(t).Round(time.Second)
}
