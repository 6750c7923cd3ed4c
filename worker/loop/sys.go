package loop

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of the forward path go through RawSyscall: on a non-blocking
// descriptor they never block, and telling the Go scheduler of each one costs
// more than some of the calls do. It is what this package imports unsafe for.

const epollet = 1 << 31 // EPOLLET is negative in package unix

func recv(fd int32, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	return int(n), e
}

// peek is recv of a byte that it leaves there.
func peek(fd int32) syscall.Errno {
	var b [1]byte
	_, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1, syscall.MSG_PEEK, 0, 0)
	return e
}

func send(fd int32, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0)
	return int(n), e
}

// vector is what a gathered send needs; one serves a whole loop.
type vector struct {
	hdr unix.Msghdr
	iov [4]unix.Iovec
}

func (v *vector) send(fd int32, bufs [][]byte, flags uintptr) (int, syscall.Errno) {
	k := 0
	for _, b := range bufs {
		if len(b) == 0 {
			continue
		}
		v.iov[k].Base = unsafe.SliceData(b)
		v.iov[k].SetLen(len(b))
		k++
	}
	v.hdr.Iov = &v.iov[0]
	v.hdr.SetIovlen(k)
	n, _, e := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.hdr)), syscall.MSG_NOSIGNAL|flags)
	return int(n), e
}

// peer is where the kernel writes the address of an accepted connection.
type peer struct {
	raw unix.RawSockaddrAny
	len uint32
}

func (p *peer) accept(fd int32) (int, syscall.Errno) {
	p.len = unix.SizeofSockaddrAny
	n, _, e := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&p.raw)), uintptr(unsafe.Pointer(&p.len)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	return int(n), e
}

// address is invalid (the zero AddrPort) for a unix socket's peer.
func (p *peer) address() netip.AddrPort {
	switch p.raw.Addr.Family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(&p.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), bigEndian(a.Port))
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(&p.raw))
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), bigEndian(a.Port))
	}
	return netip.AddrPort{}
}

func bigEndian(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// splice moves up to n bytes; one of the two is a pipe. It takes no flag like
// MSG_NOSIGNAL: the process ignores SIGPIPE, as Go does for sockets.
func splice(from, to int32, n int) (int, syscall.Errno) {
	moved, _, e := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return int(moved), e
}

// pollFor waits for events without telling the Go scheduler. When that wants the
// goroutine to stop, its signal ends the wait.
func pollFor(epoll int, events []unix.EpollEvent, ms uint) int {
	n, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(ms), 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// kick adds one to an eventfd, which fails only when its count is full: then a
// wake-up is pending anyway.
func kick(eventfd int) {
	one := uint64(1)
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(eventfd), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

func closeFD(fd int32) {
	syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0)
}
