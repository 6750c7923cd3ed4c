package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/supervisor"
	"github.com/proxyd/proxyd/worker"
)

// version is what the build says it is: the Makefile sets it by -ldflags.
var version = "devel"

const description = `A reverse proxy that balances over TLS upstreams, checks their health and limits
rates, with workers that share one count and reloads that lose no request.

  proxyd demo                         see it work, on loopback
  proxyd -c proxy.hcl                 serve in the foreground
  proxyd --daemon -c proxy.hcl        serve in the background
  proxyd reload -c proxy.hcl          take the changed file into use

Lock, PID file and admin socket are in ${state_dir} unless the file names another
state_dir. Exit codes: 0 ok, 1 configuration, 2 usage, 3 could not start,
4 not running.`

// cli is the command line: its flags are these fields and their tags.
type cli struct {
	Run      runCommand      `cmd:"" default:"withargs" help:"Serve. The default command: its flags may follow proxyd directly."`
	Validate validateCommand `cmd:"" help:"Check a configuration and report all its mistakes."`
	Reload   reloadCommand   `cmd:"" help:"Have the running proxy take its changed configuration into use, and wait."`
	Roll     rollCommand     `cmd:"" help:"Have the running proxy replace its workers by new ones, and wait."`
	Upgrade  upgradeCommand  `cmd:"" help:"Have the running proxy give way to the program that is now in its file, and wait."`
	Reopen   reopenCommand   `cmd:"" help:"Have the running proxy open its log files anew, after they were renamed."`
	Stop     stopCommand     `cmd:"" help:"Have the running proxy finish its requests and exit, and wait."`
	Status   statusCommand   `cmd:"" help:"Show what the running proxy is doing."`
	Server   serverCommand   `cmd:"" help:"List, drain, disable, enable or weigh the servers of the running proxy."`
	Limit    limitCommand    `cmd:"" help:"List, show or reset what the running proxy's limits have counted."`
	Demo     demoCommand     `cmd:"" help:"Run the proxy before two TLS origins of its own, on loopback."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
	Worker   workerCommand   `cmd:"" hidden:"" help:"Carry traffic. The supervisor starts these."`
}

// newParser returns the parser of the command line. Help wraps at 80 columns
// whatever the terminal, so that docs/cli.md shows what people see.
func newParser(options ...kong.Option) *kong.Kong {
	return kong.Must(new(cli), append([]kong.Option{
		kong.Name("proxyd"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{
			Compact: true, NoAppDescFormat: true, FlagsLast: true, NoExpandSubcommands: true, WrapUpperBound: 80,
		}),
		kong.Vars{"state_dir": config.DefaultStateDir()},
	}, options...)...)
}

type runCommand struct {
	Config string `short:"c" default:"proxy.hcl" placeholder:"FILE" help:"Configuration (default: ${default})."`
	Daemon bool   `short:"d" help:"Serve in the background: returns once workers accept connections, or with the reason why not."`
	Test   bool   `short:"t" help:"Only check the configuration, as 'proxyd validate' does."`
}

func (c *runCommand) Run() error {
	if c.Test {
		return (&validateCommand{Config: c.Config, Format: "text"}).Run()
	}
	return supervisor.Run(supervisor.Options{
		Config: c.Config,
		Daemon: c.Daemon,
		Build:  build(),
		Stderr: os.Stderr,
	})
}

type workerCommand struct {
	Slot       int    `required:"" help:"Slot in the shared segment."`
	Generation uint32 `required:"" help:"Generation the worker belongs to."`
}

func (c *workerCommand) Run() error {
	if code := worker.Main(c.Slot, c.Generation); code != 0 {
		return &supervisor.ExitError{Code: code}
	}
	return nil
}

type versionCommand struct{}

func (c *versionCommand) Run() error {
	fmt.Println("proxyd", build())
	return nil
}

// build is the version, or for a program built by 'go install' its module's.
func build() string {
	if version == "devel" {
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
			return info.Main.Version
		}
	}
	return version
}
