package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
)

func TestServersAsATable(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	servers := handoff.Servers{Upstreams: []handoff.Upstream{{
		Name: "one",
		Servers: []handoff.Server{
			{Address: "10.0.0.1:8080", Weight: 5, Configured: 5, State: "up", Since: before(150 * time.Minute), InFlight: 31, Source: "config"},
			{Address: "10.0.0.2:8080", Weight: 1, Configured: 5, State: "up", Since: before(50 * time.Hour), InFlight: 4, Admin: "draining", Source: "config"},
			{Address: "10.0.0.3:8080", Weight: 5, Configured: 5, State: "up", EjectedUntil: now.Add(9500 * time.Millisecond), Source: "dns app.example:8080"},
			{Address: "10.0.0.9:8080", Weight: 5, Configured: 5, Backup: true, State: "down", Since: before(3 * time.Minute), Reason: "connection refused", Source: "config"},
			{Address: "10.0.0.8:8080", Weight: 5, Configured: 5, State: "unknown", Admin: "disabled", Source: "config"},
		},
		Sources: []handoff.Source{
			{Name: "dns app.example:8080", Servers: 1, Answered: before(12 * time.Second), Next: now.Add(18 * time.Second)},
			{Name: "file /x", Error: "open /x: permission denied"},
		},
	}}}
	const want = `UPSTREAM  SERVER         WEIGHT  STATE     SINCE  ACTIVE  FROM    NOTE
one       10.0.0.1:8080  5       up        2h     31      config
one       10.0.0.2:8080  1/5     draining  2d     4       config
one       10.0.0.3:8080  5       ejected          0       dns     ejected for 10s
one       10.0.0.9:8080  5       down      3m     0       config  backup; connection refused
one       10.0.0.8:8080  5       disabled         0       config  unknown

UPSTREAM  DISCOVERY             SERVERS  ANSWERED  NEXT    ERROR
one       dns app.example:8080  1        12s ago   in 18s
one       file /x               0        never             open /x: permission denied
`
	var out bytes.Buffer
	if err := printServers(&out, servers, false, now); err != nil || out.String() != want {
		t.Errorf("table: got %v\n%s\nwant\n%s", err, &out, want)
	}
	if n := usable(servers.Upstreams[0]); n != 1 {
		t.Errorf("usable: got %d; want 1", n)
	}

	// Colours must not move the columns.
	var coloured bytes.Buffer
	if err := printServers(&coloured, servers, true, now); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(coloured.String(), "\x1b[32mup\x1b[0m") {
		t.Errorf("table for a terminal: got %q; want a green up", &coloured)
	}
	bare := coloured.String()
	for _, code := range []string{"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m"} {
		bare = strings.ReplaceAll(bare, code, "")
	}
	if bare != want {
		t.Errorf("table for a terminal without its colours: got\n%s\nwant\n%s", bare, want)
	}
}

func TestLimitsAsATable(t *testing.T) {
	limits := handoff.Limits{Limits: []handoff.Limit{
		{Name: "per_app", Max: 10, Window: time.Second, Algorithm: "estimator", Keys: 1_000_000, Refused: 12, Hottest: []handoff.HotKey{
			{Key: "demo", Count: 10}, {Key: "\x1b[2J\r\n", Count: 7}, {Key: strings.Repeat("ä", 40), Count: 3}, {Key: "fourth", Count: 1},
		}},
		{Name: "per_ip", Max: 600, Window: time.Minute, Algorithm: "gcra", Burst: 20, Keys: 100},
		{Name: "uploads", Max: 20, Algorithm: "concurrency", DryRun: true, Keys: 100},
	}}
	const want = `LIMIT    RATE        ALGORITHM             KEYS     REFUSED  HOTTEST
per_app  10/s        estimator             1000000  12       demo 10, \x1b[2J\r\n 7, äääääääääääääää… 3
per_ip   600/m       gcra, burst 20        100      0
uploads  20 at once  concurrency, dry run  100      0
`
	var out bytes.Buffer
	if err := printLimits(&out, limits, false); err != nil || out.String() != want {
		t.Errorf("table: got %v\n%s\nwant\n%s", err, &out, want)
	}
}

func TestOneLimit(t *testing.T) {
	l := handoff.Limit{
		Name: "per_app", Max: 10, Window: time.Hour, Algorithm: "window", Overrides: 1, Keys: 100, Admitted: 40, Refused: 2,
		Hottest: []handoff.HotKey{{Key: "demo", Count: 10, Refused: 2}, {Key: "long", Cut: true, Count: 1}},
	}
	const facts = `limit      per_app
rate       10/h
algorithm  window
overrides  1 key
keys       100 counted exactly
admitted   40
refused    2
`
	var out bytes.Buffer
	if err := printLimit(&out, l, false); err != nil || out.String() != facts+"\nKEY    COUNT  REFUSED\ndemo   10     2\nlong…  1      0\n" {
		t.Errorf("limit: got %v\n%s", err, &out)
	}
	out.Reset()
	l.Use = &handoff.Use{Key: "a\tb", Max: 10, Remaining: 4, Reset: 1500 * time.Millisecond}
	if err := printLimit(&out, l, false); err != nil || out.String() != facts+"key        a\\tb: 4 of 10 left, all of it in 1.5s\n" {
		t.Errorf("limit with a key: got %v\n%s", err, &out)
	}
}
