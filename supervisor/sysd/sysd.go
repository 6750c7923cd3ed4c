package sysd

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// A Manager is the service manager that started this process. If there is none
// its methods do nothing.
type Manager struct {
	watchdog time.Duration
}

// Take reads from the environment, and removes, the sockets that were passed
// and the watchdog's interval. The files are named by LISTEN_FDNAMES and are the
// caller's.
func Take() (*Manager, []*os.File, error) {
	files := activation.Files(true)
	interval, err := daemon.SdWatchdogEnabled(false)
	// The interval stays for a successor, who is another process.
	os.Unsetenv("WATCHDOG_PID")
	if interval == 0 {
		os.Unsetenv("WATCHDOG_USEC")
	}
	if err != nil {
		err = fmt.Errorf("systemd watchdog: %w", err)
	}
	return &Manager{interval}, files, err
}

// Environ is the environment for a process that the manager should not hear of.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "NOTIFY_SOCKET=") || strings.HasPrefix(s, "WATCHDOG_USEC=") ||
			strings.HasPrefix(s, "FDSTORE=")
	})
}

// Watchdog is how long the manager waits for Alive before it takes this process
// for dead; 0: for ever.
func (m *Manager) Watchdog() time.Duration { return m.watchdog }

// Ready says that start or reload is complete.
func (m *Manager) Ready(status string) error { return m.Successor(os.Getpid(), status) }

// Successor says that from now on process pid is the service.
func (m *Manager) Successor(pid int, status string) error {
	return m.notify(daemon.SdNotifyReady, fmt.Sprintf("MAINPID=%d", pid), statusLine(status))
}

// Reloading says that a reload began now. The manager wants the time in the
// same datagram, to tell this reload from an earlier one.
func (m *Manager) Reloading() error {
	return m.notify(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
}

// Stopping says that this process is on its way out.
func (m *Manager) Stopping(status string) error {
	return m.notify(daemon.SdNotifyStopping, statusLine(status))
}

// Alive feeds the watchdog.
func (m *Manager) Alive() error { return m.notify(daemon.SdNotifyWatchdog) }

// statusLine makes a STATUS assignment; the protocol allows no line break in it.
func statusLine(text string) string {
	return "STATUS=" + strings.Join(strings.Fields(text), " ")
}

// notify sends one datagram, or nothing where nobody listens.
func (m *Manager) notify(lines ...string) error {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}
