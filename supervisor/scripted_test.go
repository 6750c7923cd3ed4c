package supervisor

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
)

// A script is a worker for tests. It keeps the supervisor's contract, and
// answers each connection with its pid, the number of its configuration and the
// host of the configuration's first upstream, and keeps it open. The host also
// is what it is told to do wrong: see obey and the calls of told.
type script struct {
	conn       *handoff.Conn
	generation uint32
	slot       int

	mu        sync.Mutex // of all below
	listeners map[string]net.Listener
	accepting map[string]bool
	number    uint64
	config    *config.Config
	next      *config.Config
}

func scriptedWorker() int {
	flags := flag.NewFlagSet("worker", flag.ExitOnError)
	slot := flags.Int("slot", -1, "")
	generation := flags.Uint("generation", 0, "")
	_ = flags.Parse(os.Args[2:])
	if os.Getenv("NOTIFY_SOCKET") != "" || os.Getenv("LISTEN_FDS") != "" {
		fmt.Fprintln(os.Stderr, "worker has the supervisor's environment")
		return 1
	}
	conn, err := handoff.NewConn(os.NewFile(3, "control"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s := &script{
		conn: conn, generation: uint32(*generation), slot: *slot,
		listeners: make(map[string]net.Listener), accepting: make(map[string]bool),
	}
	s.send(handoff.Hello, handoff.HelloBody{Pid: os.Getpid(), Version: handoff.Version, Slot: *slot, Answers: true})
	for {
		m, err := conn.Receive()
		if err != nil {
			return 0
		}
		if err := s.obey(m); err != nil {
			s.send(handoff.Nack, handoff.NackBody{Config: s.offered(m), Sequence: m.Sequence, Text: err.Error()})
		}
	}
}

func (s *script) send(t handoff.Type, body any) {
	if err := s.conn.Send(t, s.generation, body); err != nil {
		os.Exit(0) // the supervisor is gone
	}
}

func (s *script) offered(m handoff.Message) uint64 {
	var body handoff.PrepareBody
	_ = m.Decode(&body)
	return body.Config
}

// told tells whether a configuration asks for a misdeed.
func told(c *config.Config, misdeed string) bool {
	return c != nil && strings.HasPrefix(c.Upstreams[0].Host, misdeed)
}

func (s *script) obey(m handoff.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Type {
	case handoff.Listen:
		return s.listen(m)
	case handoff.Logs:
		for _, f := range m.Files { // and closed: it needs no more than to see that it can
			fmt.Fprintf(f, "pid=%d\n", os.Getpid())
		}
		m.CloseFiles()
		s.send(handoff.Ack, handoff.AckBody{Sequence: m.Sequence})
	case handoff.Prepare:
		return s.prepare(m)
	case handoff.Start:
		s.use(1)
		if told(s.config, "mute") {
			return nil
		}
		go s.beats()
		s.send(handoff.Accepting, handoff.AcceptingBody{Config: s.number})
	case handoff.Commit:
		if told(s.next, "deaf") {
			return nil
		}
		var body handoff.CommittedBody
		_ = m.Decode(&body)
		s.use(body.Config)
		s.send(handoff.Committed, body)
	case handoff.Abort:
		s.next = nil
		s.closeUnnamed()
	case handoff.Drain:
		go s.drain(m)
	case handoff.Ask:
		return s.answer(m)
	}
	return nil
}

func (s *script) listen(m handoff.Message) error {
	var body handoff.ListenBody
	if err := m.Decode(&body); err != nil {
		return err
	}
	for i, f := range m.Files {
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return err
		}
		if s.listeners[body.Names[i]] != nil {
			return fmt.Errorf("listener %s came twice", body.Names[i])
		}
		s.listeners[body.Names[i]] = l
	}
	s.send(handoff.Ack, handoff.AckBody{Sequence: m.Sequence})
	return nil
}

func (s *script) prepare(m handoff.Message) error {
	defer m.CloseFiles()
	data, err := handoff.Unseal(m.Files[0])
	if err != nil {
		return err
	}
	bundle, err := config.DecodeBundle(data)
	if err != nil {
		return err
	}
	var body handoff.PrepareBody
	if err := m.Decode(&body); err != nil {
		return err
	}
	if body.SHA256 != bundle.Digest() {
		return fmt.Errorf("digest %v does not match", body.SHA256)
	}
	c, err := bundle.Parse()
	if err != nil {
		return err
	}
	switch {
	case told(c, "nack"):
		return fmt.Errorf("certificate of %s has expired", c.Upstreams[0].Host)
	case told(c, "panic"):
		panic("boom")
	case told(c, "exit"):
		fmt.Fprintln(os.Stderr, "cannot go on")
		os.Exit(7)
	}
	s.next = c
	s.number = max(s.number, 1)
	s.send(handoff.Prepared, handoff.PreparedBody{Config: body.Config})
	if s.config == nil {
		s.number = body.Config
	}
	return nil
}

// use puts the prepared configuration in force.
func (s *script) use(number uint64) {
	if s.config != nil {
		s.number = number
	}
	s.config, s.next = s.next, nil
	if told(s.config, "dies") {
		go func() {
			time.Sleep(50 * time.Millisecond)
			panic("too late")
		}()
	}
	s.closeUnnamed()
	for name, l := range s.listeners {
		if !s.accepting[name] {
			s.accepting[name] = true
			go s.accept(l)
		}
	}
}

// closeUnnamed closes the listeners that the configuration in force does not name.
func (s *script) closeUnnamed() {
	named := make(map[string]bool)
	for _, l := range s.config.Listeners {
		for _, a := range l.Addresses {
			named[a.Name()] = true
		}
	}
	for name, l := range s.listeners {
		if !named[name] {
			l.Close()
			delete(s.listeners, name)
			delete(s.accepting, name)
		}
	}
}

func (s *script) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		fmt.Fprintf(nc, "pid=%d config=%d host=%s\n", os.Getpid(), s.number, s.config.Upstreams[0].Host)
		s.mu.Unlock()
	}
}

func (s *script) beats() {
	for {
		s.send(handoff.Beat, nil)
		time.Sleep(time.Second)
	}
}

// drain ends at once, or if told to be slow not before it must.
func (s *script) drain(m handoff.Message) {
	var body handoff.DrainBody
	_ = m.Decode(&body)
	s.mu.Lock()
	for _, l := range s.listeners {
		l.Close()
	}
	slow := told(s.config, "slow")
	s.mu.Unlock()
	if slow {
		time.Sleep(body.Hard)
	}
	s.send(handoff.Drained, nil)
	os.Exit(0)
}
