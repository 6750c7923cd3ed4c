package e2e

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// TestTorture does everything to a proxy, in random order, for as long as
// PROXYD_TORTURE says, under more traffic if that is a minute or more.
func TestTorture(t *testing.T) {
	long(t)
	length := 15 * time.Second
	traffic := lightly
	if text := os.Getenv(tortureVariable); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil || length < 10*time.Second {
			t.Fatalf("%s: got %q, %v; want 10s or more", tortureVariable, text, err)
		}
	}
	if length >= time.Minute {
		traffic = mix{fresh: 500, kept: 500, idle: 20, half: 20, limited: 20, sockets: 50}
	}
	traffic.life = shortLife
	z := newTrial(t, traffic)
	acts := z.acts()
	done := make(map[string]int)
	for end := time.Now().Add(length); time.Now().Before(end); {
		act := acts[rand.IntN(len(acts))]
		if act.whole && !z.whole() {
			continue
		}
		act.do()
		done[act.name]++
		<-time.After(rand.N(time.Second)) // so that each comes at any moment
	}
	t.Logf("for %v: %v", length, done)
	z.end(t)
}

// An act is one thing that can be done to a proxy.
type act struct {
	name  string
	whole bool // needs all workers: one death at a time
	do    func()
}

// acts lists what can be done to a proxy, the quick more often.
func (z *trial) acts() (list []act) {
	add := func(often int, a act) {
		for range often {
			list = append(list, a)
		}
	}
	add(4, act{name: "HUP", do: z.hup})
	add(2, act{name: "worker killed", whole: true, do: func() { z.killWorker(rand.IntN(z.workers)) }})
	add(2, act{name: "supervisor killed", do: func() { z.killSupervisor(rand.N(3 * time.Second)) }})
	add(1, act{name: "roll", do: z.roll})
	add(1, act{name: "upgrade", do: func() { z.upgrade(rand.IntN(2) == 0) }})
	return list
}

// whole reports whether all workers of the generation in force serve.
func (z *trial) whole() bool {
	return len(z.serving(z.status().Generation)) == z.workers
}
