package worker

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
	"golang.org/x/sys/unix"
)

// beatEvery is how often the worker says that its loop turns.
const beatEvery = time.Second

// A control answers the supervisor. Its goroutine owns its fields; what it does
// to the worker it posts to the loop.
type control struct {
	w          *worker
	channel    *handoff.Conn
	generation uint32
	seg        *shm.Segment

	prepared *snapshot // nil if none is waiting for COMMIT
	current  *snapshot // nil until START
}

// run talks to the supervisor until the worker ends.
func (c *control) run() {
	hello := handoff.HelloBody{Pid: os.Getpid(), Build: build(), Version: handoff.Version, Slot: c.w.slot}
	if err := c.channel.Send(handoff.Hello, c.generation, hello); err != nil {
		c.w.log.Error("control channel", "error", err)
		c.w.loop.Stop()
		return
	}
	go c.beat()
	go c.onTerm()
	for {
		m, err := c.channel.Receive()
		if err != nil {
			c.orphaned(err)
			return
		}
		if err := c.handle(m); err != nil {
			c.w.log.Error("control channel", "message", m.Type.String(), "error", err)
		}
	}
}

// orphaned is called when the supervisor is gone. Nobody could replace this
// worker, so it finishes what it has.
func (c *control) orphaned(err error) {
	if c.current == nil {
		c.w.loop.Stop()
		return
	}
	c.w.log.Warn("the supervisor is gone: draining", "error", err)
	c.drain(0, c.current.config.Supervisor.DrainTimeout)
}

// onTerm drains at SIGTERM, which only comes from outside: the supervisor uses
// the channel.
func (c *control) onTerm() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
	c.drain(0, 30*time.Second)
}

// beat goes through the loop, so that it stops when the loop does.
func (c *control) beat() {
	turned := make(chan struct{}, 1)
	for range time.Tick(beatEvery) {
		c.w.loop.Post(func() {
			c.w.tidy()
			turned <- struct{}{}
		})
		<-turned
		// A supervisor that is stopped for minutes lets the channel fill up. It will
		// want to hear beats again when it goes on.
		if err := c.channel.Send(handoff.Beat, c.generation, nil); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

func (c *control) handle(m handoff.Message) error {
	switch m.Type {
	case handoff.Listen:
		return c.listen(m)
	case handoff.Prepare:
		return c.prepare(m)
	case handoff.Start:
		return c.start(m)
	case handoff.Commit:
		return c.commit(m)
	case handoff.Abort:
		c.prepared = nil
		if c.current != nil {
			c.onLoop(func() { c.w.forget(c.current) })
		}
		return nil
	case handoff.Drain:
		var body handoff.DrainBody
		if err := m.Decode(&body); err != nil {
			return err
		}
		c.drain(body.Soft, body.Hard)
		return nil
	case handoff.Owner, handoff.Reopen:
		return nil // there is one owner as yet, and no log file here
	}
	m.CloseFiles()
	return c.refuse(m, 0, fmt.Errorf("unknown message %v", m.Type))
}

func (c *control) refuse(m handoff.Message, number uint64, err error) error {
	return c.channel.Send(handoff.Nack, c.generation, handoff.NackBody{Config: number, Sequence: m.Sequence, Text: err.Error()})
}

// listen keeps the listening sockets that come with m.
func (c *control) listen(m handoff.Message) error {
	var body handoff.ListenBody
	err := m.Decode(&body)
	if err == nil && len(body.Names) != len(m.Files) {
		err = fmt.Errorf("%d names for %d descriptors", len(body.Names), len(m.Files))
	}
	if err != nil {
		m.CloseFiles()
		return c.refuse(m, 0, err)
	}
	for i, f := range m.Files {
		fd, err := handoff.Detach(f)
		if err != nil {
			return c.refuse(m, 0, err)
		}
		c.onLoop(func() {
			if old, ok := c.w.sockets[body.Names[i]]; ok {
				if c.w.listeners[body.Names[i]] != nil {
					unix.Close(fd) // it is in use: the new one is the same socket
					return
				}
				unix.Close(old)
			}
			c.w.sockets[body.Names[i]] = fd
		})
	}
	return c.channel.Send(handoff.Ack, c.generation, handoff.AckBody{Sequence: m.Sequence})
}

// onLoop runs f on the loop and waits for it.
func (c *control) onLoop(f func()) {
	done := make(chan struct{})
	c.w.loop.Post(func() { defer close(done); f() })
	<-done
}

// prepare compiles the bundle that comes with m.
func (c *control) prepare(m handoff.Message) error {
	var body handoff.PrepareBody
	defer m.CloseFiles()
	if err := m.Decode(&body); err != nil {
		return c.refuse(m, 0, err)
	}
	s, err := c.compile(m, body)
	if err != nil {
		return c.refuse(m, body.Config, err)
	}
	c.prepared = s
	return c.channel.Send(handoff.Prepared, c.generation, handoff.PreparedBody{Config: body.Config})
}

func (c *control) compile(m handoff.Message, body handoff.PrepareBody) (*snapshot, error) {
	if len(m.Files) != 1 {
		return nil, fmt.Errorf("prepare: %d descriptors instead of one bundle", len(m.Files))
	}
	data, err := handoff.Unseal(m.Files[0])
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(data) != body.SHA256 {
		return nil, errors.New("prepare: the bundle is not the one announced")
	}
	bundle, err := config.DecodeBundle(data)
	if err != nil {
		return nil, err
	}
	parsed, err := bundle.Parse()
	if err != nil {
		return nil, err
	}
	return compile(c.seg, c.w.shared, parsed, body.Config, c.current)
}

// install puts the prepared snapshot in force.
func (c *control) install() error {
	s, old := c.prepared, c.current
	var err error
	c.onLoop(func() { err = c.w.install(s, old) })
	if err != nil {
		return err
	}
	c.current, c.prepared = s, nil
	return nil
}

func (c *control) start(m handoff.Message) error {
	if c.prepared == nil || c.current != nil {
		return c.refuse(m, 0, errors.New("start: nothing is prepared, or started already"))
	}
	number := c.prepared.number
	if err := c.install(); err != nil {
		return c.refuse(m, number, err)
	}
	return c.channel.Send(handoff.Accepting, c.generation, handoff.AcceptingBody{Config: number})
}

func (c *control) commit(m handoff.Message) error {
	var body handoff.CommitBody
	if err := m.Decode(&body); err != nil {
		return c.refuse(m, 0, err)
	}
	if c.prepared == nil || c.prepared.number != body.Config || c.current == nil {
		return c.refuse(m, body.Config, fmt.Errorf("commit: configuration %d is not prepared", body.Config))
	}
	if err := c.install(); err != nil {
		return c.refuse(m, body.Config, err)
	}
	return c.channel.Send(handoff.Committed, c.generation, handoff.CommittedBody(body))
}

// drain takes no more connections, closes the idle ones after soft and all after
// hard, and ends the worker when none is left.
func (c *control) drain(soft, hard time.Duration) {
	w := c.w
	w.loop.Post(func() {
		w.drain(func() {
			_ = c.channel.Send(handoff.Drained, c.generation, nil) // the exit says it too
			w.loop.Stop()
		})
	})
	time.AfterFunc(soft, func() { w.loop.Post(w.closeIdle) })
	time.AfterFunc(hard, w.loop.Stop)
}

// build names the version of this program.
func build() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
