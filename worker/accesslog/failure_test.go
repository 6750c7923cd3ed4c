package accesslog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A reader that reads nothing costs lines, and no time of the loop's or of Close,
// be the FIFO blocking (the descriptor is shared with others, who may make it so)
// or not.
func TestAStalledReaderStallsNothing(t *testing.T) {
	for _, blocking := range []bool{false, true} {
		name := filepath.Join(t.TempDir(), "fifo")
		from := reader(t, name)
		log := &opened{name: name}
		fd := openFile(t, name)
		log.File = NewFile(fd, &log.dropped)
		if blocking {
			if err := unix.SetNonblock(fd, false); err != nil {
				t.Fatal(err)
			}
		}
		sent := fill(t, log)
		began := time.Now()
		log.Close()
		if took := time.Since(began); took > 4*closeTimeout {
			t.Errorf("blocking=%v: Close: got %v; want about %v", blocking, took, closeTimeout)
		}
		var text strings.Builder
		await(t, "the writer has ended", func() bool { // a blocked one needs its reader
			text.WriteString(drain(t, from))
			select {
			case <-log.written:
				return true
			default:
				return false
			}
		})
		text.WriteString(drain(t, from))
		unix.Close(from)
		c := make(tally)
		c.count(t, []byte(text.String()), "fifo") // the last lines are dropped: those before have no gap
		if got := c[1] + int(log.dropped.Load()); got != sent || c[1] == 0 {
			t.Errorf("blocking=%v: %d written, %d dropped; want %d in all", blocking, c[1], log.dropped.Load(), sent)
		}
	}
}

// What waits for a stalled reader goes to the new file, the line under way too.
func TestReplaceFreesFromAStalledReader(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fifo")
	from := reader(t, name)
	defer unix.Close(from)
	log := open(t, name)
	sent := fill(t, log)
	before := int(log.dropped.Load())
	log.name = filepath.Join(t.TempDir(), "file")
	log.Replace(openFile(t, log.name))
	log.Close()
	c := make(tally)
	c.count(t, []byte(drain(t, from)), "fifo")
	inFIFO := c[1]
	c.count(t, readFile(t, log.name), "file")
	if got := c[1] + before; got != sent || inFIFO == 0 || c[1] == inFIFO {
		t.Errorf("got %d lines in the FIFO, %d in all, %d dropped; want %d", inFIFO, c[1], before, sent)
	}
	log.wantDropped(t, uint64(before))
}

// tear has a line of which size bytes are in a FIFO, and the writer waits for room
// for the others.
func tear(t *testing.T) (log *opened, from, size int) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fifo")
	from = reader(t, name)
	size, err := unix.FcntlInt(uintptr(from), unix.F_SETPIPE_SZ, 4096)
	if err != nil {
		t.Fatalf("F_SETPIPE_SZ: %v", err)
	}
	log = open(t, name)
	log.Line([]byte(strings.Repeat("x", 3*size)))
	log.Line([]byte("behind it"))
	log.Tick()
	await(t, "the FIFO is full", func() bool {
		n, err := unix.IoctlGetInt(from, unix.TIOCINQ)
		return err == nil && n == size
	})
	return log, from, size
}

func TestATornLineIsWrittenWholeToTheNewFile(t *testing.T) {
	log, from, _ := tear(t)
	defer unix.Close(from)
	log.name = filepath.Join(t.TempDir(), "file")
	log.Replace(openFile(t, log.name))
	log.Line([]byte("last"))
	log.Close()
	log.awaitText(t, strings.Repeat("x", 3*4096)+"\nbehind it\nlast\n")
	log.wantDropped(t, 0)
}

func TestATornLineDoesNotSpoilTheNext(t *testing.T) {
	log, from, size := tear(t)
	unix.Close(from)
	await(t, "the line is dropped", func() bool { return log.dropped.Load() == 2 })
	if err := log.Err(); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("error: got %v; want %v", err, syscall.EPIPE)
	}
	again := reader(t, log.name)
	defer unix.Close(again)
	if got, want := drain(t, again), strings.Repeat("x", size); got != want {
		t.Fatalf("torn line: got %d bytes; want %d", len(got), len(want))
	}
	log.Line([]byte("next"))
	log.Close()
	if got, want := drain(t, again), "\nnext\n"; got != want {
		t.Errorf("after the torn line: got %q; want %q", got, want)
	}
	if err := log.Err(); err != nil {
		t.Errorf("error: got %v; want it forgotten after a good write", err)
	}
	log.wantDropped(t, 2)
}

func TestAFullDisk(t *testing.T) {
	log := open(t, "/dev/full")
	if err := log.Err(); err != nil {
		t.Errorf("error at the start: got %v; want none", err)
	}
	for n := range 1000 {
		addNumbered(log.File, 1, n+1)
	}
	await(t, "all is dropped", func() bool {
		log.Tick()
		return log.dropped.Load() == 1000
	})
	if err := log.Err(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error: got %v; want %v", err, syscall.ENOSPC)
	}
	log.name = filepath.Join(t.TempDir(), "log")
	log.Replace(openFile(t, log.name))
	log.Line([]byte("there is room"))
	log.Tick()
	log.awaitText(t, "there is room\n")
	await(t, "the error is forgotten", func() bool { return log.Err() == nil })
	log.Close()
	log.wantDropped(t, 1000)
}

// A disk that fills in mid-write takes part of the lines: those count as written.
func TestADiskThatFills(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("proxyd-test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	}()
	log := open(t, filepath.Join(dir, "log"))
	for n := range 1000 {
		addNumbered(log.File, 1, n+1)
	}
	log.Close()
	text := readFile(t, log.name)
	whole := text[:strings.LastIndexByte(string(text), '\n')+1]
	c := make(tally)
	c.count(t, whole, "log")
	if got := c[1] + int(log.dropped.Load()); got != 1000 || c[1] == 0 || len(text) != 64<<10 {
		t.Errorf("got %d bytes, %d lines written, %d dropped; want %d bytes, 1000 lines", len(text), c[1], log.dropped.Load(), 64<<10)
	}
}

func TestReplaceAfterCloseClosesTheNew(t *testing.T) {
	log := open(t, filepath.Join(t.TempDir(), "log"))
	log.Close()
	fd := openFile(t, log.name)
	log.Replace(fd)
	await(t, "the descriptor is closed", func() bool {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		return errors.Is(err, syscall.EBADF)
	})
}
