package worker

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
)

// A supervisor that was stopped until the channel was full hears beats again when
// it goes on; without, it would take all its workers for dead.
func TestBeatsOutlastAFullChannel(t *testing.T) {
	p := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, silent)))
	supervisor, file, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	channel, err := handoff.NewConn(file)
	if err != nil {
		t.Fatal(err)
	}
	defer channel.Close()
	sent := 0
	for err == nil {
		err = channel.Send(handoff.Ack, 1, nil)
		sent++
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	ended, stop := make(chan bool), make(chan struct{})
	c := &control{w: p.worker}
	c.channel.Store(channel)
	go func() { defer close(ended); c.beat(stop) }()
	defer func() { supervisor.Close(); close(stop); <-ended }()
	select {
	case <-ended:
		t.Fatal("the worker beats no more")
	case <-time.After(2*beatEvery + beatEvery/2): // a beat has failed
	}
	for range sent {
		if _, err := supervisor.Receive(); err != nil {
			t.Fatal(err)
		}
	}
}
