package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// An opened is a File on a file of the test's.
type opened struct {
	*File
	name    string
	dropped atomic.Uint64
}

func open(t *testing.T, name string) *opened {
	t.Helper()
	o := &opened{name: name}
	o.File = NewFile(openFile(t, name), &o.dropped)
	return o
}

func (o *opened) awaitText(t *testing.T, want string) {
	t.Helper()
	var got []byte
	await(t, fmt.Sprintf("%s: %.40q", o.name, want), func() bool {
		got, _ = os.ReadFile(o.name)
		return string(got) == want
	})
}

func (o *opened) wantDropped(t *testing.T, want uint64) {
	t.Helper()
	if got := o.dropped.Load(); got != want {
		t.Errorf("dropped: got %d; want %d", got, want)
	}
}

// addNumbered adds a line of JSON with n in it; the lengths vary.
func addNumbered(f *File, writer, n int) {
	f.JSON(&Record{Status: n, Attempts: writer, Host: bytes.Repeat([]byte{'h'}, n%200)})
}

// write adds lines, ticks now and then and waits for the writer when that is far
// behind. It may run on any goroutine; often is called with the number of each.
func (o *opened) write(t *testing.T, writer, lines int, often func(n int)) {
	for n := 1; n <= lines; n++ {
		often(n)
		addNumbered(o.File, writer, n)
		if n%50 > 0 {
			continue
		}
		o.Tick()
		if !within(patience, func() bool { return len(o.full) < maxBatches/2 }) {
			t.Errorf("writer %d: no progress in %v", writer, patience)
			return
		}
	}
}

// A tally checks numbered lines: each whole, those of one writer in their order.
type tally map[int]int // the last number by writer

func (c tally) count(t *testing.T, text []byte, step string) {
	t.Helper()
	for line := range bytes.Lines(text) {
		var r struct{ Attempts, Status int }
		if err := json.Unmarshal(line, &r); err != nil || line[len(line)-1] != '\n' {
			t.Fatalf("%s: %q: %v; want a whole line", step, line, err)
		}
		if want := c[r.Attempts] + 1; r.Status != want {
			t.Fatalf("%s: line of writer %d: got number %d; want %d", step, r.Attempts, r.Status, want)
		}
		c[r.Attempts]++
	}
}

func (c tally) want(t *testing.T, writers, lines int) {
	t.Helper()
	for w := 1; w <= writers; w++ {
		if c[w] != lines {
			t.Errorf("lines of writer %d: got %d; want %d", w, c[w], lines)
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTickWritesWhatThereIs(t *testing.T) {
	log := open(t, filepath.Join(t.TempDir(), "log"))
	defer log.Close()
	log.Tick()
	log.Line([]byte("one\ntwo"))
	log.Line(nil)
	if n := len(log.full); n != 0 {
		t.Errorf("batches passed before a tick: got %d; want 0", n)
	}
	log.Tick()
	log.awaitText(t, `one\x0Atwo`+"\n\n")
	log.Line([]byte("three"))
	log.Tick()
	log.awaitText(t, `one\x0Atwo`+"\n\nthree\n")
	log.wantDropped(t, 0)
}

func TestCloseWritesWhatThereIs(t *testing.T) {
	log := open(t, filepath.Join(t.TempDir(), "log"))
	const lines = 1000 // a few batches
	for n := range lines {
		addNumbered(log.File, 1, n+1)
	}
	log.Close()
	c := make(tally)
	c.count(t, readFile(t, log.name), "log")
	c.want(t, 1, lines)
	log.wantDropped(t, 0)
}

// One worker writes while its file is moved away and replaced again and again, as
// logrotate does.
func TestReplaceLosesNothing(t *testing.T) {
	const lines, rotations = 100_000, 50
	name := filepath.Join(t.TempDir(), "log")
	log, files := open(t, name), 0
	log.write(t, 1, lines, func(n int) {
		if n%(lines/rotations) == 0 {
			if err := os.Rename(name, fmt.Sprintf("%s.%d", name, files)); err != nil {
				t.Fatal(err)
			}
			files++
			log.Replace(openFile(t, name))
		}
	})
	log.Close()
	c, filled := make(tally), 0
	for i := range rotations {
		text := readFile(t, fmt.Sprintf("%s.%d", name, i))
		c.count(t, text, fmt.Sprintf("file %d", i))
		if len(text) > 0 {
			filled++
		}
	}
	c.count(t, readFile(t, name), "last file")
	c.want(t, 1, lines)
	log.wantDropped(t, 0)
	if filled < rotations/2 {
		t.Errorf("files with lines: got %d; want at least half of %d", filled, rotations)
	}
}

// Several workers have one file or FIFO open: no line is torn by another's.
func TestWorkersShareAFile(t *testing.T) {
	const workers, lines = 4, 10_000
	for _, kind := range []string{"file", "fifo"} {
		t.Run(kind, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "log")
			read := func() []byte { return readFile(t, name) }
			if kind == "fifo" {
				read = readFIFO(t, name)
			}
			var all sync.WaitGroup
			for w := range workers {
				log := open(t, name)
				all.Go(func() {
					log.write(t, w+1, lines, func(int) {})
					within(patience, func() bool { return len(log.full) == 0 }) // Close alone waits for less
					log.Close()
					log.wantDropped(t, 0)
				})
			}
			all.Wait()
			c := make(tally)
			c.count(t, read(), kind)
			c.want(t, workers, lines)
		})
	}
}

// readFIFO makes a FIFO and reads all that is written to it; the function that it
// returns waits for the last writer to close and returns that.
func readFIFO(t *testing.T, name string) func() []byte {
	t.Helper()
	fd := reader(t, name)
	if err := unix.SetNonblock(fd, false); err != nil { // end of file waits for the first writer
		t.Fatal(err)
	}
	holder := openFile(t, name)
	text := make(chan []byte)
	go func() {
		file := os.NewFile(uintptr(fd), name)
		defer file.Close()
		var all bytes.Buffer
		_, _ = all.ReadFrom(file)
		text <- all.Bytes()
	}()
	return func() []byte {
		unix.Close(holder)
		return <-text
	}
}

// reader opens a FIFO for reading, and makes it if there is none.
func reader(t *testing.T, name string) int {
	t.Helper()
	if err := unix.Mkfifo(name, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		t.Fatalf("mkfifo: %v", err)
	}
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	return fd
}

// drain reads what is in a FIFO.
func drain(t *testing.T, fd int) string {
	t.Helper()
	var text []byte
	for buf := make([]byte, 1<<20); ; {
		n, err := unix.Read(fd, buf)
		if n <= 0 {
			if n < 0 && !errors.Is(err, unix.EAGAIN) {
				t.Fatalf("read: %v", err)
			}
			return string(text)
		}
		text = append(text, buf[:n]...)
	}
}

// fill fills a FIFO by way of log until nothing more fits, neither there nor in
// log, and returns how many lines it added.
func fill(t *testing.T, log *opened) (lines int) {
	t.Helper()
	await(t, "a line is dropped", func() bool {
		for range 100 { // so few that the writer keeps up until the FIFO is full
			lines++
			addNumbered(log.File, 1, lines)
			log.Tick()
		}
		return log.dropped.Load() > 0
	})
	return lines
}
