package lb

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyd/proxyd/internal/shm"
)

// TestMain runs the tests, or in a process started by one of them, the worker
// that it asked for.
func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		os.Exit(workerMain())
	}
	if os.Getenv(pickerEnv) != "" {
		os.Exit(pickerMain())
	}
	goleak.VerifyTestMain(m)
}

func newSegment(t testing.TB) *shm.Segment {
	t.Helper()
	seg, err := shm.Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := seg.Close(); err != nil {
			t.Error(err)
		}
	})
	return seg
}

func newPool(t testing.TB, seg *shm.Segment, checked bool, servers ...Spec) *Pool {
	t.Helper()
	p, err := NewPool(seg, Settings{Name: "one", Checked: checked}, servers)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// settledPool returns a pool whose servers are up.
func settledPool(t testing.TB, seg *shm.Segment, s Settings, servers ...Spec) *Pool {
	t.Helper()
	p, err := NewPool(seg, s, servers)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Servers() {
		set(s, Up)
	}
	return p
}

// set makes s what a prober would have found it.
func set(s *Server, state State) {
	s.cell.Health.Store(uint64(pack(state, 0, passed, shm.Now())))
	s.tell()
}

// bubble runs f with a clock that stands still while anything is at work. Such
// a clock starts in the year 2000, long before this machine: f starts later, for
// the words of the segment hold no time before boot.
func bubble(t *testing.T, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Duration(-shm.Now()) + time.Hour)
		f(t)
	})
}
