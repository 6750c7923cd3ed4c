package limiter

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyd/proxyd/internal/shm"
)

// The tests of this file run the test binary again as holders: workers in slots of
// a segment that they share with the test, and with places of a limit.

const holderEnv = "LIMITER_TEST_HOLDER"

func init() {
	if args := os.Getenv(holderEnv); args != "" {
		if err := hold(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

const (
	holders    = 4
	holderKeys = 6
)

var holderRule = ConcurrencyRule{Name: "held", Max: 3, Keys: 4} // less room than keys

// Holdings are where holders write down what they hold: after they have got it, and
// until before they give it back. A key has one word, with 16 bits for each holder,
// so that what all hold at one moment can be read.
type holdings struct {
	holds [holderKeys]*atomic.Uint64
	most  [holderKeys]*atomic.Uint64
	end   *atomic.Uint64 // not 0: holders are to end
	round *atomic.Uint64 // of a race
	ready *atomic.Uint64 // how many have asked in it
	got   *atomic.Uint64 // how many have got a place
}

func openHoldings(seg *shm.Segment) (*holdings, error) {
	words, err := seg.Words("holdings", 512)
	if err != nil {
		return nil, err
	}
	l := &holdings{end: &words[0], round: &words[8], ready: &words[16], got: &words[24]}
	for key := range holderKeys {
		l.holds[key], l.most[key] = &words[32+key], &words[64+key]
	}
	return l, nil
}

func (l *holdings) enter(slot, key int) {
	all := l.holds[key].Add(1 << (16 * slot))
	raise(l.most[key], all&0xffff+all>>16&0xffff+all>>32&0xffff+all>>48)
}

func (l *holdings) leave(slot, key int) { l.holds[key].Add(-(uint64(1) << (16 * slot))) }

func keyOf(i int) []byte { return fmt.Appendf(nil, "client-%d", i) }

func hold(args string) error {
	var role string
	var slot int
	if _, err := fmt.Sscan(args, &role, &slot); err != nil {
		return err
	}
	seg, err := shm.Open(os.NewFile(3, "shm"))
	if err != nil {
		return err
	}
	seg.Slot(slot).Occupy(os.Getpid())
	rule := holderRule
	rule.Slot = slot
	c, err := NewConcurrency(seg, rule)
	if err != nil {
		return err
	}
	l, err := openHoldings(seg)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if role == "race" {
		l.race(c)
		return nil
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { l.hold(c, slot) })
	}
	wg.Wait()
	return nil
}

// hold takes places and gives them back, some at once and some late.
func (l *holdings) hold(c *Concurrency, slot int) {
	type place struct {
		key int
		Handle
	}
	var places []place
	for l.end.Load() == 0 {
		key := rand.IntN(holderKeys)
		if h, ok := c.Acquire(keyOf(key)); ok {
			l.enter(slot, key)
			places = append(places, place{key, h})
		}
		for len(places) > 0 && (len(places) > 4 || rand.IntN(3) == 0) {
			i := rand.IntN(len(places))
			l.leave(slot, places[i].key)
			c.Release(places[i].Handle)
			places[i] = places[len(places)-1]
			places = places[:len(places)-1]
		}
	}
	for _, p := range places {
		l.leave(slot, p.key)
		c.Release(p.Handle)
	}
}

// race asks once in each round, with all others at the same time, for a place of
// the round's key. What it gets it keeps until the next round.
func (l *holdings) race(c *Concurrency) {
	var last Handle
	for round := uint64(0); ; {
		next := l.round.Load()
		if next == round {
			syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
			continue
		}
		if round = next; l.end.Load() != 0 {
			return
		}
		h, ok := c.Acquire(keyOf(int(round)))
		if ok {
			l.got.Add(1)
		}
		c.Release(last)
		last = h
		l.ready.Add(1)
	}
}

// startHolder starts a worker in slot and waits until it begins.
func startHolder(t *testing.T, seg *shm.Segment, role string, slot int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", holderEnv, role, slot))
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{seg.File()}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("holder is not ready: %v", err)
	}
	return cmd
}

func startHolders(t *testing.T, role string) (*shm.Segment, *holdings, []*exec.Cmd) {
	t.Helper()
	seg := newSegment(t)
	l, err := openHoldings(seg)
	if err != nil {
		t.Fatal(err)
	}
	workers := make([]*exec.Cmd, holders)
	for slot := range workers {
		workers[slot] = startHolder(t, seg, role, slot)
	}
	return seg, l, workers
}

// Four processes never hold more than the limit together, and all of it at times.
func TestProcessesHoldAsOne(t *testing.T) {
	seg, l, workers := startHolders(t, "hold")
	time.AfterFunc(time.Second, func() { l.end.Store(1) })
	for _, w := range workers {
		if err := w.Wait(); err != nil {
			t.Fatalf("holder: %v", err)
		}
	}
	l.expect(t)
	c := concurrencyOf(t, seg, holderRule)
	admitted, refused := c.Counts()
	t.Logf("%d admitted, %d refused", admitted, refused)
	for key := range holderKeys {
		if got := c.lanes.held(c.hasher.Hash(keyOf(key))); got != 0 {
			t.Errorf("%s: in use when all is given back: got %d; want 0", keyOf(key), got)
		}
	}
}

func (l *holdings) expect(t *testing.T) {
	t.Helper()
	for key := range holderKeys {
		if got := l.most[key].Load(); got != uint64(holderRule.Max) {
			t.Errorf("%s: most at once: got %d; want %d", keyOf(key), got, holderRule.Max)
		}
	}
}

// Of four processes that ask at the same time as many get a place as there are.
func TestProcessesRaceForTheLastPlace(t *testing.T) {
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	_, l, workers := startHolders(t, "race")
	for round := 1; round <= rounds; round++ {
		l.got.Store(0)
		l.ready.Store(0)
		l.round.Store(uint64(round))
		await(t, func() bool { return l.ready.Load() == holders })
		if got := l.got.Load(); got != uint64(holderRule.Max) {
			t.Errorf("round %d: got a place: %d of %d; want %d", round, got, holders, holderRule.Max)
		}
	}
	l.end.Store(1)
	l.round.Add(1)
	for _, w := range workers {
		if err := w.Wait(); err != nil {
			t.Errorf("holder: %v", err)
		}
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("nothing happened for 20 s")
		}
		syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
	}
}

// Whenever holders are killed, what they held is free for the others as soon as
// they are gone, and nothing more.
func TestKilledHolders(t *testing.T) {
	deaths := 100
	switch {
	case os.Getenv("PROXYD_TORTURE") != "":
		deaths = 1000
	case testing.Short():
		deaths = 20
	}
	seg, l, workers := startHolders(t, "hold")
	for range deaths {
		<-time.After(time.Duration(rand.Int64N(int64(5 * time.Millisecond)))) // the moment is what is tested
		slot := rand.IntN(holders)
		l.kill(t, workers[slot], slot)
		workers[slot] = startHolder(t, seg, "hold", slot)
	}
	for slot, w := range workers {
		l.kill(t, w, slot)
	}
	l.expect(t)
	rule := holderRule
	rule.Slot = holders // none of theirs is taken again
	c := concurrencyOf(t, seg, rule)
	for key := range holderKeys {
		for range rule.Max {
			await(t, func() bool { _, ok := c.Acquire(keyOf(key)); return ok })
		}
		if _, ok := c.Acquire(keyOf(key)); ok {
			t.Errorf("%s: got more than %d places when all holders are dead; want no more", keyOf(key), rule.Max)
		}
	}
	if n := len(c.Hottest(100)); n != holderKeys {
		t.Errorf("keys listed: got %d; want %d", n, holderKeys)
	}
	for _, k := range c.Hottest(100) {
		if !strings.HasPrefix(k.Key, "client-") || k.Count != uint64(rule.Max) {
			t.Errorf("listed: got %+v; want client-... with %d in use", k, rule.Max)
		}
	}
}

// kill kills a holder, and strikes what it held from the holdings when it is dead, but
// before anybody can know that.
func (l *holdings) kill(t *testing.T, w *exec.Cmd, slot int) {
	t.Helper()
	w.Process.Kill()
	if err := unix.Waitid(unix.P_PID, w.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	for key := range holderKeys {
		l.holds[key].And(^(uint64(0xffff) << (16 * slot)))
	}
	w.Wait()
}
