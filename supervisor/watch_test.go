package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/config"
)

// Each look is what the files a and b are, a letter for a state, '-' for none.
func TestLooks(t *testing.T) {
	stamps := map[rune]config.Stamp{'-': {}}
	for i, name := range "xyz" {
		path := filepath.Join(t.TempDir(), string(name))
		if err := os.WriteFile(path, make([]byte, i), 0o600); err != nil {
			t.Fatal(err)
		}
		stamps[name] = config.StampOf(path)
	}
	look := func(states string) map[string]config.Stamp {
		return map[string]config.Stamp{"a": stamps[rune(states[0])], "b": stamps[rune(states[1])]}
	}
	tests := []struct {
		name  string
		known string
		looks []string
		want  []string // what is to be loaded after each
	}{
		{"nothing new", "xx", []string{"xx", "xx", "xx"}, []string{"", "", ""}},
		{"one file", "xx", []string{"xx", "yx", "yx"}, []string{"", "", "a"}},
		{"both at once", "xx", []string{"yy", "yy"}, []string{"", "a and 1 more"}},
		{"one after the other", "xx", []string{"yx", "yy", "yy"}, []string{"", "", "a and 1 more"}},
		{"back again", "xx", []string{"xy", "xx", "xy", "xy"}, []string{"", "", "", "b"}},
		{"back again, late", "xx", []string{"xy", "xy", "xx", "xx"}, []string{"", "b", "", ""}},
		{"goes on changing", "xx", []string{"yx", "zx", "yx", "yx"}, []string{"", "", "", "a"}},
		{"changes while a load cannot begin", "xx", []string{"yx", "yx", "yy", "yy"}, []string{"", "a", "", "a and 1 more"}},
		{"gone", "xx", []string{"-x", "-x"}, []string{"", "a"}},
		{"read by another process", "--", []string{"xx", "xx"}, []string{"", "a and 1 more"}},
		{"never at rest", "xx", slices.Repeat([]string{"yx", "zx"}, 8), append(slices.Repeat([]string{""}, 15), "a")},
	}
	for _, tt := range tests {
		w := newWatch(look(tt.known))
		now := time.Now()
		for i, states := range tt.looks {
			if w.looked(now, look(states)); w.changed != tt.want[i] {
				t.Errorf("%s: look %d: got %q; want %q", tt.name, i, w.changed, tt.want[i])
			}
			if got := w.due.Sub(now); got != lookEvery {
				t.Errorf("%s: look %d: next one in %v; want %v", tt.name, i, got, lookEvery)
			}
			now = now.Add(lookEvery)
		}
	}
}

func TestNothingIsWatchedWhereNoFileIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proxy.hcl")
	if err := os.WriteFile(path, []byte(`listener "web" {
  address = ":80"
  route "all" { respond = { status = 204 } }
}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	s := supervisor{ready: true, watch: newWatch(c.stamps)}
	if s.watches() {
		t.Errorf("got a look at %v; want none", s.watch.tried)
	}
}

// A mount is a stage whose configuration takes the host, which is what scripted
// workers answer with or do, from a file. That is set up as in a mounted volume:
// a link through a folder that is a link.
type mount struct {
	*stage
	path string // of the file
}

// serveMount starts a supervisor on one.
func serveMount(t *testing.T, host string) mount {
	t.Helper()
	m := mount{stage: newStage(t)}
	volume := filepath.Join(m.dir, "volume")
	m.path = filepath.Join(volume, "host")
	if err := os.Mkdir(volume, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("data/host", m.path); err != nil {
		t.Fatal(err)
	}
	m.swap(host)
	m.writeText(fmt.Sprintf(`
supervisor {
  workers   = 2
  state_dir = %q
}
listener "web" {
  address = %q
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = ["127.0.0.1:9"]
  host    = file("volume/host")
}
`, filepath.Join(m.dir, "state"), m.address()))
	m.start()
	m.awaitLog("msg=serving")
	return m
}

// swap makes the folder of the file another one, with another file in it.
func (m mount) swap(host string) {
	m.t.Helper()
	volume := filepath.Dir(m.path)
	next, err := os.MkdirTemp(volume, "v")
	if err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(next, "host"), []byte(host+".test\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	link := filepath.Join(volume, "next")
	if err := os.Symlink(filepath.Base(next), link); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(volume, "data")); err != nil {
		m.t.Fatal(err)
	}
}

func (m mount) awaitLog(text string) {
	m.t.Helper()
	m.await(text, func() bool { return strings.Contains(m.log.String(), text) })
}

func (m mount) logged(text string) int { return strings.Count(m.log.String(), text) }

// What proxy.hcl says meanwhile does not count: nobody has asked for it.
func TestAChangedFileIsLoadedWithTheTextInForce(t *testing.T) {
	t.Parallel()
	m := serveMount(t, "a")
	pids := m.pids()
	inForce, err := os.ReadFile(m.file)
	if err != nil {
		t.Fatal(err)
	}
	m.writeText(string(inForce[:len(inForce)/2]))
	m.swap("b")
	m.awaitLog(fmt.Sprintf(`msg="reloaded because %s changed" outcome="config 2 active"`, m.path))
	if a := m.answers("b"); a.config != 2 {
		t.Errorf("config: got %d; want 2", a.config)
	}
	if got := m.pids(); !slices.Equal(got, pids) {
		t.Errorf("pids: got %v; want the same as before, %v", got, pids)
	}
	if res := m.reload(); res.OK || res.Config != 2 {
		t.Errorf("reload of half a file: got %+v; want it refused", res)
	}

	m.writeText(string(inForce))
	m.swap("c")
	if res := m.reload(); !res.OK || res.Config != 3 || res.Text != "config 3 active" {
		t.Errorf("reload: got %+v; want config 3", res)
	}
	m.answers("c")
	m.swap("d")
	m.awaitLog(`changed" outcome="config 4 active"`)
	m.answers("d")
	if got := m.logged("msg=reloaded") + m.logged(`msg="reloaded`); got != 3 {
		t.Errorf("reloads: got %d; want 3: what was asked for is not loaded twice", got)
	}
}

func TestABadNewFileIsToldOfOnce(t *testing.T) {
	t.Parallel()
	m := serveMount(t, "a")
	failed := fmt.Sprintf("config 1 stays, though %s changed", m.path)
	for i, host := range []string{"not a host", "nack"} { // refused by us, by a worker
		m.swap(host)
		m.await("refusal", func() bool { return m.logged(failed) == i+1 })
		if a := m.answers("a"); a.config != 1 {
			t.Errorf("%s: got config %d in force; want 1", host, a.config)
		}
	}
	if got := m.status().LastReload; !strings.HasSuffix(got, failed) {
		t.Errorf("last reload: got %q; want that %s", got, failed)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(m.path), "data")); err != nil {
		t.Fatal(err)
	}
	m.await("refusal of no file", func() bool { return m.logged(failed) == 3 })
	m.swap("b")
	m.awaitLog(`changed" outcome="config 3 active"`)
	m.answers("b")
	if got := m.logged("reload failed"); got != 3 {
		t.Errorf("refusals: got %d; want 3, one for each change", got)
	}
}

// A file under which workers crash is taken back, and another one is loaded.
func TestAFileThatKillsWorkers(t *testing.T) {
	t.Parallel()
	m := serveMount(t, "a")
	m.await("the good one on the disk", func() bool { _, err := os.Stat(m.state("good")); return err == nil })
	m.swap("dies")
	m.awaitLog(`outcome="config 3 active, the last good one: `)
	m.answers("a")
	m.awaitLog("refused until the file changes")
	m.swap("b")
	m.awaitLog(`changed" outcome="config 4 active"`)
	m.answers("b")
	if got := m.logged("reload failed"); got != 1 {
		t.Errorf("refusals: got %d; want 1", got)
	}
}
