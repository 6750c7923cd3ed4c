package handoff

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxSealed bounds what Unseal reads, in bytes. A bundle is the files of one
// configuration with their certificates.
const maxSealed = 128 << 20

const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// Seal puts b into a memory file that nobody can change any more. The caller
// closes it.
func Seal(name string, b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("seal %s: memfd_create: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(b); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal %s: add seals: %w", name, err)
	}
	return f, nil
}

// Unseal reads a file that Seal made. It leaves f open and its offset, which
// all workers share, alone.
func Unseal(f *os.File) ([]byte, error) { return unseal(f, maxSealed) }

// UnsealAnswer is Unseal for what came with Tell.
func UnsealAnswer(f *os.File) ([]byte, error) { return unseal(f, MaxAnswer) }

func unseal(f *os.File, most int64) ([]byte, error) {
	got, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("unseal %s: get seals: %w", f.Name(), err)
	}
	if got&seals != seals {
		return nil, fmt.Errorf("unseal %s: %w", f.Name(), errors.New("not sealed: its bytes could change"))
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("unseal %s: %w", f.Name(), err)
	}
	if info.Size() > most {
		return nil, fmt.Errorf("unseal %s: %d bytes, at most %d allowed", f.Name(), info.Size(), most)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, info.Size()), b); err != nil {
		return nil, fmt.Errorf("unseal %s: %w", f.Name(), err)
	}
	return b, nil
}
