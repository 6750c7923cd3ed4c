package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMistakenFlagsOfModes(t *testing.T) {
	for args, want := range map[string]string{
		"balance -peers squid": `-peers: got "squid"; want some of nginx round_robin,`,
		"balance -rate 0":      "-rate 0: want 1 to 10000",
		"balance -rate NaN":    "-rate NaN: want 1 to 10000",
		"balance -for 10h":     "-for 10h0m0s: want 1s to 10m0s",
		"balance surplus":      `unexpected argument "surplus"`,
		"reuse -workers 1,x":   `-workers: got "x"; want numbers from 1 to 64`,
		"reuse -for 1ms":       "-for 1ms: want 50ms to 10m0s",
		"reuse -speed 3":       "not defined: -speed",
	} {
		var stderr bytes.Buffer
		if code := run(strings.Fields(args), &stderr, &stderr); code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("proxybench %s: got %d, %q; want %d, %q", args, code, &stderr, exitUsage, want)
		}
	}
}

func TestContestantsHaveAllServersAndAPolicy(t *testing.T) {
	for _, c := range contestants {
		at := place{dir: t.TempDir(), proxyd: os.Args[0], port: 1}
		if _, err := c.program(at); err != nil {
			continue // not installed
		}
		if _, err := c.at([]string{"127.0.2.1:81", "127.0.2.2:82"}).prepare(at); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		text, err := os.ReadFile(filepath.Join(at.dir, c.file))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"127.0.2.1:81", "127.0.2.2:82", "127.0.0.1:1"} {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s: got %s; want %s in it", c.name, text, want)
			}
		}
		if bytes.Contains(text, []byte("{policy}")) || bytes.Contains(text, []byte("{address}")) || bytes.Contains(text, []byte("{port}")) {
			t.Errorf("%s: got %s; want all filled in", c.name, text)
		}
	}
}

func TestReportIsATable(t *testing.T) {
	one := round{length: 2 * time.Second, asked: 3, probed: 50, tally: tally{requests: 2, failures: map[string]int{"cut": 1, "503": 1}}}
	two := round{length: 2 * time.Second, asked: 3, probed: 50, tally: tally{requests: 2, failures: map[string]int{"504": 1, "503": 1}}}
	for range 2 {
		one.latencies.add(time.Millisecond)
		two.latencies.add(time.Second)
	}
	x := trial{name: "one", rounds: []round{two, one}}
	var b bytes.Buffer
	if err := report(&b, []trial{x}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	got := strings.Join(strings.Fields(lines[2]), " ")
	if want := "| one | 4 | 4 | 100.000 % | 1.0 | 1.0 | 1.0 | 1.0 | 2 | 1.500 | 25 | 2 503, 1 504, 1 cut |"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestConnectionsOfAllWorkersAreCounted(t *testing.T) {
	const two = `{"workers":[{"counters":{"proxyd_upstream_connects_total":2,"proxyd_upstream_reuses_total":30}},{"counters":{"proxyd_upstream_connects_total":1,"proxyd_upstream_reuses_total":7}}]}`
	if got, err := parseConnections([]byte(two)); err != nil || got != (connections{3, 37}) {
		t.Errorf("got %v, %v; want 3 connects and 37 reuses", got, err)
	}
	for _, text := range []string{"", "{}", `{"workers":[{}]}`} {
		if got, err := parseConnections([]byte(text)); err == nil {
			t.Errorf("%q: got %v; want an error", text, got)
		}
	}
}

// A whole comparison, of a peer that is there without being built.
func TestBalanceComparesNginx(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil || testing.Short() {
		t.Skipf("nginx: %v; short: %v", err, testing.Short())
	}
	b, err := parseBalance([]string{"-peers", "nginx round_robin", "-for", "1s", "-rate", "100"}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if err := b.run(t.Context(), &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	if want := "| nginx round_robin | 100 "; !strings.Contains(stdout.String(), want) {
		t.Errorf("got %s; want %q", &stdout, want)
	}
}
