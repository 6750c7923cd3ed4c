package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What the kernel knows of a process tree. A process or thread that ends between
// two looks takes its count along: proxies under load start and end none.

// tree returns pid and all that descend from it.
func tree(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if hasGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// PID (NAME) STATE PARENT ..., and NAME may hold anything.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) < 2 {
			return nil, fmt.Errorf("%s: got %q", name, text)
		}
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return nil, err
		}
		parent, err := strconv.Atoi(string(fields[1]))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		children[parent] = append(children[parent], id)
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

func hasGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// cpuTime returns what the scheduler has given to pid's tree so far. It is exact,
// where the clock ticks of /proc/PID/stat are samples.
func cpuTime(pid int) (time.Duration, error) {
	all, err := tree(pid)
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, id := range all {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", id))
		if err != nil {
			return 0, err
		}
		for _, task := range tasks {
			ns, err := firstNumber(filepath.Join(task, "schedstat"))
			if err != nil {
				return 0, err
			}
			total += time.Duration(ns)
		}
	}
	if total == 0 {
		return 0, fmt.Errorf("no CPU time in /proc/%d/task/*/schedstat: it has gone, or the kernel does not count", pid)
	}
	return total, nil
}

// residentBytes returns what pid's tree has in memory. What two processes share
// counts twice.
func residentBytes(pid int) (int64, error) {
	all, err := tree(pid)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, id := range all {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id))
		if err != nil && !hasGone(err) {
			return 0, err
		}
		if _, after, found := strings.Cut(string(text), "\nVmRSS:"); found {
			kB, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/%d/status: %w", id, err)
			}
			total += kB << 10
		}
	}
	return total, nil
}

// firstNumber reads the number that a file begins with, 0 if the file has gone.
func firstNumber(name string) (int64, error) {
	text, err := os.ReadFile(name)
	if hasGone(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	return strconv.ParseInt(strings.TrimSpace(first), 10, 64)
}
