package main

import (
	"strings"
	"testing"
	"time"
)

func rounds(values ...float64) []measurement {
	var all []measurement
	for _, v := range values {
		all = append(all, measurement{value: v, perSecond: 1000 * v, p50: time.Millisecond, p99: 2 * time.Millisecond, resident: 3e6, failed: 1})
	}
	return all
}

func TestMedianIsARoundAndFailuresAreOfAll(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{5}, 5}, {[]float64{9, 4}, 4}, {[]float64{9, 1, 5}, 5}, {[]float64{1, 2, 30, 4}, 2}} {
		got, ok := row{all: rounds(test.values...)}.median()
		if !ok || got.value != test.want || got.perSecond != 1000*test.want || got.failed != len(test.values) {
			t.Errorf("median of %v: got %+v, %t; want %g and %d failed", test.values, got, ok, test.want, len(test.values))
		}
	}
	if got, ok := (row{}).median(); ok {
		t.Errorf("median of no round: got %+v; want none", got)
	}
}

func TestTable(t *testing.T) {
	var got strings.Builder
	table{
		scenario: scenario{name: "keepalive"},
		rows:     []row{{peer{name: "relay"}, rounds(8, 10, 30)}, {peer{name: "nginx"}, nil}, {peer{name: "proxyd"}, rounds(15)}},
	}.print(&got)
	const want = `
keepalive  us CPU/req vs relay vs nginx    req/s  p50 ms  p99 ms  RSS MB  failed
relay           10.00     1.00        -    10000    1.00    2.00     3.0       3
nginx      did not run
proxyd          15.00     1.50        -    15000    1.00    2.00     3.0       1
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
