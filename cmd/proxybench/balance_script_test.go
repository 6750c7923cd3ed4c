package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSeedMakesTheScript(t *testing.T) {
	one := makeScript(1, 40*time.Second)
	if again := makeScript(1, 40*time.Second); !reflect.DeepEqual(one, again) {
		t.Error("got two scripts from one seed")
	}
	if other := makeScript(2, 40*time.Second); reflect.DeepEqual(one, other) {
		t.Error("got one script from two seeds")
	}
	if !slices.IsSortedFunc(one, func(a, b change) int { return int(a.at - b.at) }) {
		t.Error("got changes that are not in the order of time")
	}
}

// Each server has at most one part, each act as many servers as it says, and all
// are healthy in the end.
func TestScriptHasItsActs(t *testing.T) {
	const length = 40 * time.Second
	for seed := range uint64(20) {
		s := makeScript(seed, length)
		ever := make(map[int][]condition)
		for _, c := range s {
			if !slices.Contains(ever[c.server], c.to) && c.to != healthy {
				ever[c.server] = append(ever[c.server], c.to)
			}
			if c.at < 0 || c.at > length+restart+4*time.Second {
				t.Errorf("seed %d: got a change at %v; want them within %v", seed, c.at, length)
			}
		}
		got := make(map[condition]int)
		for server, conditions := range ever {
			if len(conditions) != 1 {
				t.Errorf("seed %d: server %d: got %v; want one illness", seed, server, conditions)
			}
			got[conditions[0]]++
			if end := s.at(server, length+10*time.Second); end != healthy {
				t.Errorf("seed %d: server %d: got %v in the end; want it healthy", seed, server, end)
			}
		}
		want := map[condition]int{
			{well, 10 * quick}: 3, {well, 30 * quick}: 2, {dead, quick}: 3 + 4, {stuck, quick}: 3,
			{failing, quick}: 2, {unfit, quick}: 1, {cutting, quick}: 1, {leaving, quick}: rolled,
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("seed %d: got %v; want %v", seed, got, want)
		}
	}
}

func TestConditionAtATime(t *testing.T) {
	ill := condition{stuck, quick}
	s := script{{time.Second, 7, ill}, {2 * time.Second, 8, ill}, {3 * time.Second, 7, healthy}}
	for at, want := range map[time.Duration]condition{0: healthy, time.Second: ill, 2 * time.Second: ill, 3 * time.Second: healthy} {
		if got := s.at(7, at); got != want {
			t.Errorf("at %v: got %v; want %v", at, got, want)
		}
	}
}

func TestPlotAddsUp(t *testing.T) {
	if got, want := plot(), "  21 answer after 1ms all the time"; !strings.Contains(got, want) {
		t.Errorf("got %s; want %q", got, want)
	}
}
