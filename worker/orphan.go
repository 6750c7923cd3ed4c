package worker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/handoff"
)

// An orphan is a worker whose supervisor has died. It serves on, looks for
// another supervisor where the old one said it would be, and gives it all that a
// supervisor needs to go on: the shared segment, the configuration, the listening
// sockets.
const (
	dialEvery   = 200 * time.Millisecond // ±20 %, so that workers do not come all at once
	greetLimit  = 5 * time.Second        // for a supervisor to take over, once it has been reached
	orphanLimit = 10 * time.Minute       // alone
)

// awaitOwner looks for a supervisor until one has taken over. It gives up after
// orphanLimit.
func (c *control) awaitOwner() bool {
	path := filepath.Join(c.current.config.Supervisor.StateDir, "adopt.sock")
	for end := time.Now().Add(orphanLimit); time.Now().Before(end); {
		channel, err := handoff.Dial(path)
		if err == nil {
			if err = c.greet(channel); err == nil {
				c.channel.Store(channel)
				c.w.log.Info("another supervisor has taken over")
				return true
			}
			channel.Close()
			c.w.log.Warn("a supervisor did not take over", "error", err)
		}
		time.Sleep(time.Duration(float64(dialEvery) * (0.8 + 0.4*rand.Float64())))
	}
	return false
}

// greet introduces this worker to the supervisor at the other end of channel,
// which must belong to root or to the user of the last one.
func (c *control) greet(channel *handoff.Conn) error {
	if _, uid, err := channel.Peer(); err != nil || uid != 0 && uid != c.owner {
		return errors.Join(err, fmt.Errorf("the process at the adoption socket belongs to user %d", uid))
	}
	deadline := time.Now().Add(greetLimit)
	names, fds := c.listeners()
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	hello := c.hello()
	hello.Config, hello.Draining, hello.Listeners = c.current.number, c.draining.Load(), len(fds)
	files := []*os.File{c.seg.File(), c.bundle}
	if c.prepared != nil {
		hello.Prepared = c.prepared.number
		files = append(files, c.offered)
	}
	if err := channel.Send(handoff.Hello, c.generation, hello, files...); err != nil {
		return err
	}
	for i := 0; i < len(fds); i += handoff.MaxFiles {
		n := min(i+handoff.MaxFiles, len(fds))
		if err := channel.SendFDs(handoff.Listen, c.generation, handoff.ListenBody{Names: names[i:n]}, fds[i:n]...); err != nil {
			return err
		}
		if _, err := receive(channel, handoff.Ack, deadline); err != nil {
			return err
		}
	}
	m, err := receive(channel, handoff.Owner, deadline)
	if err != nil {
		return err
	}
	defer m.CloseFiles()
	if len(m.Files) != 1 {
		return fmt.Errorf("%v: %d descriptors instead of one for the log", m.Type, len(m.Files))
	}
	log := int(m.Files[0].Fd())
	return errors.Join(unix.Dup3(log, 1, 0), unix.Dup3(log, 2, 0))
}

// listeners returns duplicates of the listening sockets, which the caller closes.
func (c *control) listeners() (names []string, fds []int) {
	c.w.onLoop(func() {
		for name, fd := range c.w.sockets {
			if dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err == nil { // else another worker has it
				names, fds = append(names, name), append(fds, dup)
			}
		}
	})
	return names, fds
}

// receive waits for a message that must be of type t.
func receive(channel *handoff.Conn, t handoff.Type, deadline time.Time) (handoff.Message, error) {
	m, err := channel.ReceiveBefore(deadline)
	if err == nil && m.Type != t {
		m.CloseFiles()
		err = fmt.Errorf("got %v, want %v", m.Type, t)
	}
	return m, err
}
