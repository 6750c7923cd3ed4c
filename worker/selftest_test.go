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
		if err := p.selfTest(p.snapshot); err != nil {
			t.Fatalf("self-test: got %v; want none", err)
		}
	}
	if got := p.shared.Counters[shm.Requests].Load() - before; got != 3 {
		t.Errorf("requests: got %d; want one for each test", got)
	}
	p.snapshot.services[firstOf(p.snapshot.services)].head.HeadBytes = 1
	if err := p.selfTest(p.snapshot); err == nil || !strings.Contains(err.Error(), "self-test of listener") {
		t.Errorf("of a service that refuses all: got %v; want an error", err)
	}
}

func firstOf(services map[string]*service) string {
	for name := range services {
		return name
	}
	return ""
}
