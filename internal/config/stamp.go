package config

import (
	"os"
	"syscall"
)

// A Stamp tells one state of a file from another without reading it: which file
// it is, behind all symbolic links, its size, and when its bytes and its owner or
// mode last changed. The zero Stamp is that of no file.
type Stamp struct {
	device, inode     uint64
	size              int64
	modified, changed syscall.Timespec
}

// StampOf looks at the file at path. One that cannot be looked at is no file.
func StampOf(path string) Stamp {
	info, err := os.Stat(path)
	if err != nil {
		return Stamp{}
	}
	return stamp(info)
}

func stamp(info os.FileInfo) Stamp {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Stamp{}
	}
	return Stamp{device: s.Dev, inode: s.Ino, size: s.Size, modified: s.Mtim, changed: s.Ctim}
}

// Stamps returns the absolute paths of the files that the configuration names
// and whose bytes the bundle holds, with the stamps they had right before they
// were read; zero if that was in another process. The configuration's own file is
// not among them. The caller owns the map.
func (b *Bundle) Stamps() map[string]Stamp {
	stamps := make(map[string]Stamp, len(b.data.Files))
	for name := range b.data.Files {
		path := b.resolve(name)
		stamps[path] = b.stamps[path]
	}
	return stamps
}
