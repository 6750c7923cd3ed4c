package supervisor

import (
	"os"
	"strings"
	"testing"
)

// A configuration under which workers crash is taken back, and not tried again.
func TestBackToTheLastGoodConfiguration(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	s.await("the good one on the disk", func() bool { _, err := os.Stat(s.state("good")); return err == nil })
	s.write(play{host: "dies"})
	if res := s.reload(); !res.OK || res.Config != 2 {
		t.Fatalf("reload: got %+v; want config 2", res)
	}
	s.await("config 3, the last good one", func() bool {
		a, err := ask("tcp", s.address())
		return err == nil && a.host == "a" && a.config == 3
	})
	s.await("the outcome", func() bool { return strings.Contains(s.status().LastReload, "config 3 active, the last good one: ") })
	if res := s.reload(); res.OK || res.Code != 1 || !strings.Contains(res.Text, "refused until the file changes") {
		t.Errorf("reload of the bad one: got %+v; want it refused", res)
	}
	s.answers("a")
	s.write(play{host: "b"})
	if res := s.reload(); !res.OK {
		t.Errorf("reload of another: got %+v; want it to work", res)
	}
	s.answers("b")
}
