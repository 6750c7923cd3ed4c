package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A bench carries out a plan.
type bench struct {
	plan
	cpus     cpus
	dir      string // for the children's files; removed at the end
	self     string
	progress io.Writer
	failures []string // what makes the figures void
}

const (
	startPatience = 10 * time.Second // until a child answers
	stopPatience  = 5 * time.Second
)

// run carries out p: figures go to stdout, progress to stderr. Its error says
// which proxies failed requests or did not run; the others are measured anyway.
func (p plan) run(ctx context.Context, stdout, stderr io.Writer) error {
	// Children die with the thread that started them: it is this one, and stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	b := &bench{plan: p, progress: stderr}
	var err error
	if err := raiseDescriptors(); err != nil {
		return err
	}
	if b.cpus, err = findCPUs(); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "proxybench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.findPeers(); err != nil {
		return err
	}
	b.sayWhere()
	for _, s := range b.scenarios {
		t, err := b.scenario(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		t.print(stdout)
	}
	if len(b.failures) > 0 {
		return errors.New(strings.Join(b.failures, "\n"))
	}
	return nil
}

// findPeers drops the peers that are not installed, but for proxyd itself.
func (b *bench) findPeers() error {
	var found []peer
	for _, p := range b.peers {
		_, err := p.program(place{self: b.self, proxyd: b.proxyd})
		switch {
		case err != nil && !errors.Is(err, exec.ErrNotFound), err != nil && strings.HasPrefix(p.name, "proxyd"):
			return err
		case err != nil:
			b.say("%s: skipped, it is not in PATH", p.name)
		default:
			found = append(found, p)
		}
	}
	if b.peers = found; !slices.ContainsFunc(b.scenarios, func(s scenario) bool { return slices.ContainsFunc(found, s.fits) }) {
		return errors.New("there is nothing to measure: no peer is installed, or none fits the scenario")
	}
	return nil
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, format+"\n", args...)
}

// sayWhere tells what weakens the figures of this machine.
func (b *bench) sayWhere() {
	if b.cpus.pinned {
		b.say("proxy on CPU %d, load and origin on CPU %d", b.cpus.proxy, b.cpus.load)
	} else {
		b.say("note: there is one CPU for proxy, load and origin: nothing is pinned, latencies and rates mean little")
	}
	if minutes, err := os.ReadFile("/proc/loadavg"); err == nil {
		var last float64
		if _, err := fmt.Sscan(string(minutes), &last); err == nil && last > 0.5 {
			b.say("note: load average %.2f: something else runs or has just run, figures will scatter", last)
		}
	}
}

// scenario measures each peer that fits in each round.
func (b *bench) scenario(ctx context.Context, s scenario) (table, error) {
	if most := spareDescriptors(); s.connections > most {
		b.say("note: %s with %d connections, not %d: there are no more descriptors", s.name, most, s.connections)
		s.connections = most
	}
	t := table{scenario: s}
	for _, p := range b.peers {
		if s.fits(p) {
			t.rows = append(t.rows, row{peer: p})
		}
	}
	if len(t.rows) == 0 {
		b.say("%s: skipped, no peer fits", s.name)
		return t, nil
	}
	ports, stop, err := b.startOrigin(ctx, s.body)
	if err != nil {
		return t, err
	}
	defer stop()
	return t, b.takeRounds(ctx, t, ports)
}

// takeRounds fills t. Its error is that ctx ended; those of peers are failures.
func (b *bench) takeRounds(ctx context.Context, t table, origins [2]int) error {
	s := t.scenario
	for round := range b.rounds {
		for i := range t.rows {
			r := &t.rows[i]
			what := fmt.Sprintf("%s %d/%d %s", s.name, round+1, b.rounds, r.peer.name)
			fmt.Fprintf(b.progress, "%s: ", what) // the line ends when it is known how it went
			m, err := b.measure(ctx, s, r.peer, origins)
			switch {
			case ctx.Err() != nil:
				b.say("stopped")
				return fmt.Errorf("stopped: %w", context.Cause(ctx))
			case err != nil:
				b.say("did not run")
				b.failures = append(b.failures, fmt.Sprintf("%s: %v", what, err))
				continue
			case m.failed > 0:
				b.failures = append(b.failures, fmt.Sprintf("%s: %d of %d requests failed, the first: %s", what, m.failed, m.failed+m.ok, m.complaint))
			}
			b.say("%s", m)
			r.all = append(r.all, m)
		}
	}
	return nil
}

func (b *bench) startOrigin(ctx context.Context, body int) (ports [2]int, stop func(), err error) {
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return ports, nil, err
		}
	}
	o, err := b.cpus.start(launch{
		name: "origin", cpu: b.cpus.load, env: []string{loopEnvironment}, log: filepath.Join(b.dir, "origin.log"),
		args: []string{b.self, "origin", fmt.Sprint(body), fmt.Sprint(ports[0]), fmt.Sprint(ports[1])},
	})
	if err != nil {
		return ports, nil, err
	}
	if err := awaitAnswer(ctx, o, ports[1]); err != nil {
		o.stop(stopPatience)
		return ports, nil, err
	}
	return ports, func() { o.stop(stopPatience) }, nil
}

// freePort returns a port that was free a moment ago: nobody hands over a socket
// to nginx.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// awaitAnswer waits until p answers 200 on port.
func awaitAnswer(ctx context.Context, p *process, port int) error {
	late := time.After(startPatience)
	for {
		if answers(port) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.gone:
			return fmt.Errorf("%s exited: %s", p.name, p.lastWords())
		case <-late:
			return fmt.Errorf("%s does not answer 200 after %v: %s", p.name, startPatience, p.lastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func answers(port int) bool {
	c, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n", port)
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "HTTP/1.1 200 ")
}
