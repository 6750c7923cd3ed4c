package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// spare is how many descriptors a process may keep to use them again, such as
// those of pipes.
const spare = 40

// A usage is what a process holds of the machine.
type usage struct {
	rss         int // bytes
	descriptors int
}

// usageOf returns what process pid holds, if it lives.
func usageOf(pid int) (u usage, alive bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	statm, err := os.ReadFile(filepath.Join(dir, "statm"))
	if err != nil {
		return usage{}, false
	}
	var size, resident, shared int // in pages; of proc(5)
	if _, err := fmt.Sscan(string(statm), &size, &resident, &shared); err != nil || resident == 0 {
		return usage{}, false
	}
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	return usage{rss: resident * os.Getpagesize(), descriptors: len(fds)}, err == nil
}

// workersUse returns what the workers hold together.
func (p *proxy) workersUse(t *testing.T) (sum usage) {
	t.Helper()
	for pid := range processesOf(p.dir) {
		if !isWorker(pid) {
			continue
		}
		u, ok := usageOf(pid)
		if !ok {
			t.Fatalf("worker %d is gone", pid)
		}
		sum.rss += u.rss
		sum.descriptors += u.descriptors
	}
	return sum
}
