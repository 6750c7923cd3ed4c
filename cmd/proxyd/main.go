package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/alecthomas/kong"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/supervisor"
)

// Exit codes. They are told in docs/cli.md and are the same for every command.
const (
	exitConfiguration = 1
	exitUsage         = 2
	exitStart         = 3
	exitNotRunning    = 4
)

func main() {
	os.Exit(report(os.Stderr, run(os.Args[1:])))
}

// run parses args and does what they say.
func run(args []string) error {
	parser := newParser(kong.Writers(os.Stdout, os.Stderr))
	command, err := parser.Parse(args)
	if err != nil {
		return &supervisor.ExitError{
			Code: exitUsage,
			Err:  fmt.Errorf("%w%s\n'proxyd --help' lists the commands and their flags", err, didYouMean(parser, args)),
		}
	}
	return command.Run()
}

// didYouMean suggests a command for a first argument that is none. For flags the
// parser does it itself.
func didYouMean(parser *kong.Kong, args []string) string {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return ""
	}
	var commands []string
	for _, command := range parser.Model.Children {
		if !command.Hidden && command.Name != args[0] {
			commands = append(commands, command.Name)
		}
	}
	return suggest(args[0], commands)
}

// suggest asks whether one of names was meant that is hardly another word; "" if
// there is none.
func suggest(word string, names []string) string {
	best, least := "", 3 // edits that a slip of the fingers makes
	for _, name := range names {
		if d := levenshtein.Distance(word, name, nil); d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// report prints err for a person and returns the exit code that it stands for.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	code := exitStart
	if _, ok := errors.AsType[config.Errors](err); ok {
		code = exitConfiguration
	}
	if exit, ok := errors.AsType[*supervisor.ExitError](err); ok {
		if code, err = exit.Code, exit.Err; err == nil {
			return code // said by who knew more
		}
	}
	text := strings.TrimRight(err.Error(), "\n")
	if !strings.HasPrefix(text, "error: ") { // the diagnostics of a configuration say so themselves
		text = "error: " + text
	}
	fmt.Fprintln(w, text)
	return code
}
