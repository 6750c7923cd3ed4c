package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/supervisor"
	"github.com/proxyd/proxyd/supervisor/admin"
)

// A target says which running proxy a command is for.
type target struct {
	Config   string `short:"c" xor:"target" placeholder:"FILE" help:"Configuration that the proxy runs; it says where the proxy keeps its state."`
	StateDir string `xor:"target" placeholder:"DIR" help:"Where the proxy keeps its state (default: ${state_dir})."`
}

type reloadCommand struct {
	target
	Timeout time.Duration `default:"1m" help:"Longest to wait for the outcome (default: ${default})."`
}

func (c *reloadCommand) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	return outcome(ctx, "reload", client.Reload)
}

// outcome makes a request and reports what it has come to.
func outcome(ctx context.Context, what string, request func(context.Context) (admin.Result, error)) error {
	result, err := request(ctx)
	if err != nil {
		return controlError(what, err)
	}
	if !result.OK {
		return &supervisor.ExitError{Code: result.Code, Err: errors.New(result.Text)}
	}
	fmt.Println(result.Text)
	return nil
}

type rollCommand struct {
	target
	Timeout time.Duration `default:"2m" help:"Longest to wait for the outcome (default: ${default})."`
}

func (c *rollCommand) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	return outcome(ctx, "roll", client.Roll)
}

type upgradeCommand struct {
	target
	Timeout time.Duration `default:"3m" help:"Longest to wait for the outcome (default: ${default})."`
}

func (c *upgradeCommand) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	return outcome(ctx, "upgrade", client.Upgrade)
}

type reopenCommand struct {
	target
}

func (c *reopenCommand) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	if err := client.Reopen(ctx); err != nil {
		return controlError("reopen", err)
	}
	fmt.Println("logs reopened")
	return nil
}

type stopCommand struct {
	target
	Timeout time.Duration `default:"5m" help:"Longest to wait until it has gone (default: ${default})."`
}

func (c *stopCommand) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	if err := client.Stop(ctx); err != nil {
		return controlError("stop", err)
	}
	fmt.Println("stopped")
	return nil
}

// dial connects to the proxy that t means.
func (t *target) dial(ctx context.Context) (*admin.Client, error) {
	if t.Config == "" {
		dir := t.StateDir
		if dir == "" {
			dir = config.DefaultStateDir()
		}
		return dialSocket(filepath.Join(dir, "admin.sock"))
	}
	_, loaded, mistakes := config.Load(t.Config)
	socket := filepath.Join(config.DefaultStateDir(), "admin.sock")
	if mistakes == nil {
		socket = loaded.Supervisor.AdminSocket
	}
	client, err := dialSocket(socket)
	if err == nil {
		err = t.check(ctx, client)
	}
	if err != nil && mistakes != nil { // the file may have said where to look, and cannot be asked
		return nil, fmt.Errorf("%w\n     = While the file has mistakes, --state-dir tells which proxy is meant", mistakes)
	}
	return client, err
}

// check refuses a proxy that runs another file: two files that name the same
// state_dir must not end in the wrong proxy being stopped.
func (t *target) check(ctx context.Context, client *admin.Client) error {
	status, err := client.Status(ctx)
	if err != nil {
		return controlError("status", err)
	}
	if sameFile(status.Config, t.Config) {
		return nil
	}
	return &supervisor.ExitError{Code: exitNotRunning, Err: fmt.Errorf(
		"no proxy runs %s: the one in %s, pid %d, runs %s; --state-dir %[2]s means that one",
		t.Config, status.StateDir, status.Pid, status.Config)}
}

func sameFile(a, b string) bool {
	if absolute, err := filepath.Abs(b); err == nil && a == absolute {
		return true // even if it is missing by now
	}
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

func dialSocket(socket string) (*admin.Client, error) {
	client, err := admin.Dial(socket)
	if errors.Is(err, admin.ErrNotRunning) {
		err = fmt.Errorf("%w; -c FILE or --state-dir DIR tell of a proxy elsewhere", err)
		return nil, &supervisor.ExitError{Code: exitNotRunning, Err: err}
	}
	if err != nil {
		return nil, &supervisor.ExitError{Code: exitStart, Err: err}
	}
	return client, nil
}

// controlError is the exit for a supervisor that was there and did not answer.
func controlError(what string, err error) error {
	if errors.Is(err, admin.ErrNotRunning) {
		return &supervisor.ExitError{Code: exitNotRunning, Err: err}
	}
	return &supervisor.ExitError{Code: exitStart, Err: fmt.Errorf("%s: %w", what, err)}
}
