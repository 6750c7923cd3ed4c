package supervisor

import (
	"github.com/proxyd/proxyd/internal/handoff"
	"golang.org/x/sys/unix"
)

// maxHeirs is how many workers take over the connections of one that is to go.
const maxHeirs = 8

// heirs makes channels over which a worker that is to go can give its connections
// to those that stay, and returns its ends. Traffic never comes here. There are
// none when the proxy stops, or if it is short of descriptors.
func (s *supervisor) heirs() (ends []int) {
	if s.stopping {
		return nil
	}
	for _, w := range s.workers {
		if !w.current(s) || !w.state.serves() || len(ends) == maxHeirs {
			continue
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			s.log.Warn("connections are not handed over", "error", err)
			return ends
		}
		s.send(w, handoff.Heir, handoff.HeirBody{}, pair[1])
		unix.Close(pair[1])
		ends = append(ends, pair[0])
	}
	return ends
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
