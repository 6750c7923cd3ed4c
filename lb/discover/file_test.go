package discover

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseServers(t *testing.T) {
	at := func(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }
	for _, c := range []struct {
		name, text string
		want       []server
		err        string
	}{
		{"one", "10.0.0.1:80", []server{{at("10.0.0.1:80"), 1, false}}, ""},
		{
			"all there is", "# servers\n\n\t10.0.0.1:80  # first\r\n[2001:db8::1]:80 weight=65535 backup\n10.0.0.2:80 backup\n",
			[]server{{at("10.0.0.1:80"), 1, false}, {at("[2001:db8::1]:80"), 65535, true}, {at("10.0.0.2:80"), 1, true}},
			"",
		},
		{"mapped", "[::ffff:10.0.0.1]:80", []server{{at("10.0.0.1:80"), 1, false}}, ""},
		{"nothing", "", nil, "it lists no server"},
		{"comments only", "#10.0.0.1:80\n  \n", nil, "it lists no server"},
		{"name", "\napp.example:80", nil, `line 2: "app.example:80" is not the "ip:port" of a server`},
		{"no port", "10.0.0.1", nil, `line 1: "10.0.0.1" is not the "ip:port" of a server`},
		{"port 0", "10.0.0.1:0", nil, `line 1: "10.0.0.1:0" is not the "ip:port" of a server`},
		{"unspecified, mapped", "[::ffff:0.0.0.0]:80", nil, `line 1: "[::ffff:0.0.0.0]:80" is not the "ip:port" of a server`},
		{"multicast", "224.0.0.1:80", nil, `line 1: "224.0.0.1:80" is not the "ip:port" of a server`},
		{"unspecified", "0.0.0.0:80", nil, `line 1: "0.0.0.0:80" is not the "ip:port" of a server`},
		{"zone", "[fe80::1%eth0]:80", nil, `line 1: "[fe80::1%eth0]:80" is not the "ip:port" of a server`},
		{"weight 0", "10.0.0.1:80 weight=0", nil, `line 1: "weight=0" is not a weight from 1 to 65535`},
		{"weight too large", "10.0.0.1:80 weight=65536", nil, `line 1: "weight=65536" is not a weight from 1 to 65535`},
		{"misspelled", "10.0.0.1:80 weigth=2", nil, `line 1: "weigth=2" is neither weight=N nor backup`},
		{"twice", "10.0.0.1:80\n10.0.0.1:80 backup", nil, "line 2: 10.0.0.1:80 is in line 1 already"},
		{"long", strings.Repeat("x", 1000), nil, `line 1: "` + strings.Repeat("x", 40) + `" is not the "ip:port" of a server`},
		{"too many", manyLines(maxServers + 1), nil, "it lists 257 servers; there may be 256"},
	} {
		got, err := parseServers(c.text)
		if c.err != "" && (err == nil || err.Error() != c.err) {
			t.Errorf("%s: got error %v; want %s", c.name, err, c.err)
		}
		if c.err == "" && (err != nil || !slices.Equal(got, c.want)) {
			t.Errorf("%s: got %v, error %v; want %v", c.name, got, err, c.want)
		}
	}
	if got, err := parseServers(manyLines(maxServers)); err != nil || len(got) != maxServers {
		t.Errorf("as many as may be: got %d, error %v; want %d", len(got), err, maxServers)
	}
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80).String() + "\n")
	}
	return b.String()
}

func FuzzParseServers(f *testing.F) {
	f.Add("10.0.0.1:80\n[2001:db8::1]:80 weight=3 backup # comment\n")
	f.Add("10.0.0.1:80 weight=")
	f.Add("[::ffff:10.0.0.1]:80\n10.0.0.1:80")
	f.Fuzz(func(t *testing.T, text string) {
		servers, err := parseServers(text)
		if err != nil {
			if most := 256; len(err.Error()) > most {
				t.Errorf("the error has %d bytes; want at most %d", len(err.Error()), most)
			}
			return
		}
		if len(servers) == 0 || len(servers) > maxServers {
			t.Fatalf("got %d servers and no error", len(servers))
		}
		// Written out, they read the same.
		var b strings.Builder
		for _, s := range servers {
			b.WriteString(s.line())
		}
		again, err := parseServers(b.String())
		if err != nil || !slices.Equal(again, servers) {
			t.Errorf("got %v, written out and read again %v, error %v", servers, again, err)
		}
	})
}

// line is s as a line of a File.
func (s server) line() string {
	spec := s.spec()
	text := spec.Address + " weight=" + strconv.Itoa(spec.Weight)
	if spec.Backup {
		text += " backup"
	}
	return text + "\n"
}

func TestFileIsWatched(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "servers")
	s := settings(File{path})
	var lines log
	s.Log = lines.logger()
	d := newDiscoverer(t, newSegment(t), s)
	run(t, d)
	fault := func() string { return d.Status()[0].Error }
	write := func(text string) { t.Helper(); replace(t, path, text) }
	const soon = 2 * time.Second

	await(t, "missed", soon, func() bool { return fault() == "no such file or directory" })
	if !d.Status()[0].Answered.IsZero() {
		t.Errorf("never read: answered is %v; want none", d.Status()[0].Answered)
	}
	write("10.0.0.1:80\n10.0.0.2:80 weight=3 backup\n")
	awaitServers(t, d, "10.0.0.1:80 10.0.0.2:80", soon)
	if got := d.Servers()[1]; got.Weight != 3 || !got.Backup {
		t.Errorf("second server is %+v; want weight 3 and backup", got)
	}
	if fault() != "" {
		t.Errorf("fault is %q; want none", fault())
	}

	// In place, to the same size, at once after it was read.
	if err := os.WriteFile(path, []byte("10.0.0.1:80\n10.0.0.3:80 weight=3 backup\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	awaitServers(t, d, "10.0.0.1:80 10.0.0.3:80", soon)

	write("10.0.0.4:80\noops\n")
	await(t, "refused", soon, func() bool { return fault() == `line 2: "oops" is not the "ip:port" of a server` })
	write("")
	await(t, "refused", soon, func() bool { return fault() == "it lists no server" })
	os.Remove(path)
	await(t, "missed", soon, func() bool { return fault() == "no such file or directory" })
	if got, want := addresses(d.Servers()), "10.0.0.1:80 10.0.0.3:80"; got != want {
		t.Errorf("with a broken file: got %s; want %s", got, want)
	}
	write("10.0.0.5:80")
	awaitServers(t, d, "10.0.0.5:80", soon)
	if fault() != "" {
		t.Errorf("fault is %q; want none", fault())
	}
	for _, text := range []string{"oops", "lists no server", "well again", "new: 10.0.0.5:80; gone: 10.0.0.1:80, 10.0.0.3:80"} {
		if got := lines.count(text); got != 1 && text != "well again" || got == 0 {
			t.Errorf("%d lines of the log hold %q; want one", got, text)
		}
	}
}

func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// A file that has settled is not read again until stat tells of a change; one that
// changed just now may have changed again in the same tick.
func TestSettledFileIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "servers")
	w := &watch{path: path}
	ask := func(changed time.Time, want byte) {
		t.Helper()
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
		if r := w.ask(context.Background(), nil); r.err != nil || !slices.Equal(r.servers, []server{server4(want, 80)}) {
			t.Errorf("got %v, error %v; want 10.0.0.%d:80", r.servers, r.err, want)
		}
	}
	overwrite := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	overwrite("10.0.0.1:80\n")
	now := time.Now()
	ask(now, 1)
	overwrite("10.0.0.2:80\n")
	ask(now, 2)
	hourAgo := now.Add(-time.Hour)
	ask(hourAgo, 2)
	overwrite("10.0.0.3:80\n") // which stat does not tell of
	ask(hourAgo, 2)
	overwrite("10.0.0.33:80\n")
	ask(hourAgo, 33)
	overwrite("10.0.0.34:80\n")
	ask(hourAgo.Add(1), 34)
	replace(t, path, "10.0.0.35:80\n")
	ask(hourAgo.Add(1), 35)
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	replace(t, large, strings.Repeat("#\n", maxFile/2+1))
	for path, want := range map[string]string{
		fifo:        "it is not a regular file",
		dir:         "it is not a regular file",
		"/dev/zero": "it is not a regular file",
		large:       "it has over 65536 bytes",
	} {
		w := &watch{path: path}
		if r := w.ask(context.Background(), nil); r.err == nil || r.err.Error() != want {
			t.Errorf("%s: got error %v; want %s", path, r.err, want)
		}
	}
}
