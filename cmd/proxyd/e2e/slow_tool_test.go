package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// toolVariable asks for the attacks of slowhttptest, which is Debian's package of
// the same name, with that many connections; 4000 is what the swarms have.
const toolVariable = "PROXYD_SLOWHTTPTEST"

// TestSlowhttptest measures what others notice of slowhttptest's attacks: for a
// while without, for a while with each of them. All of its clients must be cut
// while it still holds on; the latencies are for reading, as a machine that does
// something else besides makes them what it likes.
func TestSlowhttptest(t *testing.T) {
	clients := os.Getenv(toolVariable)
	if clients == "" {
		t.Skipf("takes three minutes; %s=4000 runs it", toolVariable)
	}
	tool, err := exec.LookPath("slowhttptest")
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t)
	p.write(site{servers: []string{newBigOrigin(t).address}, listener: `timeouts = { header = "10s", body_idle = "10s", write = "10s" }`})
	p.start()
	u := "http://" + p.address
	for _, test := range []struct {
		name string
		args []string
	}{
		{"slow heads", []string{"-H", "-i", "3", "-u", u + "/"}},
		{"slow bodies", []string{"-B", "-i", "15", "-s", "8192", "-u", u + "/"}},
		{"slow reads", []string{"-X", "-n", "5", "-z", "32", "-w", "512", "-y", "1024", "-u", u + "/big"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			const attack = 45 * time.Second
			calm := probe(t, p, 10*time.Second, nil)
			before := p.workersUse(t)
			ctx, stop := context.WithTimeout(context.Background(), attack+patience)
			defer stop()
			c := exec.CommandContext(ctx, "nice", append([]string{
				"-n", "15", tool, "-c", clients, "-r", "1000", "-l", fmt.Sprint(attack.Seconds()), "-p", "10",
			}, test.args...)...)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			peak, cut := before, time.Duration(0)
			began := time.Now()
			hit := probe(t, p, attack-5*time.Second, func() {
				now := p.workersUse(t)
				peak.rss = max(peak.rss, now.rss)
				peak.descriptors = max(peak.descriptors, now.descriptors)
				if gone := now.descriptors <= before.descriptors+200; !gone {
					cut = 0
				} else if cut == 0 {
					cut = time.Since(began)
				}
			})
			stop() // it holds on to the last
			_ = c.Wait()
			if cut == 0 {
				t.Errorf("got %d descriptors after %v; want the attackers cut", p.workersUse(t).descriptors, attack)
			}
			held := max(1, peak.descriptors-before.descriptors)
			t.Logf("%d descriptors at most, all given back after %v; %d bytes of memory for each", held, cut.Round(time.Second), (peak.rss-before.rss)/held)
			t.Logf("others: p50 %v, p99 %v without; p50 %v, p99 %v with it", calm[len(calm)/2], calm[len(calm)*99/100], hit[len(hit)/2], hit[len(hit)*99/100])
		})
	}
}

// probe makes requests over new connections for a while, a hundred a second, and
// returns how long they took, in order. Each second it calls also.
func probe(t *testing.T, p *proxy, length time.Duration, also func()) (took []time.Duration) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	over := time.Now().Add(length)
	for i := 0; time.Now().Before(over); i++ {
		<-ticker.C
		began := time.Now()
		p.get("/").want(t, http.StatusOK)
		took = append(took, time.Since(began).Round(time.Microsecond))
		if also != nil && i%100 == 0 {
			also()
		}
	}
	slices.Sort(took)
	return took
}
