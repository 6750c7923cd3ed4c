package discover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	fileInterval = time.Second // between two looks at a file
	maxFile      = 64 << 10

	// settled is how long ago a file must have changed for its time and size to
	// tell whether it is still what was read: within one tick of the file system's
	// clock it may have changed again.
	settled = 2 * time.Second
)

// A File is a file that lists servers, one a line:
//
//	10.0.0.1:8080
//	10.0.0.2:8080 weight=3   # a comment
//	[2001:db8::1]:8080 backup
//
// It is looked at every second. One with a mistake anywhere, or without servers,
// changes nothing. Who writes it does best to write another and to rename it.
type File struct{ Path string }

func (f File) String() string { return "file " + f.Path }

func (f File) origin() string { return "" }

func (f File) open() (asker, error) {
	if f.Path == "" {
		return nil, errors.New("it has no path")
	}
	return &watch{path: f.Path}, nil
}

// A watch is a file as one worker has seen it.
type watch struct {
	path   string
	seen   os.FileInfo // when latest was read; nil: it is to be read again
	latest reply
}

func (w *watch) ask(context.Context, []server) reply {
	info, err := os.Stat(w.path)
	if err == nil && w.seen != nil && unchanged(w.seen, info) {
		return w.latest
	}
	w.latest = reply{ttl: fileInterval}
	w.latest.servers, w.latest.err = readServers(w.path)
	w.seen = nil
	if err == nil && time.Since(info.ModTime()) > settled {
		w.seen = info
	}
	return w.latest
}

func unchanged(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func readServers(path string) ([]server, error) {
	text, err := readBounded(path, maxFile)
	if err != nil {
		if reason, ok := errors.AsType[*os.PathError](err); ok {
			return nil, reason.Err // the path is in the source's name
		}
		return nil, err
	}
	return parseServers(string(text))
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	// Opening a FIFO would block for as long as nobody writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("it has over %d bytes", limit)
	}
	return text, err
}

// parseServers reads the text of a File.
func parseServers(text string) ([]server, error) {
	var servers []server
	lines := make(map[netip.AddrPort]int)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		s, err := parseServer(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if at := lines[s.addr]; at != 0 {
			return nil, fmt.Errorf("line %d: %v is in line %d already", n, s.addr, at)
		}
		lines[s.addr] = n
		servers = append(servers, s)
	}
	switch {
	case len(servers) == 0:
		return nil, errors.New("it lists no server")
	case len(servers) > maxServers:
		return nil, fmt.Errorf("it lists %d servers; there may be %d", len(servers), maxServers)
	}
	return servers, nil
}

func parseServer(words []string) (server, error) {
	parsed, err := netip.ParseAddrPort(words[0])
	addr := parsed.Addr().Unmap()
	if err != nil || parsed.Port() == 0 || addr.Zone() != "" || !connectable(addr) {
		return server{}, fmt.Errorf(`%.40q is not the "ip:port" of a server`, words[0])
	}
	s := server{addr: netip.AddrPortFrom(addr, parsed.Port()), weight: 1}
	for _, word := range words[1:] {
		weight, weighted := strings.CutPrefix(word, "weight=")
		n, err := strconv.ParseUint(weight, 10, 16)
		switch {
		case word == "backup":
			s.backup = true
		case !weighted:
			return server{}, fmt.Errorf("%.40q is neither weight=N nor backup", word)
		case err != nil || n == 0:
			return server{}, fmt.Errorf("%.40q is not a weight from 1 to 65535", word)
		default:
			s.weight = uint16(n)
		}
	}
	return s, nil
}
