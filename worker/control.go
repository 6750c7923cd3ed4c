package worker

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
)

// beatEvery is how often the worker says that its loop turns.
const beatEvery = time.Second

// A control answers the supervisor. Its goroutine owns its fields; what it does
// to the worker it posts to the loop.
type control struct {
	w          *worker
	channel    atomic.Pointer[handoff.Conn] // to the supervisor, alive or dead
	owner      int                          // the user that the supervisor runs as
	generation uint32
	seg        *shm.Segment

	prepared *snapshot // nil if none is waiting for COMMIT
	current  *snapshot // nil until START
	offered  *os.File  // bundle of prepared
	bundle   *os.File  // bundle of current

	draining     atomic.Bool
	drainTimeout atomic.Int64 // of the configuration in use, in ns
}

// run talks to the supervisor, and to the next one if it dies, until the worker
// ends.
func (c *control) run() {
	if err := c.send(handoff.Hello, c.hello()); err != nil {
		c.w.log.Error("control channel", "error", err)
		c.w.loop.Stop()
		return
	}
	go c.beat(nil)
	go c.onTerm()
	for {
		err := c.serve()
		if c.current == nil {
			c.w.loop.Stop() // it has nothing that anyone could miss
			return
		}
		c.w.log.Warn("the supervisor is gone: serving on until another takes over", "error", err)
		if !c.awaitOwner() {
			c.w.log.Warn("no supervisor has taken over: draining")
			c.drainFor(0, time.Duration(c.drainTimeout.Load()))
			return
		}
	}
}

// serve does what the supervisor says until it is gone.
func (c *control) serve() error {
	channel := c.channel.Load()
	defer channel.Close()
	for {
		m, err := channel.Receive()
		if err != nil {
			return err
		}
		if err := c.handle(m); err != nil {
			c.w.log.Error("control channel", "message", m.Type.String(), "error", err)
		}
	}
}

func (c *control) send(t handoff.Type, body any) error {
	return c.channel.Load().Send(t, c.generation, body)
}

func (c *control) hello() handoff.HelloBody {
	return handoff.HelloBody{Pid: os.Getpid(), Build: build(), Version: handoff.Version, Slot: c.w.slot, Answers: true}
}

// onTerm drains at SIGTERM, which only comes from outside: the supervisor uses
// the channel.
func (c *control) onTerm() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
	c.drainFor(0, time.Duration(c.drainTimeout.Load()))
}

// beat goes through the loop, so that it stops when the loop does. It ends at
// stop, which may be nil.
func (c *control) beat(stop <-chan struct{}) {
	turned := make(chan struct{}, 1)
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		c.w.loop.Post(func() {
			c.w.tidy()
			turned <- struct{}{}
		})
		<-turned
		// A supervisor that is stopped for minutes lets the channel fill up, and a
		// dead one has a successor: both will want to hear beats again.
		_ = c.send(handoff.Beat, nil)
	}
}

func (c *control) handle(m handoff.Message) error {
	switch m.Type {
	case handoff.Listen:
		return c.keep(m, c.w.keepSocket)
	case handoff.Logs:
		return c.keep(m, c.w.keepLog)
	case handoff.Prepare:
		return c.prepare(m)
	case handoff.Start:
		return c.start(m)
	case handoff.Commit:
		return c.commit(m)
	case handoff.Abort:
		return c.abort()
	case handoff.Drain:
		var body handoff.DrainBody
		if err := m.Decode(&body); err != nil {
			return err
		}
		c.drainFor(body.Soft, body.Hard, channels(m)...)
		return c.ack(m)
	case handoff.Heir:
		for _, giver := range channels(m) {
			go c.w.inherit(giver)
		}
		return nil
	case handoff.Ask:
		return c.tell(m)
	}
	m.CloseFiles()
	return c.refuse(m, 0, fmt.Errorf("unknown message %v", m.Type))
}

func (c *control) refuse(m handoff.Message, number uint64, err error) error {
	return c.send(handoff.Nack, handoff.NackBody{Config: number, Sequence: m.Sequence, Text: err.Error()})
}

func (c *control) ack(m handoff.Message) error {
	return c.send(handoff.Ack, handoff.AckBody{Sequence: m.Sequence})
}

// keep has the loop keep each descriptor that comes with m, under its name.
func (c *control) keep(m handoff.Message, one func(name string, fd int)) error {
	var body struct { // handoff.ListenBody or handoff.LogsBody
		Names []string `json:"names"`
	}
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
		c.w.onLoop(func() { one(body.Names[i], fd) })
	}
	return c.ack(m)
}

// prepare compiles the bundle that comes with m.
func (c *control) prepare(m handoff.Message) error {
	var body handoff.PrepareBody
	defer func() { m.CloseFiles() }() // but for the bundle, if it is kept
	if err := m.Decode(&body); err != nil {
		return c.refuse(m, 0, err)
	}
	s, err := c.compile(m, body)
	if err == nil && c.current == nil {
		err = c.w.selfTest(s)
	}
	if err != nil {
		return c.refuse(m, body.Config, err)
	}
	c.forgetPrepared()
	c.prepared, c.offered, m.Files = s, m.Files[0], nil
	return c.send(handoff.Prepared, handoff.PreparedBody{Config: body.Config})
}

func (c *control) forgetPrepared() {
	c.offered.Close() // nil is no harm
	c.prepared, c.offered = nil, nil
}

// abort forgets the prepared configuration and what came for it.
func (c *control) abort() error {
	c.forgetPrepared()
	if c.current != nil {
		c.w.onLoop(func() { c.w.forget(c.current) })
	}
	return nil
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
	return c.w.compile(c.seg, parsed, body.Config, c.current)
}

// install puts the prepared snapshot in force.
func (c *control) install() error {
	s, old := c.prepared, c.current
	var err error
	c.w.onLoop(func() { err = c.w.install(s, old) })
	if err != nil {
		return err
	}
	c.bundle.Close()
	c.current, c.bundle = s, c.offered
	c.prepared, c.offered = nil, nil
	c.drainTimeout.Store(int64(s.config.Supervisor.DrainTimeout))
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
	return c.send(handoff.Accepting, handoff.AcceptingBody{Config: number})
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
	return c.send(handoff.Committed, handoff.CommittedBody(body))
}

// drainFor takes no more connections, closes the idle ones after soft and all
// after hard, and ends the worker when none is left. A second call can only make
// it sooner. When it returns the worker accepts no more. Connections that carry no
// request go to the heirs, if there are any.
func (c *control) drainFor(soft, hard time.Duration, heirs ...*handoff.Conn) {
	w := c.w
	c.draining.Store(true)
	c.w.onLoop(func() {
		w.moving = w.moving || len(heirs) > 0
		w.drain(func() {
			_ = c.send(handoff.Drained, nil) // the exit says it too
			w.loop.Stop()
		})
	})
	time.AfterFunc(soft, func() { w.loop.Post(w.closeIdle) })
	time.AfterFunc(hard, w.loop.Stop)
	if len(heirs) > 0 {
		go w.moveTo(heirs)
	}
}

// channels makes the descriptors of m, which lead to other workers, ready for use.
// What does not work is as good as closed at the other end.
func channels(m handoff.Message) (all []*handoff.Conn) {
	for _, f := range m.Files {
		if conn, err := handoff.NewConn(f); err == nil {
			all = append(all, conn)
		}
	}
	return all
}

// build names the version of this program.
func build() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
