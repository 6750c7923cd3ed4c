package handoff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair makes both ends of a channel, as supervisor and worker would.
func pair(t *testing.T) (super, worker *Conn) {
	t.Helper()
	super, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { super.Close() })
	worker, err = NewConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { worker.Close() })
	return super, worker
}

func receive(t *testing.T, c *Conn) Message {
	t.Helper()
	m, err := c.Receive()
	if err != nil {
		t.Fatalf("Receive: %v", err)
	}
	t.Cleanup(m.CloseFiles)
	return m
}

func TestMessagesArriveWholeAndInOrder(t *testing.T) {
	super, worker := pair(t)
	sent := HelloBody{Pid: 7, Build: "v1", Version: Version, Slot: 3}
	if err := worker.Send(Hello, 9, sent); err != nil {
		t.Fatal(err)
	}
	if err := worker.Send(Beat, 9, nil); err != nil {
		t.Fatal(err)
	}
	m := receive(t, super)
	var got HelloBody
	if err := m.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if m.Type != Hello || m.Generation != 9 || m.Sequence != 1 || got != sent {
		t.Errorf("first message: got %v generation %d sequence %d %+v; want HELLO 9 1 %+v",
			m.Type, m.Generation, m.Sequence, got, sent)
	}
	if m := receive(t, super); m.Type != Beat || m.Sequence != 2 || len(m.Body) != 0 {
		t.Errorf("second message: got %v sequence %d body %q; want BEAT 2 and no body", m.Type, m.Sequence, m.Body)
	}
}

func TestDescriptorsTravel(t *testing.T) {
	super, worker := pair(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := super.Send(Listen, 1, ListenBody{Names: []string{"a"}}, f); err != nil {
		t.Fatal(err)
	}
	m := receive(t, worker)
	if len(m.Files) != 1 {
		t.Fatalf("descriptors: got %d; want 1", len(m.Files))
	}
	fd, err := Detach(m.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); flags&unix.O_NONBLOCK == 0 {
		t.Error("O_NONBLOCK of the shared description: got cleared; want set")
	}
	if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		t.Error("close-on-exec: got clear; want set")
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sa.(*unix.SockaddrInet4).Port, l.Addr().(*net.TCPAddr).Port; got != want {
		t.Errorf("port of the descriptor: got %d; want %d", got, want)
	}
}

func TestAsManyDescriptorsAsAllowed(t *testing.T) {
	super, worker := pair(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fds := make([]int, MaxFiles+1)
	for i := range fds {
		fds[i] = int(null.Fd())
	}
	if err := super.SendFDs(Listen, 1, nil, fds...); err == nil {
		t.Errorf("send %d descriptors: got no error; want one", len(fds))
	}
	if err := super.SendFDs(Listen, 1, nil, fds[1:]...); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, worker); len(m.Files) != MaxFiles {
		t.Errorf("descriptors: got %d; want %d", len(m.Files), MaxFiles)
	}
}

func TestBodyIsBounded(t *testing.T) {
	super, worker := pair(t)
	fits := strings.Repeat("a", MaxBody-2) // with its quotes
	if err := super.Send(Nack, 1, fits+"a"); err == nil {
		t.Error("send a body too long: got no error; want one")
	}
	if err := super.Send(Nack, 1, fits); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, worker); len(m.Body) != MaxBody {
		t.Errorf("body: got %d bytes; want %d", len(m.Body), MaxBody)
	}
}

func TestEndOfChannel(t *testing.T) {
	super, worker := pair(t)
	super.Close()
	if _, err := worker.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("Receive after the other end closed: got %v; want EOF", err)
	}
	if err := worker.Send(Beat, 1, nil); err == nil {
		t.Error("Send after the other end closed: got no error; want one")
	}
	if _, err := super.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("Receive after Close: got %v; want EOF", err)
	}
}

func TestEndOfChannelWithUnreadMessages(t *testing.T) {
	super, worker := pair(t)
	if err := worker.Send(Beat, 1, nil); err != nil {
		t.Fatal(err)
	}
	super.Close() // the kernel makes this a reset
	if _, err := worker.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("Receive: got %v; want EOF", err)
	}
}

func TestCloseWakesReceive(t *testing.T) {
	super, _ := pair(t)
	errs := make(chan error, 1)
	go func() {
		_, err := super.Receive()
		errs <- err
	}()
	super.Close()
	if err := <-errs; !errors.Is(err, io.EOF) {
		t.Errorf("Receive: got %v; want EOF", err)
	}
}

func TestUnknownTypeIsAMessage(t *testing.T) {
	super, worker := pair(t)
	if err := super.Send(999, 1, nil); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, worker); m.Type != 999 || m.Type.String() != "TYPE(999)" {
		t.Errorf("type: got %v; want TYPE(999)", m.Type)
	}
}

func TestGarbageIsRefusedAndItsDescriptorsClosed(t *testing.T) {
	good := appendMessage(nil, Beat, 1, 1, nil, 1)
	change := func(at int, v byte) []byte {
		b := append([]byte(nil), good...)
		b[at] = v
		return b
	}
	tests := map[string][]byte{
		"short":            good[:headerBytes-1],
		"magic":            change(0, 'x'),
		"version too new":  change(5, Version+1),
		"version 0":        change(5, 0),
		"body missing":     change(19, 1),
		"body unannounced": append(append([]byte(nil), good...), 'x'),
		"descriptors":      change(23, 2),
		"too long":         append(append([]byte(nil), good...), make([]byte, MaxBody+1)...),
	}
	for name, packet := range tests {
		t.Run(name, func(t *testing.T) {
			super, worker := pair(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, _, err := super.uc.WriteMsgUnix(packet, unix.UnixRights(int(w.Fd())), nil); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if m, err := worker.Receive(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("Receive: got %+v, %v; want an error", m, err)
			}
			// The pipe ends only if the descriptor that came along was closed.
			if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("pipe after refusal: got %v; want EOF", err)
			}
		})
	}
}

func TestSendGivesUpOnAPeerThatDoesNotRead(t *testing.T) {
	super, _ := pair(t)
	text := strings.Repeat("a", MaxBody-2)
	start := time.Now()
	for range 1000 {
		if err := super.Send(Nack, 1, text); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Send: got %v; want a time-out", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("Send gave up after %v; want about %v", took, sendTimeout)
			}
			return
		}
	}
	t.Error("Send: got 1000 messages queued; want a time-out")
}

func TestConcurrentSends(t *testing.T) {
	super, worker := pair(t)
	const senders, each = 8, 50
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range each {
				if err := worker.Send(Beat, 1, nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range senders * each {
		if m := receive(t, super); m.Sequence != uint32(i+1) {
			t.Fatalf("sequence: got %d; want %d", m.Sequence, i+1)
		}
	}
	wg.Wait()
}

func TestNewConnWantsASocketOfTheKind(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{os.NewFile(uintptr(fds[0]), "stream"), null} {
		if c, err := NewConn(f); err == nil {
			c.Close()
			t.Errorf("NewConn of %s: got no error; want one", f.Name())
		}
	}
}

func TestDigestInJSON(t *testing.T) {
	super, worker := pair(t)
	want := PrepareBody{Config: 12, SHA256: Digest{0xab, 31: 0xcd}}
	if err := super.Send(Prepare, 1, want); err != nil {
		t.Fatal(err)
	}
	m := receive(t, worker)
	var got PrepareBody
	if err := m.Decode(&got); err != nil || got != want {
		t.Errorf("PREPARE: got %+v, %v; want %+v", got, err, want)
	}
	if hex := fmt.Sprintf("%q", want.SHA256.String()); !strings.Contains(string(m.Body), hex) {
		t.Errorf("body: got %s; want it to contain %s", m.Body, hex)
	}
	for _, bad := range []string{`{"sha256":"abc"}`, `{"sha256":"` + strings.Repeat("z", 64) + `"}`, `{`} {
		if err := (Message{Type: Prepare, Body: []byte(bad)}).Decode(&got); err == nil {
			t.Errorf("Decode(%s): got no error; want one", bad)
		}
	}
}
