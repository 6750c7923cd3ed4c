package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/supervisor"
)

type validateCommand struct {
	Config string `short:"c" default:"proxy.hcl" placeholder:"FILE" help:"Configuration (default: ${default})."`
	Format string `enum:"text,json" default:"text" help:"text for people, json for editors and CI: an array of mistakes."`
}

// Run reports on the file: its mistakes go to stderr as text, or to stdout as
// JSON, so that an editor reads one stream whatever the outcome.
func (c *validateCommand) Run() error {
	_, loaded, err := config.Load(c.Config)
	if c.Format == "json" {
		return printMistakes(err)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%s: ok (%s, %s, %s)\n", c.Config, count(len(loaded.Listeners), "listener"),
		count(len(loaded.Upstreams), "upstream"), count(len(loaded.RateLimits), "rate limit"))
	return nil
}

// printMistakes writes the mistakes in err as a JSON array, [] for none.
func printMistakes(err error) error {
	mistakes, ok := errors.AsType[config.Errors](err)
	if err != nil && !ok {
		return err
	}
	if !ok {
		mistakes = config.Errors{}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(mistakes); err != nil {
		return fmt.Errorf("write mistakes: %w", err)
	}
	if len(mistakes) > 0 {
		return &supervisor.ExitError{Code: exitConfiguration}
	}
	return nil
}

// count says "1 listener", "2 listeners".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
