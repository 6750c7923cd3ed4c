package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// descriptors counts what a process has open, by what it is.
type descriptors map[string]int

// supervisorHolds is what the supervisor of workers has open, and why.
func supervisorHolds(workers int, upgraded bool) descriptors {
	holds := descriptors{
		"/dev/null":      1, // standard input
		"log":            3, // the log, also as standard output and error
		"lock":           1,
		"admin.sock":     2, // to serve, and to leave to the next supervisor
		"adopt.sock":     1,
		"listener":       1,
		"memfd proxyd":   1, // counters, limits, health
		"memfd bundle":   1, // the configuration in force
		"channel":        workers,
		"pipe":           workers, // their standard output and error
		"pidfd":          workers,
		"eventpoll":      1, // of the Go runtime, as the next
		"eventfd":        1,
		"limits of CPUs": 1,
	}
	if upgraded {
		holds["channel"]++ // to the supervisor before it: tableflip keeps what it has passed on
	}
	return holds
}

// workerHolds is what a worker without connections has open, and why.
func workerHolds() descriptors {
	return descriptors{
		"/dev/null":      1, // standard input
		"pipe":           2, // standard output and error
		"channel":        1,
		"listener":       1,
		"memfd proxyd":   1,
		"memfd bundle":   1,
		"eventpoll":      2, // of the event loop and of the Go runtime
		"eventfd":        2, // the same
		"limits of CPUs": 1, // of the Go runtime
	}
}

// audit checks, once the proxy has nothing to do, that there are one supervisor
// and its workers, and no other process, and that each has open what it should.
func (z *trial) audit(t *testing.T) {
	t.Helper()
	z.traffic.origin.die(false) // and with it the connections that workers keep to it
	var s status
	if !within(patience, func() bool {
		s = z.status()
		for _, w := range s.Workers {
			if w.State != "serving" || w.Generation != s.Generation {
				return false
			}
		}
		return len(s.Workers) == z.workers
	}) {
		t.Errorf("workers: got %+v; want %d that serve and none besides", s.Workers, z.workers)
	}
	wanted := map[int]descriptors{s.Pid: supervisorHolds(z.workers, z.upgraded)}
	for _, w := range s.Workers {
		wanted[w.Pid] = workerHolds()
	}
	if !within(patience, func() bool { return len(processesOf(z.dir)) == len(wanted) }) {
		t.Errorf("processes: got %v; want %v and none besides", processesOf(z.dir), slices.Sorted(maps.Keys(wanted)))
	}
	for pid, want := range wanted {
		var got descriptors
		if !within(patience, func() bool { got = z.descriptorsOf(pid); return maps.Equal(got, want) }) {
			t.Errorf("descriptors of process %d, %s: got %v; want %v", pid, commandLine(pid), got, want)
		}
	}
	t.Logf("at the end: incarnation %d, generation %d, processes %v", s.Incarnation, s.Generation, slices.Sorted(maps.Keys(wanted)))
}

// descriptorsOf says what process pid has open.
func (z *trial) descriptorsOf(pid int) descriptors {
	all := make(descriptors)
	sockets := z.sockets()
	links, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd", "*"))
	for _, name := range links {
		link, err := os.Readlink(name)
		if err != nil {
			continue // closed meanwhile
		}
		what, rest, _ := strings.Cut(link, ":")
		switch {
		case strings.HasPrefix(link, "/memfd:"):
			what = "memfd " + strings.TrimSuffix(rest, " (deleted)")
		case what == "anon_inode":
			what = rest
		case what == "socket":
			what = sockets[strings.Trim(rest, "[]")]
		case strings.HasPrefix(link, "/sys/fs/cgroup/"):
			all["limits of CPUs"] = 1 // in one file or two: version 2 or 1 of cgroups
			continue
		case filepath.Dir(link) == z.dir || filepath.Dir(link) == z.path("run"):
			what = filepath.Base(link)
		}
		all[strings.Trim(what, "[]")]++
	}
	return all
}

// sockets says what the sockets of the machine are, by inode.
func (z *trial) sockets() map[string]string {
	all := make(map[string]string)
	const listening, sequenced, accepts = "0A", "0005", "00010000"
	for _, f := range fieldsOf("/proc/net/tcp") { // sl local remote state ... inode
		switch ours := hexPort(f[1]) == portOf(z.address); {
		case ours && f[3] == listening:
			all[f[9]] = "listener"
		case ours:
			all[f[9]] = "connection of a client"
		default:
			all[f[9]] = "connection to a server"
		}
	}
	for _, f := range fieldsOf("/proc/net/unix") { // num refs protocol flags type state inode [path]
		switch {
		case len(f) > 7 && f[3] == accepts:
			all[f[6]] = filepath.Base(f[7])
		case f[4] == sequenced:
			all[f[6]] = "channel"
		default:
			all[f[6]] = "unix socket"
		}
	}
	return all
}

// fieldsOf returns the lines of a table of the kernel, without its heading.
func fieldsOf(table string) (lines [][]string) {
	text, _ := os.ReadFile(table)
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.Fields(line))
	}
	return lines[1:]
}

// stopped reports whether SIGSTOP has taken effect on all of process pid.
func stopped(pid int) bool {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, name := range tasks {
		text, err := os.ReadFile(name)
		if _, state, _ := strings.Cut(string(text), ") "); err == nil && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return len(tasks) > 0
}
