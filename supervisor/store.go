package supervisor

import (
	"os"
	"strings"

	"github.com/proxyd/proxyd/internal/handoff"
)

// A service manager can keep descriptors for a service that ends, and pass them
// to its next process. So connections wait in the kernel while all of proxyd is
// restarted, and counters and limits go on.

// segmentName is the segment's in the store; listeners have their own, as they
// have everywhere.
const segmentName = "segment"

// collect sorts what the service manager has passed: what we had left with it, and
// what is its own.
func (s *supervisor) collect(files []*os.File) (passed []*os.File) {
	s.stored = make(map[string]bool)
	for _, f := range files {
		name := f.Name()
		isListener := strings.HasPrefix(name, "l.")
		if !isListener && name != segmentName {
			passed = append(passed, f)
			continue
		}
		fd, err := handoff.Detach(f)
		if err != nil {
			s.log.Warn("descriptor store", "error", err)
			continue
		}
		s.stored[name] = true
		d := descriptor{handoff.Listen, name, fd}
		switch {
		case isListener && unreachable(fd):
			logs{d}.close()
		case isListener:
			s.collected = append(s.collected, d)
		default:
			s.collectSegment(fd)
		}
	}
	return passed
}

// unreachable tells whether a listening unix socket has lost its file.
func unreachable(fd int) bool {
	path, isUnix := strings.CutPrefix(boundTo(fd), "unix:")
	if !isUnix {
		return false
	}
	_, err := os.Lstat(path)
	return err != nil
}

func (s *supervisor) collectSegment(fd int) {
	f := os.NewFile(uintptr(fd), segmentName)
	defer f.Close()
	if s.segment != nil {
		return
	}
	if err := s.share(f); err != nil {
		s.log.Warn("counters and limits begin anew", "error", err)
	}
}

// store makes what the service manager keeps for us what we have.
func (s *supervisor) store() {
	if !s.manager.Stores() {
		return
	}
	wanted := map[string]bool{segmentName: true}
	for _, sock := range s.sockets.all() {
		if !sock.passed {
			wanted[sock.name] = true
			s.storeOne(sock.name, sock.fd)
		}
	}
	s.notify(control(s.segment.File(), func(fd int) error { s.storeOne(segmentName, fd); return nil }))
	for name := range s.stored {
		if !wanted[name] {
			s.notify(s.manager.Forget(name))
			delete(s.stored, name)
		}
	}
}

func (s *supervisor) storeOne(name string, fd int) {
	if s.stored[name] {
		return
	}
	if err := s.manager.Keep(name, fd); err != nil {
		s.notify(err)
		return
	}
	s.stored[name] = true
}
