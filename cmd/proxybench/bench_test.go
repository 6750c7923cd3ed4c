package main

import (
	"bytes"
	"context"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestWholeRunWithRelay(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(strings.Fields("-seconds 0.2 -rounds 1 -peers relay"), &stdout, &stderr); code != 0 {
		t.Fatalf("got %d; want 0\n%s%s", code, &stderr, &stdout)
	}
	for _, name := range []string{"keepalive", "body16k", "body1m"} {
		line := regexp.MustCompile(`\n` + name + ` +us CPU/req .*\nrelay +([0-9.]+) +1\.00 .* 0\n`).FindStringSubmatch(stdout.String())
		if line == nil {
			t.Errorf("%s: got no table with a relay that failed no request:\n%s", name, &stdout)
			continue
		}
		if us, err := strconv.ParseFloat(line[1], 64); err != nil || us < 0.5 || us > 100_000 {
			t.Errorf("%s: got %q us of CPU time for a request, %v", name, line[1], err)
		}
		if want := name + " 1/1 relay: "; !strings.Contains(stderr.String(), want) {
			t.Errorf("progress: got %q; want %q", &stderr, want)
		}
	}
	if want := "idle: skipped"; !strings.Contains(stderr.String(), want) {
		t.Errorf("progress: got %q; want %q", &stderr, want)
	}
}

// shortPlan measures one peer for a moment.
func shortPlan(name string, p peer) plan {
	chosen, _ := choose("", name, scenarios)
	return plan{scenarios: chosen, peers: []peer{p}, rounds: 1, length: 50 * time.Millisecond}
}

// An origin with a body of another size plays a proxy that spoils responses.
func TestFailedRequestsFailTheRun(t *testing.T) {
	spoils := peer{name: "spoils", args: []string{"{self}", "origin", "64", "{port}", strconv.Itoa(port(t))}}
	var stdout, stderr bytes.Buffer
	err := shortPlan("keepalive", spoils).run(t.Context(), &stdout, &stderr)
	if want := `Content-Length: got " 64"; want 128`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v; want an error with %q", err, want)
	}
	if want := "FAILED"; !strings.Contains(stderr.String(), want) {
		t.Errorf("progress: got %q; want %q", &stderr, want)
	}
}

func TestIdleMeasuresMemory(t *testing.T) {
	origin := peer{name: "origin", args: []string{"{self}", "origin", "128", "{port}", strconv.Itoa(port(t))}}
	p := shortPlan("idle", origin)
	p.scenarios[0].connections = 100
	var stdout, stderr bytes.Buffer
	if err := p.run(t.Context(), &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	if want := regexp.MustCompile(`\nidle +bytes/conn .*\norigin +[0-9.]+ +- +- +- +- +- +[0-9.]+ +0\n`); !want.MatchString(stdout.String()) {
		t.Errorf("got %q; want %v", &stdout, want)
	}
}

func TestPeerThatDoesNotStartFailsTheRun(t *testing.T) {
	var stdout, stderr bytes.Buffer
	err := shortPlan("keepalive", peer{name: "broken", args: []string{"{self}", "relay", "{port}"}}).run(t.Context(), &stdout, &stderr)
	if want := "broken exited: error: relay: got 1 ports; want 2"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v; want an error with %q", err, want)
	}
	if want := "broken     did not run"; !strings.Contains(stdout.String(), want) {
		t.Errorf("got %q; want %q", &stdout, want)
	}
}

func TestPeersThatAreNotInstalled(t *testing.T) {
	t.Setenv("PATH", "")
	var stdout, stderr bytes.Buffer
	code := run(strings.Fields("-peers nginx,haproxy"), &stdout, &stderr)
	if want := "nginx: skipped, it is not in PATH\nhaproxy: skipped"; code != exitFailures || !strings.Contains(stderr.String(), want) {
		t.Errorf("nginx: got %d, %q; want %d, %q", code, &stderr, exitFailures, want)
	}
	stderr.Reset()
	code = run(strings.Fields("-peers relay,proxyd -proxyd ./nowhere"), &stdout, &stderr)
	if want := "'make build' builds it"; code != exitFailures || !strings.Contains(stderr.String(), want) {
		t.Errorf("proxyd: got %d, %q; want %d, %q", code, &stderr, exitFailures, want)
	}
}

func TestStoppedRunEndsSoon(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	p := shortPlan("keepalive", peers[0])
	p.length = time.Minute
	start := time.Now()
	var out bytes.Buffer
	if err := p.run(ctx, &out, &out); err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("got %v; want that it was stopped", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("got %v until it ended; want no minute", took)
	}
}
