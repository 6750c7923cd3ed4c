package supervisor

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/proxyd/proxyd/internal/handoff"
)

// An estate arrives as it was given, whatever the number of its descriptors.
func TestEstate(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var list []named
	for _, name := range []string{"lock", "segment", "door", "admin", "bundle", "p.web", "of-a-later-build"} {
		list = append(list, named{name, int(null.Fd())})
	}
	for i := range 2 * handoff.MaxFiles {
		list = append(list, named{fmt.Sprintf("l.%d", i), int(null.Fd())})
	}
	tests := []struct {
		name string
		list []named
		ok   bool
	}{
		{"whole", list, true},
		{"without a lock", list[1:], false},
	}
	for _, tt := range tests {
		giver, file, err := handoff.Pair()
		if err != nil {
			t.Fatal(err)
		}
		taker, err := handoff.NewConn(file)
		if err != nil {
			t.Fatal(err)
		}
		given := make(chan error, 1)
		go func() {
			m, err := giver.Receive()
			if err == nil && m.Type != handoff.Hello {
				err = fmt.Errorf("got %v, want HELLO", m.Type)
			}
			if err == nil {
				err = giveEstate(giver, handoff.EstateBody{Newest: 7, Slots: []int{1, 2}, Made: true}, tt.list)
			}
			given <- err
		}()
		e, err := receiveEstate(taker, "test")
		if (err == nil) != tt.ok {
			t.Errorf("%s: got %v; want ok %v", tt.name, err, tt.ok)
		}
		if err := <-given; err != nil {
			t.Errorf("%s: give: %v", tt.name, err)
		}
		giver.Close()
		taker.Close()
		if err != nil {
			continue
		}
		if !e.made || e.body.Newest != 7 || !slices.Equal(e.body.Slots, []int{1, 2}) || len(e.passed) != 1 || e.passed[0].Name() != "web" {
			t.Errorf("%s: got %+v; want it as given", tt.name, e)
		}
		if len(e.sockets) != 2*handoff.MaxFiles || e.sockets[3].name != "l.3" {
			t.Errorf("%s: got %d sockets; want %d, in order", tt.name, len(e.sockets), 2*handoff.MaxFiles)
		}
		logs(e.sockets).close()
		for _, f := range append(e.passed, e.lock, e.segment, e.door, e.admin, e.bundle) {
			f.Close()
		}
	}
}
