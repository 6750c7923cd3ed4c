package shm

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The size can never change again, by nobody: a mapping of a file that shrinks
// would kill its process with SIGBUS.
const sizeSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// A Segment is this process's mapping of the shared segment. Its methods may be
// called from any goroutine. Nothing that they return may be used after Close.
type Segment struct {
	file   *os.File
	data   []byte
	layout *layout
}

// Create makes a new, empty segment. Only the supervisor does.
func Create() (*Segment, error) {
	s, err := create()
	if err != nil {
		return nil, fmt.Errorf("create shared segment: %w", err)
	}
	return s, nil
}

func create() (*Segment, error) {
	fd, err := memfd()
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "shm")
	s, err := initialize(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func memfd() (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("proxyd", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		return unix.MemfdCreate("proxyd", flags)
	}
	return fd, err
}

func initialize(f *os.File) (*Segment, error) {
	if err := f.Truncate(segmentSize); err != nil {
		return nil, fmt.Errorf("set size: %w", err)
	}
	s, err := mapped(f, segmentSize)
	if err != nil {
		return nil, err
	}
	var seed [8]byte
	rand.Read(seed[:])
	h := &s.layout.header
	h.magic = magic
	h.layout = layoutMajor<<32 | layoutMinor
	h.size = segmentSize
	h.seed = binary.NativeEndian.Uint64(seed[:])
	h.creator = uint64(os.Getpid())
	h.created = uint64(time.Now().UnixNano())
	h.arena.Store(uint64(arenaStart))
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, sizeSeals); err != nil {
		_ = unix.Munmap(s.data)
		return nil, fmt.Errorf("seal: %w", err)
	}
	return s, nil
}

// Open maps the segment that f refers to, after it has checked that it is one
// that this build understands. It takes ownership of f: Close closes it, and so
// does Open itself when it fails.
func Open(f *os.File) (*Segment, error) {
	s, err := open(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open shared segment: %w", err)
	}
	return s, nil
}

func open(f *os.File) (*Segment, error) {
	size, err := check(f)
	if err != nil {
		return nil, err
	}
	return mapped(f, size)
}

// check reads the header through the descriptor: mapping a file whose seals and
// size are not known yet could end in SIGBUS.
func check(f *os.File) (size int, err error) {
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return 0, fmt.Errorf("not a memfd: %w", err)
	}
	if seals&sizeSeals != sizeSeals {
		return 0, fmt.Errorf("seals are %#x, want at least %#x", seals, sizeSeals)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() < int64(arenaStart) {
		return 0, fmt.Errorf("it has %d bytes, want at least %d", info.Size(), arenaStart)
	}
	h, err := readPrefix(f)
	if err != nil {
		return 0, err
	}
	switch {
	case h.magic != magic:
		return 0, fmt.Errorf("magic is %#x, want %#x", h.magic, magic)
	case h.layout>>32 != layoutMajor:
		return 0, fmt.Errorf("layout is version %d, want %d", h.layout>>32, layoutMajor)
	case h.size != uint64(info.Size()):
		return 0, fmt.Errorf("header says %d bytes, it has %d", h.size, info.Size())
	}
	return int(h.size), nil
}

// prefix is what the header says of the segment as a whole.
type prefix struct{ magic, layout, size uint64 }

func readPrefix(f *os.File) (prefix, error) {
	var b [24]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return prefix{}, fmt.Errorf("read header: %w", err)
	}
	return prefix{
		magic:  binary.NativeEndian.Uint64(b[0:]),
		layout: binary.NativeEndian.Uint64(b[8:]),
		size:   binary.NativeEndian.Uint64(b[16:]),
	}, nil
}

func mapped(f *os.File, size int) (*Segment, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	// A core dump would touch, and so allocate, every page.
	_ = unix.Madvise(data, unix.MADV_DONTDUMP)
	return &Segment{file: f, data: data, layout: at(data)}, nil
}

// File is the descriptor to give to other processes. The segment owns it.
func (s *Segment) File() *os.File { return s.file }

// Close unmaps the segment and closes its descriptor. The segment itself lives
// for as long as any process has it.
func (s *Segment) Close() error {
	return errors.Join(unix.Munmap(s.data), s.file.Close())
}
