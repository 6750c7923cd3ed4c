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

// What is done to a proxy costs no request, but for those that a killed worker had.
func TestNothingIsLost(t *testing.T) {
	long(t)
	for _, test := range []struct {
		name  string
		needs string // a command
		do    func(t *testing.T, z *trial)
	}{
		{"HUP 20 times a second", "reload", func(t *testing.T, z *trial) {
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
			z.answers(100)
			z.untouched(t, before)
		}},
		{"rolls", "roll", func(t *testing.T, z *trial) {
			for range 2 { // a third would be the end of the WebSockets of the first generation
				z.roll()
				z.answers(100)
			}
		}},
		{"upgrades", "upgrade", func(t *testing.T, z *trial) {
			for i := range 2 {
				z.upgrade(i == 0)
				z.answers(100)
			}
		}},
		{"killed workers", "status", func(t *testing.T, z *trial) {
			for i := range 4 {
				z.answers(200)
				z.killWorker(i)
				await(t, "all workers to serve again", func() bool { return len(z.serving(1)) == z.workers })
			}
		}},
		{"killed supervisors", "status", func(t *testing.T, z *trial) {
			before := z.pids()
			for _, alone := range []time.Duration{0, 3 * time.Second} {
				z.killSupervisor(alone)
				z.hup() // it can lead those workers
				want := fmt.Sprintf("host=v%d.example", z.configs)
				await(t, want, func() bool { return z.hosts(want) })
			}
			z.untouched(t, before)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := newTrial(t, lightly)
			if !z.offers(test.needs) {
				t.Skipf("there is no 'proxyd %s'", test.needs)
			}
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
	for _, upgrades := range []int{1, 10} {
		t.Run(fmt.Sprintf("%d upgrades", upgrades), func(t *testing.T) {
			if upgrades > 1 && !tortured() {
				t.Skipf("two minutes; set %s", tortureVariable)
			}
			z := newTrial(t, lightly)
			if !z.offers("upgrade") {
				t.Skip("there is no 'proxyd upgrade'")
			}
			all := z.expect(1000, 200)
			old := z.pids()
			for i := range upgrades {
				z.upgrade(i%2 == 1)
				if held := z.held(old); upgrades > 1 && held > 0 {
					t.Skipf("%d connections are still with the workers that drain: they do not move yet", held)
				}
			}
			for i, w := range all {
				err := w.send(w.rest)
				var a *answer
				if err == nil {
					a, err = w.receive(http.MethodGet)
				}
				if err != nil || a.status != http.StatusOK {
					t.Fatalf("client %d of %d, %d bytes of its request sent after: got %+v, %v; want 200", i, len(all), len(w.rest), a, err)
				}
			}
			z.end(t)
		})
	}
}

// held counts the connections of waiting clients that processes hold.
func (z *trial) held(pids []int) (n int) {
	for _, pid := range pids {
		n += len(clientPorts(z.t, pid, z.address))
	}
	return n
}
