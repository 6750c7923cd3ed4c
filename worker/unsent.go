package worker

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// The kernel takes megabytes of a response for each client, whether it reads or
// not, and enough clients that do not read use up what it has for all of TCP. So
// it may hold little for a client, but for a few at a time who get large bodies:
// these move at twice the speed if the kernel takes them in large pieces.
const (
	maxUnsent = 64 << 10 // bytes that wait to be sent; what is on its way comes on top
	spacious  = 4 << 20  // bytes that the kernel may hold for a client without that bound
)

// boundUnsent bounds what is held for the clients of a listening socket: what it
// accepts inherits the option. (It would a TCP_USER_TIMEOUT too, but that also
// ends readers who are only slow.)
func boundUnsent(fd int) {
	// A unix socket has no such option, and its buffers are small.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
}

// permits is how many clients of one worker may be without the bound: all workers
// together take an eighth of the kernel's memory for TCP.
func permits() int {
	var low, pressure, high int // pages (tcp(7))
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_mem")
	if err == nil {
		_, err = fmt.Sscan(string(text), &low, &pressure, &high)
	}
	if err != nil {
		return 1
	}
	return max(1, high*os.Getpagesize()/8/spacious/runtime.NumCPU())
}

// widen lifts the bound for a client that gets a large body, if another may be
// without it.
func (c *client) widen() {
	w := c.listener.w
	if c.wide || w.permits == 0 || !c.plain() {
		return
	}
	if unix.SetsockoptInt(c.FD(), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 0) == nil {
		c.wide = true
		w.permits--
	}
}

// siocoutqnsd asks for the bytes that wait to be sent (linux/sockios.h).
const siocoutqnsd = 0x894b

// narrow takes that back from a client for whom nothing waits. One that does not
// read keeps it, and the others go without.
func (c *client) narrow() {
	if !c.wide {
		return
	}
	waiting, err := unix.IoctlGetInt(c.FD(), siocoutqnsd)
	if err == nil && waiting == 0 {
		_ = unix.SetsockoptInt(c.FD(), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent) // as before
		c.forgo()
	}
}

// forgo is narrow for a connection that is closed.
func (c *client) forgo() {
	if c.wide {
		c.wide = false
		c.listener.w.permits++
	}
}
