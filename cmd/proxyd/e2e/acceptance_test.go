package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Whenever the supervisor dies in a roll, the next one finds all workers, keeps
// one generation of them, and brings it to one configuration.
func TestAcceptanceSupervisorKilledInARoll(t *testing.T) {
	const (
		rounds = 5
		part   = 1200 * time.Millisecond // of a roll, most of which is the probation
	)
	long(t)
	p := newProxy(t)
	origin := newOrigin(t, "origin", "", nil, nil).address
	write := func(i int) {
		p.write(site{servers: []string{origin}, upstream: fmt.Sprintf(`host = "v%d.example"`, i)})
	}
	write(0)
	p.start()
	l := newLoad(t, p.address)
	l.keep(8, 20*time.Millisecond)
	l.renew(50)
	for round := range rounds {
		write(round + 1)
		before := p.pids()
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			p.run("roll", "-c", p.path("proxy.hcl")) // it may lose the supervisor
		}()
		moment := time.Duration(round)*part + rand.N(part)
		<-time.After(moment) // the moment is the point
		p.killSupervisor()
		<-asked
		orphans := processesOf(p.dir)
		p.start()
		await(t, "one supervisor and its workers", func() bool { return len(processesOf(p.dir)) == 1+p.workers })
		s := p.status()
		p.settled(s.Generation)
		after := p.pids()
		for _, pid := range after {
			if orphans[pid] == "" {
				t.Errorf("killed after %v: got worker %d; want one of %v adopted", moment, pid, orphans)
			}
		}
		if s.Incarnation != uint64(round)+2 {
			t.Errorf("killed after %v: got incarnation %d; want %d", moment, s.Incarnation, round+2)
		}
		p.awaitHost(fmt.Sprintf("v%d.example", round+1))
		t.Logf("killed after %v with %d workers; those before stay: %v", moment.Round(time.Millisecond), len(orphans), slices.Equal(before, after))
		l.awaitMore(t, 20)
	}
	l.end(t)
}

// awaitHost waits until all workers have the configuration whose servers are
// asked for host.
func (p *proxy) awaitHost(host string) {
	p.t.Helper()
	await(p.t, "host "+host, func() bool {
		for range 8 {
			if !strings.Contains(p.get("/").body, "host="+host) {
				return false
			}
		}
		return true
	})
}

// A program that checks the configuration and then does nothing is given up.
func TestAcceptanceUpgradeToAProgramThatHangs(t *testing.T) {
	const limit = 2 * time.Minute // for an upgrade; no setting makes it shorter
	if !tortured() {
		t.Skipf("two minutes; set %s", tortureVariable)
	}
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	p.startInstalled()
	before := p.pids()
	l := newLoad(t, p.address)
	l.keep(8, 50*time.Millisecond)
	l.renew(20)
	p.installText("#!/bin/sh\ncase $1 in validate) exec " + binary + ` "$@";; esac; exec sleep 600` + "\n")

	ctx, cancel := context.WithTimeout(t.Context(), limit+patience)
	defer cancel()
	began := time.Now()
	command := p.command(ctx, binary, "upgrade", "-c", p.path("proxy.hcl"))
	out, err := command.CombinedOutput()
	took := time.Since(began)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 || !strings.Contains(string(out), "time") {
		t.Errorf("proxyd upgrade: got %v, %s; want exit code 3 and that time is over", err, out)
	}
	if took < limit-time.Second || took > limit+10*time.Second {
		t.Errorf("refused after %v; want %v", took, limit)
	}
	await(t, "nothing left of it", func() bool { return len(processesOf(p.dir)) == 1+len(before) })
	if s := p.status(); s.Pid != p.cmd.Process.Pid || pidFile(t, s.PIDFile) != s.Pid || !slices.Equal(p.pids(), before) {
		t.Errorf("got %+v; want process %d with workers %v", s, p.cmd.Process.Pid, before)
	}
	l.awaitMore(t, 20)
	t.Logf("refused after %v: %s", took.Round(time.Millisecond), bytes.TrimSpace(out))

	p.installNext()
	p.upgrade()
	p.settled(p.status().Generation)
	l.awaitMore(t, 20)
	l.end(t)
}

// Where a new PID cannot be written there is no upgrade, and all else works.
func TestAcceptanceFullDiskOfThePIDFile(t *testing.T) {
	long(t)
	p := newProxy(t)
	p.daemon = true
	disk := smallDisk(t, p.path("disk"))
	origin := newOrigin(t, "origin", "", nil, nil).address
	write := func(host string) {
		p.writeRaw(fmt.Sprintf(`
supervisor {
  workers       = %d
  state_dir     = %q
  log           = %q
  pid_file      = %q
  drain_timeout = "10s"
}
listener "web" {
  address = [%q]
  route "all" { upstream = "one" }
}
upstream "one" {
  servers = [%q]
  host    = %q
}
`, p.workers, p.path("run"), p.path("log"), disk+"/proxyd.pid", p.address, origin, host))
	}
	write("v1.example")
	p.install(binary)
	if out, err := p.command(t.Context(), p.path("proxyd"), "--daemon", "-c", p.path("proxy.hcl")).CombinedOutput(); err != nil {
		t.Fatalf("proxyd --daemon: %v, %s", err, out)
	}
	p.installNext()
	before, workers := p.status(), p.pids()
	l := newLoad(t, p.address)
	l.keep(8, 20*time.Millisecond)
	l.renew(50)
	filler := fill(t, disk)

	out, code := p.run("upgrade", "-c", p.path("proxy.hcl"))
	if code != 3 || !strings.Contains(out, "no space left on device") {
		t.Errorf("proxyd upgrade: got exit code %d, %s; want 3 and that the disk is full", code, out)
	}
	await(t, "nothing left of the new program", func() bool { return len(processesOf(p.dir)) == 1+p.workers })
	if s := p.status(); s.Pid != before.Pid || pidFile(t, s.PIDFile) != s.Pid || !slices.Equal(p.pids(), workers) {
		t.Errorf("got %+v with %d in the PID file; want process %d with workers %v", s, pidFile(t, s.PIDFile), before.Pid, workers)
	}
	if out, code := p.run("-c", p.path("proxy.hcl")); code != 3 || !strings.Contains(out, fmt.Sprintf("already running as pid %d", before.Pid)) {
		t.Errorf("a second instance: got %d, %s; want 3 and pid %d", code, out, before.Pid)
	}
	write("v2.example")
	if err := syscall.Kill(before.Pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.awaitHost("v2.example")
	l.awaitMore(t, 20)

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	p.upgrade()
	await(t, "one supervisor and its workers", func() bool { return len(processesOf(p.dir)) == 1+p.workers })
	if s := p.status(); s.Pid == before.Pid || pidFile(t, s.PIDFile) != s.Pid {
		t.Errorf("with room again: got process %d, %d in the PID file; want another than %d in both", s.Pid, pidFile(t, s.PIDFile), before.Pid)
	}
	l.awaitMore(t, 20)
	l.end(t)
}

// smallDisk makes a folder with a file system of its own, of a few pages.
func smallDisk(t *testing.T, dir string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); errors.Is(err, syscall.EPERM) {
		t.Skip("needs the right to mount")
	} else if err != nil {
		t.Fatalf("mount tmpfs on %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fill takes all room that is left in a folder, and returns the file that has it.
func fill(t *testing.T, dir string) (name string) {
	t.Helper()
	f, err := os.CreateTemp(dir, "filler")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, os.Getpagesize()))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill %s: got %v; want no space left", dir, err)
	}
	return f.Name()
}

// TestAcceptanceWorkerThatIsStopped has a worker stop dead with its connections:
// its siblings serve whoever comes, and it is replaced.
func TestAcceptanceWorkerThatIsStopped(t *testing.T) {
	const limit = 12 * time.Second
	long(t)
	p := newProxy(t)
	p.write(site{servers: []string{newOrigin(t, "origin", "", nil, nil).address}})
	p.start()
	enough := make(chan struct{})
	list, wait := regulars(t, p.address, 32, enough)
	before := p.status().Workers
	victim, other := before[0], before[1]
	if len(clientPorts(t, victim.Pid, p.address)) == 0 {
		victim, other = other, victim
	}

	began := time.Now()
	if err := syscall.Kill(victim.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "the worker to stop", func() bool { return stopped(victim.Pid) })
	its := clientPorts(t, victim.Pid, p.address)
	after := newLoad(t, p.address)
	after.keep(8, 20*time.Millisecond)
	after.renew(100)
	after.awaitMore(t, 200)
	if got := p.pids()[victim.Slot]; got != victim.Pid {
		t.Errorf("worker %d: replaced at once by %d; want its siblings to have served alone", victim.Pid, got)
	}
	await(t, "another worker", func() bool {
		return p.logged(fmt.Sprintf(`msg="worker serves" slot=%d `, victim.Slot)) == 2
	})
	replaced := time.Since(began)
	if replaced > limit {
		t.Errorf("replaced after %v; want %v at most", replaced, limit)
	}
	after.awaitMore(t, 100)
	after.end(t)
	close(enough)
	wait()
	failed := 0
	for _, r := range list {
		if r.failed == nil {
			continue
		}
		if failed++; !its[r.port()] {
			t.Errorf("a connection of another worker: %v", r.failed)
		}
	}
	if failed != len(its) {
		t.Errorf("got %d failed connections; want the %d of the worker", failed, len(its))
	}
	now := p.status().Workers
	if next := now[victim.Slot]; next.Pid == victim.Pid || next.State != "serving" || now[other.Slot].Pid != other.Pid {
		t.Errorf("workers: got %+v; want another process in slot %d only", now, victim.Slot)
	}
	p.get("/").want(t, http.StatusOK)
	t.Logf("%d of %d connections were the worker's; replaced after %v", failed, len(list), replaced.Round(time.Millisecond))
}
