package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// marker is the variable that tells the processes of a test from all others.
const marker = "PROXYD_E2E_DIR="

// end stops what runs in the proxy's folder, and fails the test if it does not
// stop by itself, leaves a process behind, or has hit a bug.
func (p *proxy) end() {
	all := processesOf(p.dir)
	orphans := true // the workers, if nothing else is left
	for pid := range all {
		orphans = orphans && isWorker(pid)
	}
	for pid := range all {
		if orphans || !isWorker(pid) {
			_ = syscall.Kill(pid, syscall.SIGTERM) // it may be gone by now
		}
	}
	if !within(patience, func() bool { return len(processesOf(p.dir)) == 0 }) {
		left := processesOf(p.dir)
		p.t.Errorf("processes that did not stop: %v", left)
		for pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		within(patience, func() bool { return len(processesOf(p.dir)) == 0 })
	}
	if p.cmd != nil {
		<-p.exited
	}
	if n := p.logged(`bug:|panic|fatal error`); n > 0 {
		p.t.Errorf("log: got %d lines of bugs; want none", n)
	}
}

// processesOf returns the command lines of the living processes that were
// started in the folder dir, by their ids.
func processesOf(dir string) map[int]string {
	found := make(map[int]string)
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range environments {
		environment, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(append([]byte{0}, environment...), []byte("\x00"+marker+dir+"\x00")) {
			continue // gone, another user's, or of another test
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			continue
		}
		if line := commandLine(pid); line != "" { // else it is a zombie
			found[pid] = line
		}
	}
	return found
}

func commandLine(pid int) string {
	b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return strings.Join(strings.Split(strings.TrimRight(string(b), "\x00"), "\x00"), " ")
}

func isWorker(pid int) bool { return strings.Contains(commandLine(pid), " worker ") }

// kill kills a process and returns when it is gone, with all its descriptors.
func kill(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("pidfd of %d: %v", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll(poll, 100)
		if n > 0 {
			return
		}
		if err != nil && err != unix.EINTR || time.Now().After(deadline) {
			t.Fatalf("kill %d: it is not gone: %v", pid, err)
		}
	}
}

// clientPorts returns the ports of the clients whose connections to the port of
// address are held by process pid.
func clientPorts(t *testing.T, pid int, address string) map[int]bool {
	t.Helper()
	inodes := make(map[string]bool)
	links, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd", "*"))
	for _, name := range links {
		if link, err := os.Readlink(name); err == nil {
			if inode, ok := strings.CutPrefix(link, "socket:["); ok {
				inodes[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	ports := make(map[int]bool)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // sl local remote state ... inode
		const established = "01"
		if len(f) < 10 || f[3] != established || !inodes[f[9]] || hexPort(f[1]) != portOf(address) {
			continue
		}
		ports[hexPort(f[2])] = true
	}
	return ports
}

// hexPort returns the port of an address of /proc/net/tcp.
func hexPort(s string) int {
	_, port, _ := strings.Cut(s, ":")
	n, _ := strconv.ParseInt(port, 16, 32)
	return int(n)
}

func portOf(address string) int {
	n, _ := strconv.Atoi(address[strings.LastIndexByte(address, ':')+1:])
	return n
}
