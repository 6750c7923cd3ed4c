package lb

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

// These tests have real workers that pick servers, and are killed.

const (
	pickerEnv    = "PROXYD_LB_TEST_PICKER" // its slot
	pickerRoom   = 3                       // requests in flight to each server
	pickerFlying = 4                       // most that one picker has in flight
)

// A pickerBook is what the pickers note for themselves. A word for each server has
// a byte for each slot, so that what all have in flight can be read at one moment.
type pickerBook struct {
	flying [2]*atomic.Uint64
	picks  *atomic.Uint64 // by the picker in slot
	slot   int
}

func openBook(seg *shm.Segment, slot int) (b pickerBook, err error) {
	words, err := seg.Words("test/book", 2+shm.MaxSlots)
	if err != nil {
		return b, err
	}
	return pickerBook{[2]*atomic.Uint64{&words[0], &words[1]}, &words[2+slot], slot}, nil
}

// add notes n more requests to the server at place, and returns how many all have
// in flight to it then.
func (b *pickerBook) add(place, n int) (total int) {
	for all := b.flying[place].Add(uint64(n) << (8 * b.slot)); all != 0; all >>= 8 {
		total += int(all & 0xff)
	}
	return total
}

// forget takes out of the book what the last picker in the slot had in flight.
func (b *pickerBook) forget() {
	for _, word := range b.flying {
		word.And(^(uint64(0xff) << (8 * b.slot)))
	}
}

func pickerPool(seg *shm.Segment, slot int) (*Pool, error) {
	return NewPool(seg, Settings{Name: "one", Connections: pickerRoom, Slot: slot}, []Spec{{Address: "a"}, {Address: "b"}})
}

// pickerMain is a worker that picks as soon as its standard input says so: at
// `hold`, as many as it gets, and keeps them; at `work`, some at a time, and checks
// by the book that no bound is exceeded.
func pickerMain() int {
	var slot int
	if _, err := fmt.Sscan(os.Getenv(pickerEnv), &slot); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	seg, err := shm.Open(os.NewFile(segmentFd, "shm"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	book, err := openBook(seg, slot)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	book.forget() // before the counts forget it
	p, err := pickerPool(seg, slot)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	fmt.Println("ready")
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if line == "hold\n" {
		for p.Pick(nil, nil) != nil {
		}
		fmt.Println("full")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	}
	return pickerWork(p, &book)
}

// pickerWork picks until it is killed.
func pickerWork(p *Pool, book *pickerBook) int {
	var flying []*Server
	for {
		s := p.Pick(nil, nil)
		if s != nil {
			flying = append(flying, s)
			if total := book.add(s.place, 1); total > pickerRoom {
				fmt.Printf("%d in flight to %s\n", total, s.Address)
				return 4
			}
			book.picks.Add(1)
		}
		for len(flying) > 0 && (s == nil || len(flying) >= pickerFlying) {
			last := flying[len(flying)-1]
			flying = flying[:len(flying)-1]
			book.add(last.place, -1)
			last.Done(Succeeded, 0)
		}
	}
}

type picker struct {
	*exec.Cmd
	stdin io.Writer
	lines *bufio.Scanner
}

func startPicker(t *testing.T, seg *shm.Segment, slot int) *picker {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &picker{Cmd: exec.Command(exe)}
	p.Env = append(os.Environ(), fmt.Sprintf("%s=%d", pickerEnv, slot))
	p.ExtraFiles = []*os.File{seg.File()}
	p.Stderr = os.Stderr
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			p.kill()
		}
	})
	p.lines = bufio.NewScanner(stdout)
	p.await(t, "ready")
	return p
}

func (p *picker) tell(t *testing.T, what string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, what+"\n"); err != nil {
		t.Fatal(err)
	}
}

// await waits for a line.
func (p *picker) await(t *testing.T, want string) {
	t.Helper()
	if !p.lines.Scan() || p.lines.Text() != want {
		t.Fatalf("picker said %q, %v; want %q", p.lines.Text(), p.lines.Err(), want)
	}
}

func (p *picker) kill() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// What a killed worker had in flight counts until another takes its slot, and no
// longer; what others have in flight counts on.
func TestKilledWorkersRequestsAreForgotten(t *testing.T) {
	seg := newSegment(t)
	p := bounded(t, seg, 1, pickerRoom, RoundRobin)
	mine := p.Pick(nil, nil)
	w := startPicker(t, seg, 0)
	w.tell(t, "hold")
	w.await(t, "full")
	if got := p.Pick(nil, nil); got != nil || !full(p) {
		t.Errorf("picked %v, full %v; want all held by the other worker", got, full(p))
	}
	w.kill()
	if !full(p) {
		t.Error("not full before the slot is taken again; want full")
	}
	startPicker(t, seg, 0)
	for _, s := range p.servers {
		want := 0
		if s == mine {
			want = 1
		}
		if got := s.Info().InFlight; got != want {
			t.Errorf("%s has %d in flight; want %d", s.Address, got, want)
		}
	}
	if full(p) {
		t.Error("full after the slot was taken; want not")
	}
}

// Workers that are killed at random, and others that take their slots, never have
// more in flight than the bound, and lose no room.
func TestBoundHoldsWhileWorkersAreKilled(t *testing.T) {
	seg := newSegment(t)
	const slots, kills = 3, 40
	var workers [slots]*picker
	for slot := range workers {
		workers[slot] = startPicker(t, seg, slot)
		workers[slot].tell(t, "work")
	}
	for range kills {
		slot := rand.IntN(slots)
		book, err := openBook(seg, slot)
		if err != nil {
			t.Fatal(err)
		}
		enough := book.picks.Load() + 1 + rand.Uint64N(5000)
		await(t, "at work", time.Minute, func() bool { return book.picks.Load() >= enough })
		workers[slot].kill()
		workers[slot] = startPicker(t, seg, slot)
		workers[slot].tell(t, "work")
	}
	for slot, w := range workers {
		w.kill()
		if w.lines.Scan() {
			t.Errorf("worker %d saw %s; want at most %d", slot, w.lines.Text(), pickerRoom)
		}
		startPicker(t, seg, slot) // forgets what it had in flight
	}
	p, err := pickerPool(seg, slots)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.servers {
		if got := s.Info().InFlight; got != 0 {
			t.Errorf("%s has %d in flight when all are gone; want none", s.Address, got)
		}
	}
	got := ""
	for s := p.Pick(nil, nil); s != nil; s = p.Pick(nil, nil) {
		got += s.Address
	}
	if want := 2 * pickerRoom; len(got) != want {
		t.Errorf("picked %s; want %d", got, want)
	}
}
