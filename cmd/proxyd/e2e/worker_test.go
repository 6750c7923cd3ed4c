package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A regular is a client that stays on one connection, and tells when that ends.
type regular struct {
	*client
	failed error
}

// regulars opens n connections and keeps asking on each until stopped is closed
// or its connection fails.
func regulars(t *testing.T, address string, n int, stopped <-chan struct{}) (list []*regular, wait func()) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		r := &regular{client: connect(t, address)}
		r.get(t, "/").want(t, http.StatusOK) // and so a worker has it
		list = append(list, r)
		all.Go(func() {
			ticker := time.NewTicker(5 * time.Millisecond)
			defer ticker.Stop()
			for {
				select {
				case <-stopped:
					return
				case <-ticker.C:
				}
				a, err := r.ask(http.MethodPost, fmt.Sprintf("/%d", i), "body")
				if err == nil {
					err = a.ok()
				}
				if err != nil {
					r.failed = err
					return
				}
			}
		})
	}
	return list, all.Wait
}

// use takes from the limit of app until it refuses or n are admitted.
func use(t *testing.T, p *proxy, app string, n int) (admitted int) {
	t.Helper()
	for range n {
		switch a := p.get("/", "appid: "+app); a.status {
		case http.StatusOK:
			admitted++
		case http.StatusTooManyRequests:
			return admitted
		default:
			t.Fatalf("appid %s: got %d", app, a.status)
		}
	}
	return admitted
}

// TestAWorkerThatIsKilled kills a worker under load with no warning.
func TestAWorkerThatIsKilled(t *testing.T) {
	const limit = 100
	awaitHour(t)
	p := newProxy(t)
	perSecond(p, fmt.Sprintf("%d/h", limit), newOrigin(t, "origin", "", nil, nil).address)
	p.start()
	if got := use(t, p, "app", limit/2); got != limit/2 {
		t.Fatalf("before: got %d admitted; want %d", got, limit/2)
	}
	stopped := make(chan struct{})
	list, wait := regulars(t, p.address, 64, stopped)
	before := p.status().Workers
	victim, other := before[0], before[1]
	its := clientPorts(t, victim.Pid, p.address)
	if len(its) == 0 {
		victim, other = other, victim
		its = clientPorts(t, victim.Pid, p.address)
	}

	began := time.Now()
	kill(t, victim.Pid)
	after := newLoad(t, p.address)
	after.renew(200)
	await(t, "respawn", func() bool {
		return p.logged(fmt.Sprintf(`msg="worker serves" slot=%d `, victim.Slot)) == 2
	})
	respawned := time.Since(began)
	if respawned > time.Second {
		t.Errorf("respawned after %v; want 1s at most", respawned)
	}
	if got := use(t, p, "app", limit); got != limit/2 {
		t.Errorf("after: got %d admitted; want the %d that were left", got, limit/2)
	}
	after.awaitMore(t, 100)
	after.end(t) // all that connected after the death

	close(stopped)
	wait()
	failed := 0
	for _, r := range list {
		if r.failed == nil {
			continue
		}
		failed++
		if !its[r.port()] {
			t.Errorf("a connection of another worker: %v", r.failed)
		}
	}
	if failed != len(its) {
		t.Errorf("got %d failed connections; want the %d of the worker", failed, len(its))
	}
	now := p.status().Workers
	if next := now[victim.Slot]; next.Pid == victim.Pid || next.State != "serving" || next.Restarts != 1 || now[other.Slot].Pid != other.Pid {
		t.Errorf("workers: got %+v; want another process in slot %d only", now, victim.Slot)
	}
	t.Logf("%d of %d connections were the worker's and failed; respawned after %v", failed, len(list), respawned.Round(time.Millisecond))
}

// Deaths in a row: the proxy serves on, whichever worker dies.
func TestWorkersThatAreKilledByTurns(t *testing.T) {
	long(t)
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}, upstream: `health "tcp" {}`})
	p.start()
	for round := range 4 {
		slot := round % 2
		kill(t, p.status().Workers[slot].Pid)
		began := time.Now()
		p.get("/").want(t, http.StatusOK)
		took := time.Since(began)
		p.awaitLogs(fmt.Sprintf(`msg="worker serves" slot=%d `, slot), 2+round/2)
		t.Logf("killed worker %d: a request right after took %v", slot, took.Round(time.Millisecond))
	}
	for range 20 {
		p.get("/").want(t, http.StatusOK)
	}
}
