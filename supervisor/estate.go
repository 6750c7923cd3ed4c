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

	made  bool          // the state directory was, by us
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
	var v inPlace
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, fmt.Errorf("%s: %w", estateVariable, err)
	}
	e := &estate{made: v.Made}
	for name, fd := range v.Descriptors {
		unix.CloseOnExec(fd)
		e.put(name, fd)
	}
	return e, e.check()
}

// An inPlace is the value of estateVariable.
type inPlace struct {
	Made        bool           `json:"made"`
	Descriptors map[string]int `json:"descriptors"`
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
	e.made = e.body.Made
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

func closeNamed(list []named) {
	for _, d := range list {
		unix.Close(d.fd)
	}
}

// estate lists what this supervisor has to leave, as duplicates that the caller
// closes.
func (s *supervisor) estate() (list []named, err error) {
	add := func(name string, fd int) error {
		copied, err := dup(fd)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, named{name, copied})
		return nil
	}
	door, err := s.door.listener.File()
	if err != nil {
		return nil, err
	}
	defer door.Close()
	for name, f := range map[string]*os.File{
		"lock": s.home.lock, "segment": s.segment.File(), "door": door, "bundle": s.bundle,
	} {
		err = errors.Join(err, control(f, func(fd int) error { return add(name, fd) }))
	}
	err = errors.Join(err, add("admin", s.admin.fd))
	for _, sock := range s.sockets.all() {
		err = errors.Join(err, add(sock.name, sock.fd))
	}
	for _, sock := range s.sockets.passed {
		err = errors.Join(err, add("p."+sock.name, sock.fd))
	}
	if err != nil {
		closeNamed(list)
		return nil, err
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
func execInPlace(exe string, made bool, list []named) error {
	v := inPlace{Made: made, Descriptors: make(map[string]int)}
	for _, d := range list {
		fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD, 3) // not closed by the exec
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		v.Descriptors[d.name] = fd
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.Setenv(estateVariable, string(text)); err != nil {
		return err
	}
	return fmt.Errorf("exec %s: %w", exe, unix.Exec(exe, os.Args, os.Environ()))
}
