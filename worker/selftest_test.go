package worker

import (
	"strings"
	"testing"

	"github.com/proxyd/proxyd/internal/shm"
)

func TestSelfTest(t *testing.T) {
	server := startOrigin(t, silent)
	p := startProxy(t, `upstream = "up"`, upstreamOf(server))
	before := p.shared.Counters[shm.Requests].Load()
	for range 3 {
		if err := p.selfTest(p.current); err != nil {
			t.Fatalf("self-test: got %v; want none", err)
		}
	}
	if got := p.shared.Counters[shm.Requests].Load() - before; got != 3 {
		t.Errorf("requests: got %d; want one for each test", got)
	}
	for _, v := range p.current.services {
		v.head.HeadBytes = 1
	}
	if err := p.selfTest(p.current); err == nil || !strings.Contains(err.Error(), "self-test of listener") {
		t.Errorf("of a service that refuses all: got %v; want an error", err)
	}
}
