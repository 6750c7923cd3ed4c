package supervisor

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/handoff"
)

// sockets are all listening sockets of the proxy.
type sockets struct {
	open   map[string]*socket // in use, by name
	passed []*socket          // from systemd, in use or not, held for life
}

// take keeps the sockets that systemd passed. It closes files.
func (ss *sockets) take(files []*os.File) error {
	var errs []error
	for _, f := range files {
		s, err := takeOne(f)
		if err != nil {
			errs = append(errs, fmt.Errorf("socket %q from systemd: %w", f.Name(), err))
			continue
		}
		ss.passed = append(ss.passed, s)
	}
	return errors.Join(errs...)
}

func takeOne(f *os.File) (*socket, error) {
	name := f.Name()
	fd, err := handoff.Detach(f)
	if err != nil {
		return nil, err
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err == nil && listens == 0 {
		err = errors.New("it does not listen (use ListenStream= and Accept=no)")
	}
	if err == nil {
		// systemd passes blocking sockets; every process that shares it polls.
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &socket{name: name, fd: fd, bound: boundTo(fd), passed: true}, nil
}

// missing opens the sockets that cfg names and that are not open yet. It opens
// all or, with every reason why not, none. They are not in use before add.
func (ss *sockets) missing(cfg *config.Config) ([]*socket, error) {
	var added []*socket
	var errs []error
	for _, l := range cfg.Listeners {
		for _, a := range l.Addresses {
			if ss.open[a.Name()] != nil {
				continue
			}
			s, err := ss.get(a)
			if err != nil {
				errs = append(errs, fmt.Errorf("listener %q: %w", l.Name, err))
				continue
			}
			added = append(added, s)
		}
	}
	if errs != nil {
		drop(added)
		return nil, errors.Join(errs...)
	}
	return added, nil
}

// get finds the passed socket for a, or binds a new one.
func (ss *sockets) get(a config.Address) (*socket, error) {
	var found []*socket
	for _, s := range ss.passed {
		if s.is(a) {
			found = append(found, s)
		}
	}
	switch {
	case len(found) == 1, len(found) > 1 && a.Network != "systemd":
		s := *found[0]
		s.name, s.address = a.Name(), a
		return &s, nil
	case len(found) > 1:
		return nil, fmt.Errorf("systemd passed %d sockets named %q (give each its own FileDescriptorName=)", len(found), a.Value)
	case a.Network == "systemd":
		return nil, fmt.Errorf("systemd passed no socket named %q (%s)", a.Value, ss.passedNames())
	}
	s, err := bind(a)
	if errors.Is(err, unix.EADDRINUSE) && a.Network == "tcp" {
		if own := ss.samePort(a); own != "" {
			return nil, fmt.Errorf("bind %s: %w (by this proxy itself, as %s; "+
				"take that out and reload first, or restart)", a.Value, unix.EADDRINUSE, own)
		}
	}
	return s, err
}

// is tells whether a passed socket is the one for a.
func (s *socket) is(a config.Address) bool {
	switch a.Network {
	case "systemd":
		return s.name == a.Value
	case "unix":
		return s.bound == "unix:"+a.Value
	}
	return s.bound == a.Value
}

func (ss *sockets) passedNames() string {
	if len(ss.passed) == 0 {
		return "none was passed: is the .socket unit enabled and started?"
	}
	var names []string
	for _, s := range ss.passed {
		names = append(names, s.name)
	}
	return "passed: " + strings.Join(names, ", ")
}

// samePort finds an open socket of ours on the port of a.
func (ss *sockets) samePort(a config.Address) string {
	port := a.Value[strings.LastIndexByte(a.Value, ':'):]
	for _, s := range ss.all() {
		if strings.HasSuffix(s.bound, port) {
			return s.bound
		}
	}
	return ""
}

// maxSockets bounds what is believed of how many there are.
const maxSockets = 65536

// inherit takes a listening socket that a worker has kept alive. It owns the
// descriptor. Several workers bring the same one.
func (ss *sockets) inherit(d descriptor) error {
	if ss.open[d.name] != nil {
		unix.Close(d.fd)
		return nil
	}
	if listens, err := unix.GetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens == 0 {
		unix.Close(d.fd)
		return errors.Join(err, errors.New("it does not listen any more"))
	}
	s := &socket{name: d.name, fd: d.fd, bound: boundTo(d.fd)}
	for _, p := range ss.passed {
		if cookie(p.fd) == cookie(d.fd) { // systemd has passed it once more
			unix.Close(s.fd)
			s.fd, s.passed = p.fd, true
		}
	}
	ss.open[d.name] = s
	return nil
}

// own makes this process the one that removes the files of unix sockets.
func (ss *sockets) own() {
	for _, s := range ss.open {
		if path, ok := strings.CutPrefix(s.bound, "unix:"); ok && !s.passed && s.file == nil {
			s.address = config.Address{Network: "unix", Value: path}
			s.file, _ = os.Lstat(path) // without it nobody can reach the socket, but who has can go on
		}
	}
}

// disown leaves the files of unix sockets to another process.
func (ss *sockets) disown() {
	for _, s := range ss.open {
		s.file = nil
	}
}

// cookie tells a socket from all others of this machine.
func cookie(fd int) uint64 {
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return uint64(fd) // unlike any other's; the kernel's count from 1
	}
	return c
}

// address gives the sockets their addresses as cfg writes them.
func (ss *sockets) address(cfg *config.Config) {
	for _, l := range cfg.Listeners {
		for _, a := range l.Addresses {
			if s := ss.open[a.Name()]; s != nil {
				s.address = a
			}
		}
	}
}

// add takes sockets into use.
func (ss *sockets) add(added []*socket) {
	for _, s := range added {
		ss.open[s.name] = s
	}
}

// prune ends those that cfg does not name.
func (ss *sockets) prune(cfg *config.Config) {
	named := make(map[string]bool)
	for _, l := range cfg.Listeners {
		for _, a := range l.Addresses {
			named[a.Name()] = true
		}
	}
	for name, s := range ss.open {
		if !named[name] {
			delete(ss.open, name)
			drop([]*socket{s})
		}
	}
}

// drop ends sockets; passed ones stay, for a later configuration.
func drop(list []*socket) {
	for _, s := range list {
		if !s.passed {
			s.shut()
		}
	}
}

// all lists the open sockets in order of name.
func (ss *sockets) all() []*socket {
	list := make([]*socket, 0, len(ss.open))
	for _, s := range ss.open {
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list
}

// descriptors lists the open sockets for a worker.
func (ss *sockets) descriptors() []descriptor { return descriptorsOf(ss.all()) }

func descriptorsOf(list []*socket) []descriptor {
	var ds []descriptor
	for _, s := range list {
		ds = append(ds, descriptor{handoff.Listen, s.name, s.fd})
	}
	return ds
}

// close closes our descriptors. What workers have queued they can still accept.
func (ss *sockets) close() {
	for _, s := range ss.open {
		if !s.passed {
			s.close()
		}
	}
	for _, s := range ss.passed {
		s.close()
	}
	ss.open, ss.passed = nil, nil
}
