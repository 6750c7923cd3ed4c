package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

// A measurement is one round of one peer.
type measurement struct {
	value     float64 // what scenario.unit says
	unit      string
	perSecond float64
	p50, p99  time.Duration
	resident  int64 // bytes, of the whole process tree
	ok        int
	failed    int
	complaint string
}

func (m measurement) String() string {
	s := fmt.Sprintf("%.1f %s, %.0f requests/s", m.value, m.unit, m.perSecond)
	if m.failed > 0 {
		s += fmt.Sprintf(", %d FAILED: %s", m.failed, m.complaint)
	}
	return s
}

// measure starts p, lets it warm up, measures it and stops it.
func (b *bench) measure(ctx context.Context, s scenario, p peer, origins [2]int) (measurement, error) {
	proxy, at, err := p.start(ctx, &b.cpus, b.cpus.proxy, place{dir: b.dir, self: b.self, proxyd: b.proxyd, origins: origins})
	if err != nil {
		return measurement{}, err
	}
	defer proxy.stop(stopPatience)
	return b.underLoad(ctx, s, proxy, at)
}

// underLoad runs the two phases of the load generator and looks at the proxy
// before and after the second.
func (b *bench) underLoad(ctx context.Context, s scenario, proxy *process, at place) (measurement, error) {
	gen, err := b.cpus.start(launch{
		name: "load", cpu: b.cpus.load, env: []string{loopEnvironment}, talk: true, log: filepath.Join(at.dir, "load.log"),
		args: []string{
			b.self, "load", "-port", strconv.Itoa(at.port), "-connections", strconv.Itoa(s.connections), "-body", strconv.Itoa(s.body),
			fmt.Sprintf("-one-shot=%t", s.oneShot), fmt.Sprintf("-hold=%t", s.hold), "-warm", (b.length / 2).String(), "-for", b.length.String(),
		},
	})
	if err != nil {
		return measurement{}, err
	}
	defer gen.stop(time.Second)
	// Ending it ends the reads below.
	patience := 2*b.length + 3*requestPatience
	defer context.AfterFunc(ctx, func() { _ = gen.command.Process.Kill() })()
	defer time.AfterFunc(patience, func() { _ = gen.command.Process.Kill() }).Stop()

	results := json.NewDecoder(gen.stdout)
	var warm, measured result
	if err := results.Decode(&warm); err != nil {
		return measurement{}, fmt.Errorf("load generator, warming up: %w: %s", err, gen.lastWords())
	}
	before, err := look(s, proxy.pid())
	if err != nil {
		return measurement{}, err
	}
	if _, err := gen.stdin.Write([]byte("\n")); err != nil {
		return measurement{}, fmt.Errorf("load generator: %w: %s", err, gen.lastWords())
	}
	if err := results.Decode(&measured); err != nil {
		return measurement{}, fmt.Errorf("load generator, within %v: %w: %s", patience, err, gen.lastWords())
	}
	if s.hold {
		settle(ctx)
	}
	after, err := look(s, proxy.pid())
	if err != nil {
		return measurement{}, err
	}
	return newMeasurement(s, warm, measured, before, after), nil
}

// settle gives a proxy time to return what it needed for its last requests.
func settle(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}

// A sight is what a proxy has used so far.
type sight struct {
	cpu      time.Duration
	resident int64
}

func look(s scenario, pid int) (sight, error) {
	var at sight
	var err error
	if at.resident, err = residentBytes(pid); err != nil {
		return at, err
	}
	at.cpu, err = cpuTime(pid)
	return at, err
}

// newMeasurement counts requests that failed while warming up, too: a proxy that
// fails there is no better.
func newMeasurement(s scenario, warm, measured result, before, after sight) measurement {
	m := measurement{
		unit: s.unit(), p50: measured.P50, p99: measured.P99, resident: after.resident,
		ok: measured.OK, failed: warm.Failed + measured.Failed, complaint: warm.Complaint,
	}
	if m.complaint == "" {
		m.complaint = measured.Complaint
	}
	if seconds := measured.Elapsed.Seconds(); seconds > 0 {
		m.perSecond = float64(measured.OK) / seconds
	}
	requests := float64(max(1, measured.OK))
	if s.hold {
		m.value = float64(max(0, after.resident-before.resident)) / requests
	} else {
		m.value = float64((after.cpu - before.cpu).Microseconds()) / requests
	}
	return m
}
