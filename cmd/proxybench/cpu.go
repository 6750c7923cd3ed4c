package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// CPUs say where children run: the proxy alone on one CPU, load and origin on
// another. The zero value pins nothing, and is all there is on a single CPU.
type cpus struct {
	pinned      bool
	proxy, load int
	allowed     unix.CPUSet
}

// findCPUs takes the first two that this process may use.
func findCPUs() (cpus, error) {
	var c cpus
	if err := unix.SchedGetaffinity(0, &c.allowed); err != nil {
		return cpus{}, os.NewSyscallError("sched_getaffinity", err)
	}
	if c.allowed.Count() < 2 {
		return cpus{}, nil
	}
	c.pinned = true
	c.proxy = nextCPU(&c.allowed, 0)
	c.load = nextCPU(&c.allowed, c.proxy+1)
	return c, nil
}

func nextCPU(set *unix.CPUSet, from int) int {
	for !set.IsSet(from) {
		from++
	}
	return from
}

// on runs start with the thread on cpu. A process started there inherits it with
// all its threads and children, without ever having run elsewhere.
func (c *cpus) on(cpu int, start func() error) error {
	if !c.pinned {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var only unix.CPUSet
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &c.allowed) }() // which it had before
	return start()
}
