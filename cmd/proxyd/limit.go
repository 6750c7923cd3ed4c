package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/supervisor/admin"
)

// limitCommand is what can be done with limits at run time.
type limitCommand struct {
	List  limitListCommand  `cmd:"" help:"List all limits, what they have refused and their hottest keys."`
	Show  limitShowCommand  `cmd:"" help:"Show a limit with more of its keys, or how much a key has used of it."`
	Reset limitResetCommand `cmd:"" help:"Forget what a key has used of a limit."`
}

type limitListCommand struct {
	target
	JSON bool `name:"json" help:"For programs."`
}

func (c *limitListCommand) Help() string {
	return `HOTTEST is the keys that were asked for most in the running window or the one before, with how often.

  proxyd limit list
  proxyd limit list --json | jq '.limits[] | select(.refused > 0) | .name'`
}

func (c *limitListCommand) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), questionLimit)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	limits, err := client.Limits(ctx)
	if err != nil {
		return operatorError("limit list", err, nil)
	}
	if c.JSON {
		return printJSON(os.Stdout, limits)
	}
	return printLimits(os.Stdout, limits, newPainter(os.Stdout))
}

type limitShowCommand struct {
	target
	Limit string  `arg:"" help:"Name of the limit."`
	Key   *string `arg:"" optional:"" help:"A key, as the limit's expression makes it."`
	JSON  bool    `name:"json" help:"For programs."`
}

func (c *limitShowCommand) Help() string {
	return `Nothing is counted by it.

  proxyd limit show per_app
  proxyd limit show per_app demo`
}

func (c *limitShowCommand) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), questionLimit)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	var key []byte
	if c.Key != nil {
		key = []byte(*c.Key)
	}
	limit, err := client.Limit(ctx, c.Limit, key)
	if err != nil {
		return operatorError("limit show", err, func() string { return suggestLimit(ctx, client, c.Limit) })
	}
	if c.JSON {
		return printJSON(os.Stdout, limit)
	}
	return printLimit(os.Stdout, limit, newPainter(os.Stdout))
}

type limitResetCommand struct {
	target
	Limit string `arg:"" help:"Name of the limit."`
	Key   string `arg:"" help:"The key, as the limit's expression makes it."`
	JSON  bool   `name:"json" help:"For programs."`
}

func (c *limitResetCommand) Help() string {
	return `The key may use the limit from the beginning again, in all workers.

  proxyd limit reset per_app demo`
}

func (c *limitResetCommand) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), questionLimit)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	limit, err := client.ResetLimit(ctx, c.Limit, []byte(c.Key))
	if err != nil {
		return operatorError("limit reset", err, func() string { return suggestLimit(ctx, client, c.Limit) })
	}
	if c.JSON {
		return printJSON(os.Stdout, limit)
	}
	_, err = fmt.Printf("limit %s: key %q: %s\n", printable(limit.Name), c.Key, left(limit.Use))
	return err
}

// suggestLimit finds the name that may have been meant.
func suggestLimit(ctx context.Context, client *admin.Client, name string) string {
	limits, err := client.Limits(ctx)
	if err != nil {
		return ""
	}
	var names []string
	for _, l := range limits.Limits {
		names = append(names, l.Name)
	}
	return suggest(name, names)
}

// left says how much a key may use yet.
func left(u *handoff.Use) string {
	if u == nil {
		return "nothing is known"
	}
	return fmt.Sprintf("%d of %d left", u.Remaining, u.Max)
}

func printLimits(out io.Writer, limits handoff.Limits, p painter) error {
	var t table
	t.head(p, "LIMIT", "RATE", "ALGORITHM", "KEYS", "REFUSED", "HOTTEST")
	for _, l := range limits.Limits {
		refused := cell{text: strconv.FormatUint(l.Refused, 10)}
		if l.Refused > 0 {
			refused.paint = p.red
		}
		t.add(cell{text: l.Name}, cell{text: rateOf(l)}, cell{text: algorithmOf(l)}, cell{text: strconv.Itoa(l.Keys)}, refused,
			cell{text: hottest(l.Hottest)})
	}
	return t.write(out)
}

// hottest names keys in little room.
func hottest(keys []handoff.HotKey) string {
	const most, room = 3, 16
	var names []string
	for _, k := range keys[:min(len(keys), most)] {
		name := []rune(k.Key)
		if k.Cut || len(name) > room {
			name = append(name[:min(len(name), room-1)], '…')
		}
		names = append(names, fmt.Sprintf("%s %d", string(name), k.Count))
	}
	return strings.Join(names, ", ")
}

func printLimit(out io.Writer, l handoff.Limit, p painter) error {
	var facts, keys table
	fact := func(name, text string) { facts.add(cell{name, p.bold}, cell{text: text}) }
	fact("limit", l.Name)
	fact("rate", rateOf(l))
	fact("algorithm", algorithmOf(l))
	if l.Overrides > 0 {
		fact("overrides", count(l.Overrides, "key"))
	}
	fact("keys", fmt.Sprintf("%d counted exactly", l.Keys))
	fact("admitted", strconv.FormatUint(l.Admitted, 10))
	fact("refused", strconv.FormatUint(l.Refused, 10))
	if u := l.Use; u != nil {
		text := left(u)
		if u.Reset > 0 && u.Remaining < u.Max {
			text += ", all of it in " + u.Reset.Round(time.Millisecond).String()
		}
		fact("key", u.Key+": "+text)
		return facts.write(out)
	}
	if err := facts.write(out); err != nil || len(l.Hottest) == 0 {
		return err
	}
	keys.head(p, "KEY", "COUNT", "REFUSED")
	for _, k := range l.Hottest {
		name := k.Key
		if k.Cut {
			name += "…"
		}
		keys.add(plain(name, strconv.FormatUint(k.Count, 10), strconv.FormatUint(k.Refused, 10))...)
	}
	fmt.Fprintln(out)
	return keys.write(out)
}

// rateOf is the rate as the file has it.
func rateOf(l handoff.Limit) string {
	switch l.Window {
	case 0:
		return fmt.Sprintf("%d at once", l.Max)
	case time.Second:
		return fmt.Sprintf("%d/s", l.Max)
	case time.Minute:
		return fmt.Sprintf("%d/m", l.Max)
	case time.Hour:
		return fmt.Sprintf("%d/h", l.Max)
	}
	return fmt.Sprintf("%d/%v", l.Max, l.Window)
}

func algorithmOf(l handoff.Limit) string {
	text := l.Algorithm
	if l.Burst > 0 {
		text += fmt.Sprintf(", burst %d", l.Burst)
	}
	if l.DryRun {
		text += ", dry run"
	}
	return text
}
