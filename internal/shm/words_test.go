package shm

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

func TestWords(t *testing.T) {
	s := newSegment(t)
	find := func(s *Segment, name string, n int) []atomic.Uint64 {
		t.Helper()
		words, err := s.Words(name, n)
		if err != nil {
			t.Fatal(err)
		}
		if len(words) != n {
			t.Fatalf("Words(%s, %d): got %d words", name, n, len(words))
		}
		if at := uintptr(unsafe.Pointer(&words[0])); at%pageSize != 0 {
			t.Errorf("Words(%s, %d): got address %#x; want a page boundary", name, n, at)
		}
		return words
	}
	a := find(s, "a", 1000)
	for i := range a {
		if got := a[i].Swap(uint64(i)); got != 0 {
			t.Fatalf("new word %d: got %d; want 0", i, got)
		}
	}
	for _, other := range [][]atomic.Uint64{find(s, "b", 1000), find(s, "a", 999), find(s, "a", 1)} {
		if got := other[0].Swap(77); got != 0 {
			t.Errorf("first word of another region: got %d; want 0", got)
		}
	}
	o := again(t, s)
	for _, words := range [][]atomic.Uint64{find(s, "a", 1000), find(o, "a", 1000)} {
		if got := words[999].Load(); got != 999 {
			t.Errorf("last word, found again: got %d; want 999", got)
		}
	}
}

func TestWordsRefuses(t *testing.T) {
	s := newSegment(t)
	for _, n := range []int{0, -1, segmentSize/8 + 1, 1<<63 - 1} {
		if _, err := s.Words("a", n); err == nil || !strings.Contains(err.Error(), "is not between 1 and") {
			t.Errorf("Words(a, %d): got error %v; want one that names the bounds", n, err)
		}
	}
	if _, err := s.Words("huge", segmentSize/8); err == nil || !strings.Contains(err.Error(), "a restart frees it") {
		t.Errorf("more than there is: got error %v; want one that says that a restart frees it", err)
	}
	if _, err := s.Words("small", 1); err != nil {
		t.Errorf("Words after one that was too large: %v", err)
	}
	var err error
	n := 0
	for ; err == nil && n <= maxRegions; n++ {
		_, err = s.Words(fmt.Sprint(n), 1)
	}
	if n != maxRegions-1 || !strings.Contains(err.Error(), "directory is full") {
		t.Errorf("region %d: got error %v; want the directory full at %d", n, err, maxRegions-1)
	}
	if _, err := s.Words("small", 1); err != nil {
		t.Errorf("known region in a full directory: %v", err)
	}
}

// A process may die between the claim of an entry and its place.
func TestWordsOfDeadClaimant(t *testing.T) {
	s := newSegment(t)
	if _, err := s.region("a", 100); err != nil { // all that the dead one did
		t.Fatal(err)
	}
	words, err := s.Words("a", 100)
	if err != nil {
		t.Fatal(err)
	}
	words[99].Store(1)
}

func TestServer(t *testing.T) {
	s := newSegment(t)
	server := func(s *Segment, upstream, address string) *Server {
		t.Helper()
		c, err := s.Server(upstream, address)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	server(s, "one", "1.1.1.1:443").Health.Store(7)
	if got := server(again(t, s), "one", "1.1.1.1:443").Health.Load(); got != 7 {
		t.Errorf("health in second mapping: got %d; want 7", got)
	}
	if got := server(s, "two", "1.1.1.1:443").Health.Load(); got != 0 {
		t.Errorf("health of the same address in another upstream: got %d; want 0", got)
	}
	for i := 2; i < maxServers; i++ {
		server(s, "many", fmt.Sprint(i))
	}
	if _, err := s.Server("one", "more"); err == nil || !strings.Contains(err.Error(), "a restart frees it") {
		t.Errorf("one server too many: got error %v; want one that says that a restart frees it", err)
	}
	if got := server(s, "one", "1.1.1.1:443").Health.Load(); got != 7 {
		t.Errorf("known server in a full segment: got health %d; want 7", got)
	}
}

const claimerEnv = "SHM_TEST_CLAIMER"

func TestMain(m *testing.M) {
	if os.Getenv(claimerEnv) != "" {
		if err := claim(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const claims = 400

// claim adds one to each of many regions and cells, in an order of its own.
func claim() error {
	s, err := Open(os.NewFile(3, "shm"))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	for _, i := range rand.Perm(claims) {
		words, err := s.Words(fmt.Sprint(i), 1)
		if err != nil {
			return err
		}
		words[0].Add(1)
		c, err := s.Server("one", fmt.Sprint(i))
		if err != nil {
			return err
		}
		c.Due.Add(1)
	}
	return s.Close()
}

// Processes that come at once find the same regions and cells, and so do those
// that come after others were killed.
func TestProcessesFindTheSame(t *testing.T) {
	s := newSegment(t)
	const processes, killed = 6, 4
	var claimers [processes]*exec.Cmd
	var gates [processes]io.Closer
	for i := range claimers {
		claimers[i], gates[i] = startClaimer(t, s)
	}
	for i := range claimers {
		gates[i].Close()
	}
	for _, c := range claimers[:killed] {
		<-time.After(time.Duration(rand.Int64N(int64(time.Millisecond)))) // the moment is what is tested
		c.Process.Kill()
	}
	for i, c := range claimers {
		if err := c.Wait(); err != nil && i >= killed {
			t.Errorf("process %d: %v", i, err)
		}
	}
	for i := range claims {
		words, err := s.Words(fmt.Sprint(i), 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := words[0].Load(); got < processes-killed || got > processes {
			t.Errorf("region %d: got %d; want %d to %d", i, got, processes-killed, processes)
		}
		c, err := s.Server("one", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Due.Load(); got < processes-killed || got > processes {
			t.Errorf("server %d: got %d; want %d to %d", i, got, processes-killed, processes)
		}
	}
}

func startClaimer(t *testing.T, s *Segment) (*exec.Cmd, io.Closer) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), claimerEnv+"=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{s.File()}
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
		t.Fatalf("claimer is not ready: %v", err)
	}
	return cmd, stdin
}
