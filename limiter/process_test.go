package limiter

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
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
	if scene := os.Getenv(writerEnv); scene != "" {
		if err := write(scene); err != nil {
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
}

const sceneWindows = 4096 // room for results

var scenes = map[string]scene{
	"one window": {Rule{Name: "a", Max: 1000, Window: time.Hour}, 300, 1},
	"table":      {Rule{Name: "b", Max: 100, Window: MinWindow, Keys: 100}, 60, 10},
	"collisions": {Rule{Name: "c", Max: 100, Window: MinWindow, Keys: 14}, 60, 10},
	"two tables": {Rule{Name: "d", Max: 3, Window: MinWindow, Keys: 200_000}, 60_000, 1},
}

// results is what the writers of a scene have seen of one key in one window.
type results struct{ attempted, admitted *atomic.Uint64 }

// A board is where writers and test meet, in the segment beside the limit.
type board struct {
	scene
	limiter *Limiter
	end     *atomic.Uint64 // not 0: writers are to end
	base    *atomic.Uint64 // first window with results
	words   []atomic.Uint64
	hashes  []uint64
}

func open(seg *shm.Segment, name string) (*board, error) {
	b := &board{scene: scenes[name]}
	var err error
	if b.limiter, err = New(seg, b.rule); err != nil {
		return nil, err
	}
	control, err := seg.Words("control/"+name, 2)
	if err != nil {
		return nil, err
	}
	b.end, b.base = &control[0], &control[1]
	if b.words, err = seg.Words("results/"+name, 2*b.windows()*b.keys); err != nil {
		return nil, err
	}
	b.hashes = apart(b.limiter, b.keys)
	return b, nil
}

func (b *board) windows() int { return min(sceneWindows, 1<<24/b.keys) }

func (b *board) now() int64 { return shm.Now() * b.speed }

// apart is hashes of keys. If they are few, no two of them share a cell of the
// sketch: then it is exact as well.
func apart(l *Limiter, n int) []uint64 {
	taken := make(map[*atomic.Uint64]bool)
	hashes := make([]uint64, 0, n)
	var key []byte
	for k := 0; len(hashes) < n; k++ {
		key = fmt.Appendf(key[:0], "client-%d", k)
		hash := l.hasher.Hash(key)
		if n <= 1000 {
			cells := l.sketch.find(hash)
			if slices.ContainsFunc(cells[:], func(c *atomic.Uint64) bool { return taken[c] }) {
				continue
			}
			for _, c := range cells {
				taken[c] = true
			}
		}
		hashes = append(hashes, hash)
	}
	return hashes
}

func (b *board) results(window uint64, key int) (results, bool) {
	i := window - b.base.Load()
	if i >= uint64(b.windows()) {
		return results{}, false
	}
	at := (int(i)*b.keys + key) * 2
	return results{&b.words[at], &b.words[at+1]}, true
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
	for range 2 {
		wg.Go(b.write)
	}
	wg.Wait()
	return seg.Close()
}

// write takes in runs, of keys at random.
func (b *board) write() {
	for b.end.Load() == 0 {
		key, run := rand.IntN(b.keys), 1+rand.IntN(2)*rand.IntN(50)
		for range run {
			window, place := b.limiter.count(b.now(), b.hashes[key])
			r, ok := b.results(window, key)
			if !ok {
				return
			}
			if place <= b.limiter.limit {
				r.admitted.Add(1)
			}
			r.attempted.Add(1)
		}
	}
}

type writer struct {
	*exec.Cmd
	stdin io.Closer
}

// start starts a writer; it is ready, and begins when its stdin is closed.
func start(t *testing.T, seg *shm.Segment, name string) writer {
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

func openBoard(t *testing.T, name string) (*shm.Segment, *board) {
	t.Helper()
	seg := newSegment(t)
	b, err := open(seg, name)
	if err != nil {
		t.Fatal(err)
	}
	b.base.Store(uint64(b.now() / b.limiter.length))
	return seg, b
}

// each calls f for all results there are.
func (b *board) each(f func(window uint64, key int, attempted, admitted uint64)) {
	for w := range uint64(b.windows()) {
		for key := range b.keys {
			r, _ := b.results(b.base.Load()+w, key)
			if n := r.attempted.Load(); n != 0 {
				f(w, key, n, r.admitted.Load())
			}
		}
	}
}

// Several processes admit of each key in each window just as many as one would.
func TestProcessesCountAsOne(t *testing.T) {
	for name := range scenes {
		t.Run(name, func(t *testing.T) {
			seg, b := openBoard(t, name)
			writers := []writer{start(t, seg, name), start(t, seg, name), start(t, seg, name)}
			time.AfterFunc(time.Second, func() { b.end.Store(1) })
			for _, w := range writers {
				w.stdin.Close()
			}
			for _, w := range writers {
				if err := w.Wait(); err != nil {
					t.Fatalf("writer: %v", err)
				}
			}
			limit := b.limiter.limit
			cells, full := 0, 0
			b.each(func(window uint64, key int, attempted, admitted uint64) {
				cells++
				if attempted > limit {
					full++
				}
				if want := min(attempted, limit); admitted != want {
					t.Errorf("window %d, key %d: admitted %d of %d; want %d", window, key, admitted, attempted, want)
				}
			})
			t.Logf("%d keys in windows, %d of them over the limit", cells, full)
			if full == 0 {
				t.Error("no key was over its limit: nothing tested")
			}
		})
	}
}

// Writers killed at any instruction leave counts that the others go on with: each
// loses at most the requests that it had in hand.
func TestKilledWriters(t *testing.T) {
	for _, name := range []string{"table", "collisions"} {
		t.Run(name, func(t *testing.T) {
			seg, b := openBoard(t, name)
			lost := killAtRandom(t, seg, name)
			limit := b.limiter.limit
			missing := uint64(0)
			b.each(func(window uint64, key int, attempted, admitted uint64) {
				if admitted > limit {
					t.Errorf("window %d, key %d: admitted %d; want at most %d", window, key, admitted, limit)
				} else if attempted > admitted {
					missing += limit - admitted
				}
			})
			if missing > lost {
				t.Errorf("not admitted in spite of demand: got %d; want at most %d", missing, lost)
			}
			now := b.now() + 2*b.limiter.length
			for n := range limit + 2 {
				for key, hash := range b.hashes {
					_, place := b.limiter.count(now, hash)
					if want := min(n, limit) + 1; place != want {
						t.Fatalf("afterwards, key %d: got place %d; want %d", key, place, want)
					}
				}
			}
		})
	}
}

// killAtRandom keeps three writers going over many deaths, and says how many
// requests they can have had in hand.
func killAtRandom(t *testing.T, seg *shm.Segment, name string) uint64 {
	t.Helper()
	const deaths = 30
	writers := make([]writer, 3)
	for i := range deaths + len(writers) {
		w := &writers[i%len(writers)]
		if w.Cmd != nil {
			<-time.After(time.Duration(rand.Int64N(int64(20 * time.Millisecond)))) // the moment is what is tested
			w.Process.Kill()
			w.Wait()
		}
		*w = start(t, seg, name)
		w.stdin.Close()
	}
	for _, w := range writers {
		w.Process.Kill()
		w.Wait()
	}
	return (deaths + 3) * 2 // two goroutines each
}
