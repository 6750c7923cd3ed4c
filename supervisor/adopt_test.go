package supervisor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
)

func TestJudge(t *testing.T) {
	record := shm.Record{Config: 5, Generation: 3}
	tests := []struct {
		name       string
		hello      handoff.HelloBody
		generation uint32
		want       happening
		leaves     bool
	}{
		{"as all", handoff.HelloBody{Config: 5}, 3, claimed, false},
		{"as all, with an offer of later", handoff.HelloBody{Config: 5, Prepared: 6}, 3, claimed, false},
		{"decided, not told", handoff.HelloBody{Config: 4, Prepared: 5}, 3, behind, false},
		{"missed a reload", handoff.HelloBody{Config: 4}, 3, claimed, true},
		{"missed one and was offered another", handoff.HelloBody{Config: 3, Prepared: 4}, 3, claimed, true},
		{"replaced", handoff.HelloBody{Config: 5}, 2, claimed, true},
		{"replaced and drains", handoff.HelloBody{Config: 5, Draining: true}, 2, bygone, true},
		{"drains", handoff.HelloBody{Config: 5, Draining: true}, 3, bygone, true},
		{"of a roll that was not decided", handoff.HelloBody{Config: 6}, 4, stray, true},
	}
	for _, tt := range tests {
		got, leaving := judge(record, tt.hello, tt.generation)
		if got != tt.want || (leaving != "") != tt.leaves {
			t.Errorf("%s: got event %d, %q; want event %d, leaving %v", tt.name, got, leaving, tt.want, tt.leaves)
		}
	}
}

// Who comes in and does not behave as an orphan does is sent away, with all that
// it brought closed.
func TestDoorSendsAwayStrangers(t *testing.T) {
	d, err := openDoor(t.TempDir(), os.Geteuid(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	good := handoff.HelloBody{Pid: os.Getpid(), Config: 1}
	with := func(f func(*handoff.HelloBody)) handoff.HelloBody { h := good; f(&h); return h }
	tests := []struct {
		name  string
		kind  handoff.Type
		hello handoff.HelloBody
		files int
		ok    bool
	}{
		{"an orphan", handoff.Hello, good, 2, true},
		{"an orphan with an offer", handoff.Hello, with(func(h *handoff.HelloBody) { h.Prepared = 2 }), 3, true},
		{"another message", handoff.Beat, good, 2, false},
		{"the number of another", handoff.Hello, with(func(h *handoff.HelloBody) { h.Pid++ }), 2, false},
		{"never served", handoff.Hello, with(func(h *handoff.HelloBody) { h.Config = 0 }), 2, false},
		{"no bundle", handoff.Hello, good, 1, false},
		{"more listeners than there can be", handoff.Hello, with(func(h *handoff.HelloBody) { h.Listeners = 1 << 30 }), 2, false},
	}
	for _, tt := range tests {
		c, err := handoff.Dial(d.path)
		if err != nil {
			t.Fatal(err)
		}
		files := []*os.File{null, null, null}[:tt.files]
		if err := c.Send(tt.kind, 1, tt.hello, files...); err != nil {
			t.Fatal(err)
		}
		in, err := d.listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		o, err := d.meet(in)
		if (err == nil) != tt.ok {
			t.Errorf("%s: got %v; want ok %v", tt.name, err, tt.ok)
		}
		if err == nil {
			o.close()
		} else {
			in.Close()
		}
		c.Close()
	}
}

func TestDoorIsRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, stale := range []bool{false, true} {
		d, err := openDoor(dir, os.Geteuid(), nil)
		if err != nil || d.stale != stale {
			t.Fatalf("open: got %+v, %v; want stale %v", d, err, stale)
		}
		if stale {
			d.close()
		} else {
			d.listener.Close() // as by a kill
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "adopt.sock")); err == nil {
		t.Error("after close: got the door; want none")
	}
}

// A socket that several bring is one, and one that was shut is none.
func TestSocketsInherit(t *testing.T) {
	listening := mustBind(t, tcp("127.0.0.1:0"))
	gone, err := bind(tcp("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	ss := sockets{open: make(map[string]*socket)}
	defer ss.close()
	bring := func(name string) error {
		t.Helper()
		fd, err := dup(listening.fd)
		if err != nil {
			t.Fatal(err)
		}
		return ss.inherit(descriptor{handoff.Listen, name, fd})
	}
	for range 3 {
		if err := bring("l.a"); err != nil {
			t.Fatal(err)
		}
	}
	if all := ss.all(); len(all) != 1 || all[0].bound != listening.bound || cookie(all[0].fd) != cookie(listening.fd) {
		t.Errorf("inherited: got %+v; want the one at %s", all, listening.bound)
	}
	fd, err := dup(gone.fd)
	if err != nil {
		t.Fatal(err)
	}
	gone.shut()
	if err := ss.inherit(descriptor{handoff.Listen, "l.b", fd}); err == nil {
		t.Error("a socket that was shut: got it; want an error")
	}
}
