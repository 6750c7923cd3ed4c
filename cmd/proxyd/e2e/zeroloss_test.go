package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"testing"
	"time"
)

// tortureVariable says for how long TestTorture is to run; the tests here are
// thorough then.
const tortureVariable = "PROXYD_TORTURE"

func tortured() bool { return os.Getenv(tortureVariable) != "" }

// lightly is the traffic of all tests but TestTorture.
var lightly = mix{fresh: 100, kept: 100, idle: 10, half: 10, limited: 20, sockets: 10}

// shortLife is for WebSockets that are to end by themselves: a generation outlives
// two others and no third, and each of those takes 5 seconds or more.
const shortLife = 8 * time.Second

// What is done to a proxy costs no request, but for those that a killed worker had.
func TestNothingIsLost(t *testing.T) {
	long(t)
	for _, test := range []struct {
		name string
		do   func(t *testing.T, z *trial)
	}{
		{"HUP 20 times a second", func(t *testing.T, z *trial) {
			before := z.pids()
			ticker := time.NewTicker(50 * time.Millisecond)
			defer ticker.Stop()
			reloads := 100
			if tortured() {
				reloads = 1000
			}
			for range reloads {
				<-ticker.C
				z.hup()
			}
			z.awaitConfig()
			z.untouched(t, before)
		}},
		{"rolls", func(t *testing.T, z *trial) {
			for range 2 { // a third would be the end of the WebSockets of the first generation
				z.roll()
				z.answers(100)
			}
		}},
		{"upgrades", func(t *testing.T, z *trial) {
			for i := range 2 {
				z.upgrade(i == 0)
				z.answers(100)
			}
		}},
		{"killed workers", func(t *testing.T, z *trial) {
			for i := range 4 {
				z.answers(200)
				z.killWorker(i)
				await(t, "all workers to serve again", func() bool { return len(z.serving(1)) == z.workers })
			}
		}},
		{"killed supervisors", func(t *testing.T, z *trial) {
			before := z.pids()
			for _, alone := range []time.Duration{0, 3 * time.Second} {
				z.killSupervisor(alone)
				z.hup() // it can lead those workers
				z.awaitConfig()
			}
			z.untouched(t, before)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := newTrial(t, lightly)
			test.do(t, z)
			z.end(t)
		})
	}
}

// A waiting client is one that is to be answered on the connection that it has.
type waiting struct {
	*client
	rest string // of its request
}

// expect opens clients that wait: those with a request behind them, and those
// with half of one.
func (z *trial) expect(idle, half int) (all []waiting) {
	z.t.Helper()
	for i := range idle + half {
		c := connect(z.t, z.address)
		c.get(z.t, fmt.Sprintf("/before/%d", i)).want(z.t, http.StatusOK)
		text := request(http.MethodGet, fmt.Sprintf("/after/%d", i), "")
		cut := 0
		if i >= idle {
			cut = 1 + rand.IntN(len(text)-1)
			if err := c.send(text[:cut]); err != nil {
				z.t.Fatal(err)
			}
		}
		all = append(all, waiting{c, text[cut:]})
	}
	return all
}

// Connections that carry no request, or half a head, outlive an upgrade, and
// any number of them in a row, without a reset or a new handshake.
func TestWaitingConnectionsOutliveUpgrades(t *testing.T) {
	long(t)
	for _, upgrades := range []int{1, 20} {
		t.Run(fmt.Sprintf("%d upgrades", upgrades), func(t *testing.T) {
			if upgrades > 1 && !tortured() {
				t.Skipf("four minutes; set %s", tortureVariable)
			}
			traffic := lightly
			traffic.life = shortLife
			z := newTrial(t, traffic)
			all := z.expect(1000, 200)
			for i := range upgrades {
				old := z.pids()
				z.upgrade(i%2 == 1)
				began := time.Now()
				await(t, "all connections with the new workers", func() bool { return z.held(old, all) == 0 })
				t.Logf("all have moved %v after the upgrade", time.Since(began).Round(time.Millisecond))
			}
			for i, w := range all {
				err := w.send(w.rest)
				var a *answer
				if err == nil {
					a, err = w.receive(http.MethodGet)
				}
				if err != nil || a.status != http.StatusOK || a.closing {
					t.Fatalf("client %d of %d, %d bytes of its request sent after: got %+v, %v; want 200", i, len(all), len(w.rest), a, err)
				}
				w.Close()
			}
			z.end(t)
		})
	}
}

// held counts the clients whose connections processes hold.
func (z *trial) held(pids []int, all []waiting) (n int) {
	for _, pid := range pids {
		ports := clientPorts(z.t, pid, z.address)
		for _, w := range all {
			if ports[w.port()] {
				n++
			}
		}
	}
	return n
}
