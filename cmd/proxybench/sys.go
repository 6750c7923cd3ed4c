package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Relay, origin and load generator are loops on one thread with nothing beside
// them. So their system calls need not tell Go's scheduler, not even those that
// block, and Go adds next to nothing to what the kernel takes.

// maxFDs bounds the tables that are indexed by descriptor.
const maxFDs = 1 << 16

// loopEnvironment is for children that are loops: without it Go interrupts a
// thread every 10 ms that seems to run, as one does that waits unannounced.
const loopEnvironment = "GODEBUG=asyncpreemptoff=1"

// becomeLoop makes this process one. It allocates little and lives for seconds,
// so it collects no garbage: a collector would wait for the thread to come by.
func becomeLoop() {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(math.MaxInt64)
}

func recv(fd int32, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_DONTWAIT, 0, 0)
	return int(n), e
}

func send(fd int32, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	return int(n), e
}

// awaitWritable blocks until fd takes bytes, or patience ends.
func awaitWritable(fd int32, patience time.Duration) bool {
	p := unix.PollFd{Fd: fd, Events: unix.POLLOUT}
	t := unix.NsecToTimespec(int64(patience))
	n, _, _ := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	return int(n) == 1
}

func closeFD(fd int32) {
	syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0)
}

// accept returns false when nobody waits any more.
func accept(listener int32) (fd int32, ok bool) {
	n, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return -1, false
	}
	return int32(n), true
}

// A poller is an epoll instance, level-triggered.
type poller struct {
	epoll  int
	parent int
	events [512]unix.EpollEvent
}

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &poller{epoll: epoll, parent: os.Getppid()}, nil
}

// watch adds fd; its events come with mark in Fd. Closing fd removes it.
func (p *poller) watch(fd, mark int32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: mark}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, int(fd), &ev))
}

// watchOut asks for writability of fd too, or no longer. Its mark is fd.
func (p *poller) watchOut(fd int32, want bool) {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: fd}
	if want {
		ev.Events |= unix.EPOLLOUT
	}
	_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_MOD, int(fd), &ev)
}

// wait returns what happened, or nothing after patience.
func (p *poller) wait(patience time.Duration) []unix.EpollEvent {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)), uintptr(patience.Milliseconds()), 0, 0)
	if e != 0 { // EINTR
		return nil
	}
	return p.events[:n]
}

// orphaned reports whether the process that started this one has gone.
func (p *poller) orphaned() bool { return os.Getppid() != p.parent }

func loopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

func listen(port int) (int32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(fd, loopback(port)); err != nil {
		return -1, fmt.Errorf("bind 127.0.0.1:%d: %w", port, err)
	}
	return int32(fd), os.NewSyscallError("listen", unix.Listen(fd, 4096))
}

// connect blocks, at most 3 s: on loopback there is nothing to wait for.
func connect(to *unix.SockaddrInet4) (int32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 3})
	if err := unix.Connect(fd, to); err != nil {
		closeFD(int32(fd))
		return -1, os.NewSyscallError("connect", err)
	}
	noDelay(int32(fd))
	return int32(fd), nil
}

func noDelay(fd int32) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}
