package supervisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// lines counts those of a file, 0 if there is none.
func lines(path string) int {
	b, _ := os.ReadFile(path)
	return strings.Count(string(b), "\n")
}

func TestAccessLogs(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "none"})
	path := filepath.Join(s.dir, "access.log")
	block := func(path string) string { return fmt.Sprintf("access_log \"json\" { output = %q }", path) }
	s.write(play{host: "a", rest: block(path)})
	if res := s.reload(); !res.OK {
		t.Fatalf("reload: got %+v; want it to work", res)
	}
	workers := len(s.pids())
	s.await("a line of each worker", func() bool { return lines(path) == workers })
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("access log: got %v, %v; want mode 0640", info, err)
	}

	rename := func() {
		t.Helper()
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
	}
	rename()
	s.signal(syscall.SIGUSR1)
	s.await("a line of each worker in the new file", func() bool { return lines(path) == workers })
	rename()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.client().Reopen(ctx); err != nil {
		t.Errorf("reopen: got %v; want none", err)
	}
	s.await("a line of each worker after reopen", func() bool { return lines(path) == workers })

	missing := filepath.Join(s.dir, "missing", "access.log")
	s.write(play{host: "b", rest: block(missing)})
	if res := s.reload(); res.OK || res.Code != 3 || !strings.Contains(res.Text, "access log: open "+missing+": no such file") {
		t.Errorf("reload with a file that cannot be: got %+v; want code 3 and why", res)
	}
	s.answers("a")
	descriptors := s.descriptors()
	for i := range 5 {
		s.write(play{host: fmt.Sprintf("c%d", i), rest: block(path)})
		if res := s.reload(); !res.OK {
			t.Errorf("reload: got %+v; want it to work", res)
		}
	}
	s.await("the descriptors of before", func() bool { return s.descriptors() <= descriptors })
}

func TestStartWithAnAccessLogThatCannotBe(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.write(play{host: "a", rest: `access_log "json" { output = "missing/access.log" }`})
	s.fails(3, "access log: open "+filepath.Join(s.dir, "missing/access.log")+": no such file")
	s.leftNothing(nil)
}
