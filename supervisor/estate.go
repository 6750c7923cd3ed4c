package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/handoff"
)

// An estate is what a supervisor leaves to the next one: the lock of the state
// directory, the shared segment, the sockets. It goes over a channel to a process
// that is to take over, or through an exec to the same process with another
// program in it.
//
// The names of its descriptors: lock, segment, door, admin, bundle; those of
// listeners begin with "l.", those from systemd are theirs behind "p.".
type estate struct {
	lock, segment, door, admin, bundle *os.File

	sockets []descriptor // listeners
	passed  []*os.File   // from systemd, named as systemd names them

	giver *handoff.Conn // of a successor on trial; nil: the giver is gone, all is ours
	body  handoff.EstateBody
}

// estateVariable holds the names and numbers of the descriptors that have come
// through an exec.
const estateVariable = "PROXYD_ESTATE"

// estateLimit is how long the other supervisor may take for one message.
const estateLimit = 10 * time.Second

// takeInPlace is the estate that has come through an exec; nil if none has.
func takeInPlace() (*estate, error) {
	text, ok := os.LookupEnv(estateVariable)
	if !ok {
		return nil, nil
	}
	os.Unsetenv(estateVariable)
	numbers := make(map[string]int)
	if err := json.Unmarshal([]byte(text), &numbers); err != nil {
		return nil, fmt.Errorf("%s: %w", estateVariable, err)
	}
	e := new(estate)
	for name, fd := range numbers {
		unix.CloseOnExec(fd)
		e.put(name, fd)
	}
	return e, e.check()
}

// put takes a descriptor.
func (e *estate) put(name string, fd int) {
	passed, isPassed := strings.CutPrefix(name, "p.")
	if strings.HasPrefix(name, "l.") {
		e.sockets = append(e.sockets, descriptor{handoff.Listen, name, fd})
		return
	}
	if isPassed {
		name = passed
	}
	f := os.NewFile(uintptr(fd), name)
	switch single := e.single(name); {
	case isPassed:
		e.passed = append(e.passed, f)
	case single != nil && *single == nil:
		*single = f
	default:
		f.Close() // of a build that knows more than this one
	}
}

func (e *estate) single(name string) **os.File {
	return map[string]**os.File{
		"lock": &e.lock, "segment": &e.segment, "door": &e.door, "admin": &e.admin, "bundle": &e.bundle,
	}[name]
}

func (e *estate) check() error {
	for _, name := range []string{"lock", "segment", "door", "admin", "bundle"} {
		if *e.single(name) == nil {
			return fmt.Errorf("estate: no descriptor %q", name)
		}
	}
	return nil
}

// receiveEstate takes the estate from the supervisor at the other end of giver.
func receiveEstate(giver *handoff.Conn, build string) (*estate, error) {
	e := &estate{giver: giver}
	hello := handoff.HelloBody{Pid: os.Getpid(), Build: build, Version: handoff.Version}
	if err := giver.Send(handoff.Hello, 0, hello); err != nil {
		return nil, err
	}
	m, err := e.next(handoff.Estate)
	if err != nil {
		return nil, err
	}
	if err := m.Decode(&e.body); err != nil {
		return nil, err
	}
	for got := 0; got < e.body.Items; {
		m, err := e.next(handoff.Give)
		if err != nil {
			return nil, err
		}
		var body handoff.GiveBody
		if err := m.Decode(&body); err != nil || len(body.Names) != len(m.Files) || len(m.Files) == 0 {
			return nil, errors.Join(err, fmt.Errorf("%v: %d names, %d descriptors", m.Type, len(body.Names), len(m.Files)))
		}
		for i, f := range m.Files {
			fd, err := handoff.Detach(f)
			if err != nil {
				return nil, err
			}
			e.put(body.Names[i], fd)
		}
		got += len(m.Files)
		if err := giver.Send(handoff.Ack, 0, handoff.AckBody{Sequence: m.Sequence}); err != nil {
			return nil, err
		}
	}
	if _, err := e.next(handoff.Start); err != nil {
		return nil, err
	}
	return e, e.check()
}

func (e *estate) next(want handoff.Type) (handoff.Message, error) {
	m, err := e.giver.ReceiveBefore(time.Now().Add(estateLimit))
	if err == nil && m.Type != want {
		m.CloseFiles()
		err = fmt.Errorf("got %v, want %v", m.Type, want)
	}
	return m, err
}

// A named descriptor is one of an estate that is to be given.
type named struct {
	name string
	fd   int
}

// estate lists what this supervisor has to leave. The descriptors stay its own.
func (s *supervisor) estate() ([]named, error) {
	var list []named
	for name, f := range map[string]*os.File{
		"lock": s.home.lock, "segment": s.segment.File(), "door": s.door.file, "admin": s.adminFile, "bundle": s.bundle,
	} {
		if err := control(f, func(fd int) error { list = append(list, named{name, fd}); return nil }); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, sock := range s.sockets.all() {
		list = append(list, named{sock.name, sock.fd})
	}
	for _, sock := range s.sockets.passed {
		list = append(list, named{"p." + sock.name, sock.fd})
	}
	return list, nil
}

// giveEstate sends list to the successor at the other end of conn.
func giveEstate(conn *handoff.Conn, body handoff.EstateBody, list []named) error {
	body.Items = len(list)
	if err := conn.Send(handoff.Estate, 0, body); err != nil {
		return err
	}
	for len(list) > 0 {
		var give handoff.GiveBody
		var fds []int
		for _, d := range list[:min(len(list), handoff.MaxFiles)] {
			give.Names, fds = append(give.Names, d.name), append(fds, d.fd)
		}
		list = list[len(fds):]
		if err := conn.SendFDs(handoff.Give, 0, give, fds...); err != nil {
			return err
		}
		if m, err := conn.ReceiveBefore(time.Now().Add(estateLimit)); err != nil || m.Type != handoff.Ack {
			return errors.Join(err, fmt.Errorf("got %v, want ACK", m.Type))
		}
	}
	return conn.Send(handoff.Start, 0, handoff.StartBody{})
}

// execInPlace puts the program at exe into this process, with the estate. It
// returns only if that fails.
func execInPlace(exe string, list []named) error {
	numbers := make(map[string]int)
	for _, d := range list {
		fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD, 3) // not closed by the exec
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		numbers[d.name] = fd
	}
	text, err := json.Marshal(numbers)
	if err != nil {
		return err
	}
	if err := os.Setenv(estateVariable, string(text)); err != nil {
		return err
	}
	return fmt.Errorf("exec %s: %w", exe, unix.Exec(exe, os.Args, os.Environ()))
}
