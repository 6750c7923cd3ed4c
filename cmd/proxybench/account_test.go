package main

import (
	"os"
	"slices"
	"testing"
	"time"
)

func TestAccountOfATree(t *testing.T) {
	p := startChild(t, "load", "-connections", "0") // waits for a line
	all, err := tree(os.Getpid())
	if err != nil || !slices.Contains(all, os.Getpid()) || !slices.Contains(all, p.pid()) {
		t.Errorf("tree of this process: got %v, %v; want it and its child %d", all, err, p.pid())
	}
	whole, err := residentBytes(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if part, err := residentBytes(p.pid()); err != nil || part < 1<<20 || part >= whole {
		t.Errorf("memory of the child: got %d, %v; want over 1 MiB, and less than the %d of the tree", part, err, whole)
	}
}

func TestCPUTimeIsThatOfTheScheduler(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 50*time.Millisecond; { // burn some
	}
	after, err := cpuTime(os.Getpid())
	if used := after - before; err != nil || used < 5*time.Millisecond || used > 10*time.Second {
		t.Errorf("CPU time of 50ms of a busy loop: got %v, %v; want some ms", used, err)
	}
}

func TestNobodyHasNoCPUTime(t *testing.T) {
	p := startChild(t, "load", "-connections", "0")
	p.stop(stopPatience)
	if got, err := cpuTime(p.pid()); err == nil {
		t.Errorf("CPU time of a process that has gone: got %v; want an error", got)
	}
}
