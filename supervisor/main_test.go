package supervisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets this binary play the parts that need a process of their own. A
// supervisor under test starts it as a worker the way it starts any worker.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "worker":
			os.Exit(scriptedWorker())
		case "validate": // -c CONFIG
			os.Exit(validateMain(os.Args[3]))
		case "supervise": // CONFIG [daemon]
			os.Exit(superviseMain(os.Args[2], len(os.Args) > 3))
		case "activate": // what systemd does between fork and exec; CONFIG
			os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
			os.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
			err := syscall.Exec("/proc/self/exe", []string{os.Args[0], "supervise", os.Args[2]}, os.Environ())
			fmt.Fprintln(os.Stderr, err)
			os.Exit(127)
		}
	}
	goleak.VerifyTestMain(m)
}

// validateMain is what an upgrade asks of the new program.
func validateMain(path string) int {
	if _, err := read(path); err != nil {
		fmt.Println(err)
		return codeConfig
	}
	return 0
}

// superviseMain is a command line with nothing but Run.
func superviseMain(path string, daemon bool) int {
	err := Run(Options{Config: path, Daemon: daemon, Build: "test", Exe: os.Getenv("TEST_EXE"), Probation: 300 * time.Millisecond})
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		fmt.Fprintln(os.Stderr, "not an ExitError:", err)
		return 99
	}
	fmt.Fprintln(os.Stderr, err)
	return exit.Code
}
