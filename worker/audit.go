package worker

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// audit refuses a process that was started with a descriptor which it does not
// know: it would keep alive a socket that others take for closed. What this
// process opens itself is closed on exec; what it has inherited is not.
func audit() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil // no /proc, nothing to tell
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= segmentFD {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		target, _ := os.Readlink("/proc/self/fd/" + e.Name())
		return fmt.Errorf("started with descriptor %d, %s, which is none of a worker's", fd, target)
	}
	return nil
}
