package loop

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// children are what this test binary can be besides: processes with a loop.
var children = map[string]func() int{"greeter": greeter}

// greeter sends its process id to each who connects to the listening socket that
// is descriptor 3, and keeps the connection until the other side closes it. When
// its standard input ends it prints how often accepting paused. It may have
// LOOP_TEST_SPARE descriptors, if that is set, besides those it has at first.
func greeter() int {
	l, err := New()
	if err != nil {
		return 1
	}
	hello := fmt.Appendf(nil, "%d\n", os.Getpid())
	leave := owner(func(c *Conn, _ bool) { c.Close() })
	_, err = l.Listen(3, func(fd int, _ netip.AddrPort) {
		c := new(Conn)
		if l.Register(c, fd) == nil {
			_, _ = c.TryWrite(hello)
			c.Park(leave, nil)
		}
	})
	if err != nil {
		return 1
	}
	if spare, err := strconv.Atoi(os.Getenv("LOOP_TEST_SPARE")); err == nil {
		n := uint64(len(descriptors()) + spare)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return 1
		}
	}
	fmt.Println("ready")
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		l.Stop()
	}()
	if l.Run() != nil {
		return 1
	}
	fmt.Println(l.Stats().Pauses)
	return 0
}

// A child is a process that greets.
type child struct {
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

// startGreeter starts one on s. It is killed at the end of the test.
func startGreeter(t *testing.T, s net.Listener, env ...string) *child {
	t.Helper()
	f, err := s.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "LOOP_TEST_CHILD=greeter"), env...)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd, in, bufio.NewReader(out)}
	t.Cleanup(c.kill)
	if line, err := c.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("child: got %q, %v; want ready", line, err)
	}
	// Starting a process through a File made the shared socket blocking.
	if err := syscall.SetNonblock(dupForNonblock(t, s), true); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// dupForNonblock returns a descriptor of s that the test closes.
func dupForNonblock(t *testing.T, s net.Listener) int {
	t.Helper()
	fd := dup(t, s.(syscall.Conn))
	t.Cleanup(func() { syscall.Close(fd) })
	return fd
}

// greeting returns the process id that greets c.
func greeting(c net.Conn) (int, error) {
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

func TestAcceptWithoutDescriptors(t *testing.T) {
	s := listen(t, "tcp", "127.0.0.1:0")
	const spare, clients = 4, 16
	c := startGreeter(t, s, "LOOP_TEST_SPARE="+strconv.Itoa(spare))
	greeted := make(chan error)
	var conns []net.Conn
	for range clients {
		conns = append(conns, dial(t, s.Addr()))
	}
	for _, conn := range conns { // nobody leaves before all are queued
		go func() {
			_, err := greeting(conn)
			conn.Close() // gives its descriptor back
			greeted <- err
		}()
	}
	for range clients {
		if err := <-greeted; err != nil {
			t.Errorf("greeting: %v", err)
		}
	}
	c.in.Close()
	line, _ := c.out.ReadString('\n')
	if n, err := strconv.Atoi(strings.TrimSpace(line)); err != nil || n == 0 {
		t.Errorf("pauses: got %q; want some", line)
	}
}

// Two processes share one listening socket. A connection goes to one that waits
// for it: not to one that is stopped, and not to one that was killed.
func TestTwoProcessesShareAListener(t *testing.T) {
	s := listen(t, "tcp", "127.0.0.1:0")
	a, b := startGreeter(t, s), startGreeter(t, s)
	pids := map[int]string{a.cmd.Process.Pid: "a", b.cmd.Process.Pid: "b"}
	all := func(n int) map[string]int {
		var mu sync.Mutex
		var wait sync.WaitGroup
		got := make(map[string]int)
		for range n {
			conn := dial(t, s.Addr())
			wait.Go(func() {
				pid, err := greeting(conn)
				conn.Close()
				if err != nil {
					t.Errorf("greeting: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				got[pids[pid]]++
			})
		}
		wait.Wait()
		return got
	}
	if got := all(200); got["a"]+got["b"] != 200 {
		t.Errorf("both alive: got %v; want 200", got)
	}
	if err := a.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitStopped(t, a.cmd.Process.Pid)
	if got := all(50); got["b"] != 50 {
		t.Errorf("a stopped: got %v; want 50 of b", got)
	}
	if err := a.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	b.kill()
	if got := all(50); got["a"] != 50 {
		t.Errorf("b killed: got %v; want 50 of a", got)
	}
}

// awaitStopped waits until no thread of process pid runs any more.
func awaitStopped(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		if _, state, ok := bytes.Cut(stat, []byte(") ")); ok && state[0] == 'T' {
			return
		}
	}
	t.Fatal("the process does not stop")
}
