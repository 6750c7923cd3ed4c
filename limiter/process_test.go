package limiter

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// The tests of this file run the test binary again as writers: processes that
// share a segment with the test, and take from a limit as fast as they can.

const writerEnv = "LIMITER_TEST_WRITER"

func TestMain(m *testing.M) {
	if name := os.Getenv(writerEnv); name != "" {
		run := write
		if strings.HasPrefix(name, rival) {
			run = compete
		}
		if err := run(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A scene is a limit, how many keys are taken from it, and a clock faster than the
// real one, so that windows end often.
type scene struct {
	rule  Rule
	keys  int
	speed int64
	twice int // how many may be counted twice: who comes back from the sketch is, if his key may have found room
}

const arrivalsLogged = 1 << 20

var scenes = map[string]scene{
	"one window":     {Rule{Max: 1000, Window: time.Hour}, 300, 1, 0},
	"table":          {Rule{Max: 100, Window: MinWindow, Keys: 100}, 60, 10, 0},
	"few first":      {Rule{Max: 3, Window: MinWindow, Keys: 200_000}, 60_000, 1, 0},
	"sketch":         {Rule{Max: 100, Window: MinWindow, Keys: 14}, 60, 10, 0},
	"window":         {Rule{Algorithm: Window, Max: 1000, Window: MinWindow, Keys: 100}, 60, 10, 0},
	"window passing": {Rule{Algorithm: Window, Max: 3, Window: MinWindow, Keys: 30}, 30, 400, 0},
	"gcra":           {Rule{Algorithm: GCRA, Max: 1000, Window: MinWindow, Burst: 10, Keys: 100}, 60, 10, 0},
	"gcra passing":   {Rule{Algorithm: GCRA, Max: 100, Window: MinWindow, Burst: 2, Keys: 30}, 30, 400, 0},
	"gcra sketch":    {Rule{Algorithm: GCRA, Max: 1000, Window: MinWindow, Burst: 10, Keys: 14}, 60, 10, 500},
}

// A board is where writers and test meet, in the segment beside the limit.
type board struct {
	scene
	limiter *Limiter
	next    *atomic.Uint64 // entry of the log
	log     []atomic.Uint64
	hashes  []uint64
}

// Words of an entry of the log. The first is written last: without it, the writer
// was killed before.
const (
	entryKey = iota // and flags
	entryNow
	entryUsed // or, of a request that was refused, the time to wait
	entryCounted
	entryWords

	written  = 1 << 63
	admitted = 1 << 62
)

func open(seg *shm.Segment, name string) (*board, error) {
	b := &board{scene: scenes[name]}
	b.rule.Name = name
	var err error
	if b.limiter, err = New(seg, b.rule); err != nil {
		return nil, err
	}
	control, err := seg.Words("control/"+name, 1)
	if err != nil {
		return nil, err
	}
	b.next = &control[0]
	if b.log, err = seg.Words("log/"+name, arrivalsLogged*entryWords); err != nil {
		return nil, err
	}
	b.hashes = apart(b.limiter, b.keys)
	return b, nil
}

func (b *board) now() int64 { return shm.Now() * b.speed }

// apart is hashes of keys. If they are few, no two of them share a cell of the
// sketch: then it is exact as well.
func apart(l *Limiter, n int) []uint64 {
	cells := make([]atomic.Uint64, rowCount*minWidth)
	taken := make(map[*atomic.Uint64]bool)
	hashes := make([]uint64, 0, n)
	var key []byte
	for k := 0; len(hashes) < n; k++ {
		key = fmt.Appendf(key[:0], "client-%d", k)
		hash := l.hasher.Hash(key)
		if n <= 1000 {
			own := cellsOf(cells, minWidth, hash)
			if slices.ContainsFunc(own[:], func(c *atomic.Uint64) bool { return taken[c] }) {
				continue
			}
			for _, c := range own {
				taken[c] = true
			}
		}
		hashes = append(hashes, hash)
	}
	return hashes
}

func write(name string) error {
	seg, err := shm.Open(os.NewFile(3, "shm"))
	if err != nil {
		return err
	}
	b, err := open(seg, name)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // until the test closes it
		return err
	}
	var wg sync.WaitGroup
	for range writerThreads {
		wg.Go(b.write)
	}
	wg.Wait()
	return seg.Close()
}

const writerThreads = 2

// write takes in runs, of keys at random, until the log is full.
func (b *board) write() {
	for {
		key, run := rand.IntN(b.keys), 1+rand.IntN(2)*rand.IntN(50)
		for range run {
			i := b.next.Add(1) - 1
			if i >= arrivalsLogged {
				return
			}
			now := b.now()
			b.record(b.log[i*entryWords:], key, now, b.limiter.rate.counter.take(now, b.hashes[key], &b.limiter.rate, false))
		}
	}
}

func (b *board) record(entry []atomic.Uint64, key int, now int64, t tally) {
	flags, used := uint64(written), uint64(t.reset)
	if t.admitted {
		flags, used = written|admitted, t.used
	}
	entry[entryNow].Store(uint64(now))
	entry[entryUsed].Store(used)
	entry[entryCounted].Store(t.counted)
	entry[entryKey].Store(flags | uint64(key))
}

// read is the log, and it is empty afterwards.
func (b *board) read() (admissions, refusals history) {
	for i := range min(b.next.Load(), arrivalsLogged) {
		e := b.log[i*entryWords:]
		first := e[entryKey].Swap(0)
		q := request{int(uint32(first)), int64(e[entryNow].Load()), e[entryUsed].Load(), e[entryCounted].Load()}
		switch {
		case first == 0:
		case first&admitted != 0:
			admissions = append(admissions, q)
		default:
			refusals = append(refusals, q)
		}
	}
	b.next.Store(0)
	return admissions, refusals
}

// check checks what writers have logged, of whom those that were killed may have
// counted so many requests which are not in the log.
func (b *board) check(t *testing.T, lost int) {
	t.Helper()
	admissions, refusals := b.read()
	r, length := &b.limiter.rate, int64(b.rule.Window)
	t.Logf("%d requests admitted, %d refused", len(admissions), len(refusals))
	if lost == 0 && len(refusals) == 0 {
		t.Error("no key was over its limit: nothing tested")
	}
	switch b.rule.Algorithm {
	case Estimator:
		admissions.checkPlaces(t, refusals, r.max, lost)
	case Window:
		admissions.checkRuns(t, length, r.max, lost)
		admissions.checkRunsRefused(t, refusals, length, r.max, lost)
	case GCRA:
		admissions.checkArrivals(t, refusals, r, lost+b.twice)
		admissions.checkArrivalsRefused(t, refusals, r, lost+b.twice)
	}
}

type writer struct {
	*exec.Cmd
	stdin io.Closer
}

// start starts a writer; it is ready, and begins when its stdin is closed.
func start(t testing.TB, seg *shm.Segment, name string) writer {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+name)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{seg.File()}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	if _, err := stdout.Read(make([]byte, 16)); err != nil {
		t.Fatalf("writer is not ready: %v", err)
	}
	return writer{cmd, stdin}
}

// Four processes admit of a million requests just those that one would.
func TestProcessesCountAsOne(t *testing.T) {
	for name := range scenes {
		t.Run(name, func(t *testing.T) {
			seg := newSegment(t)
			b, err := open(seg, name)
			if err != nil {
				t.Fatal(err)
			}
			var writers []writer
			for range 4 {
				writers = append(writers, start(t, seg, name))
			}
			for _, w := range writers {
				w.stdin.Close()
			}
			for _, w := range writers {
				if err := w.Wait(); err != nil {
					t.Fatalf("writer: %v", err)
				}
			}
			b.check(t, 0)
		})
	}
}

// Writers killed at any instruction leave counts that the others go on with: each
// loses at most the requests that it had in hand.
func TestKilledWriters(t *testing.T) {
	names := []string{"table", "sketch", "window", "window passing", "gcra", "gcra sketch"}
	deaths := 96
	if os.Getenv("PROXYD_TORTURE") != "" {
		deaths = 1008
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			seg := newSegment(t)
			b, err := open(seg, name)
			if err != nil {
				t.Fatal(err)
			}
			for range deaths / len(names) / 4 {
				killAtRandom(t, seg, name)
				b.check(t, 4*writerThreads)
				b.checkSound(t)
			}
		})
	}
}

// killAtRandom kills four writers, one after the other, while the others go on.
func killAtRandom(t *testing.T, seg *shm.Segment, name string) {
	t.Helper()
	writers := make([]writer, 4)
	for i := range writers {
		writers[i] = start(t, seg, name)
	}
	for _, w := range writers {
		w.stdin.Close()
	}
	for _, w := range writers {
		<-time.After(time.Duration(rand.Int64N(int64(10 * time.Millisecond)))) // the moment is what is tested
		w.Process.Kill()
		w.Wait()
	}
}

// checkSound checks that all keys are counted right from here on.
func (b *board) checkSound(t *testing.T) {
	t.Helper()
	r := &b.limiter.rate
	now := b.now() + int64(max(r.window, time.Duration(r.depth())))*2
	now += int64(r.window) - now%int64(r.window)
	for n := range r.capacity + 2 {
		for key, hash := range b.hashes {
			got := r.counter.take(now, hash, r, false)
			if got.admitted != (n < r.capacity) || got.used != min(n+1, r.capacity) {
				t.Fatalf("afterwards, key %d, request %d: got %+v; want it counted", key, n+1, got)
			}
		}
	}
	<-time.After(time.Duration((now + 2*int64(r.window) - b.now()) / b.speed)) // until that is past
	if l := ledgerOf(r.counter); l != nil {
		l.checkPages(t)
	}
}

func ledgerOf(c counter) *ledger {
	switch c := c.(type) {
	case *sliding:
		return &c.ledger
	case *pacer:
		return &c.ledger
	}
	return nil
}

// checkPages checks that no key has two slots.
func (l *ledger) checkPages(t *testing.T) {
	t.Helper()
	for at := uint64(0); at <= l.mask; at++ {
		p := l.page(at)
		p.complete(p[claimAt].Load())
		var marks []uint64
		for i := range pageSlots {
			id, state := p[firstIDAt+i].Load(), p[statesAt+i].Load()
			if id != 0 && (id^state)&versionMask == 0 {
				marks = append(marks, id>>markShift)
			}
		}
		slices.SortFunc(marks, cmp.Compare[uint64])
		if n := len(marks); len(slices.Compact(marks)) != n {
			t.Fatalf("page %d: a key has two slots: %x", at, marks)
		}
	}
}
