package loop

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dupTo returns f's twin with the given number.
func dupTo(f *os.File, number int) (*os.File, error) {
	if err := unix.Dup3(int(f.Fd()), number, unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(number), "twin"), nil
}

func TestReadDeadline(t *testing.T) {
	l := start(t)
	c, peer := pair(t, l)
	await(t, spawn(l, func(task *Task) {
		b := make([]byte, 8)
		until := task.After(10 * time.Millisecond)
		if n, err := task.Read(c, b, until); n != 0 || err != ErrDeadline || task.Now() < until {
			t.Errorf("Read: got %d, %v at %d; want %v from %d on", n, err, task.Now(), ErrDeadline, until)
		}
	}))
	if _, err := io.WriteString(peer, "late"); err != nil {
		t.Fatal(err)
	}
	await(t, spawn(l, func(task *Task) {
		b := make([]byte, 8)
		if n, err := task.Read(c, b, 0); string(b[:n]) != "late" || err != nil {
			t.Errorf("Read after a deadline: got %q, %v", b[:n], err)
		}
	}))
}

func TestWriteDeadline(t *testing.T) {
	l := start(t)
	c, peer := pair(t, l)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	await(t, spawn(l, func(task *Task) {
		if err := task.Write(c, big, task.After(20*time.Millisecond)); err != ErrDeadline {
			t.Errorf("Write to who does not read: got %v; want %v", err, ErrDeadline)
		}
		if c.Writable() {
			t.Error("Writable after a refused write")
		}
		c.Close()
	}))
	if got, err := io.ReadAll(peer); !bytes.HasPrefix(big, got) || len(got) == 0 || err != nil {
		t.Errorf("peer: got %d bytes, %v; want a prefix of what was written", len(got), err)
	}
}

// What the socket refused is sent when it has room again, over every kind of
// socket, and however the peer reads.
func TestLargeWritesToSlowReader(t *testing.T) {
	pairs := map[string]func(testing.TB, *Loop) (*Conn, net.Conn){
		"unix": pair,
		"tcp": func(t testing.TB, l *Loop) (*Conn, net.Conn) {
			c, peer := tcpPair(t, l)
			_ = peer.SetReadBuffer(32 << 10)
			_ = unix.SetsockoptInt(c.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10)
			return c, peer
		},
	}
	for name, makePair := range pairs {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			c, peer := makePair(t, l)
			big := make([]byte, 4<<20)
			r := rand.New(rand.NewPCG(3, 4))
			for i := range big {
				big[i] = byte(r.Uint32())
			}
			done := spawn(l, func(task *Task) {
				for rest := big; len(rest) > 0; {
					n := min(len(rest), 1+r.IntN(300_000))
					if err := task.Write(c, rest[:n], task.After(patience)); err != nil {
						t.Errorf("Write: %v", err)
						break
					}
					rest = rest[n:]
				}
				c.Close()
			})
			sum := sha256.New()
			buf := make([]byte, 10_000)
			if n, err := io.CopyBuffer(sum, struct{ io.Reader }{peer}, buf); n != int64(len(big)) || err != nil {
				t.Errorf("peer: got %d bytes, %v; want %d", n, err, len(big))
			}
			if want := sha256.Sum256(big); !bytes.Equal(sum.Sum(nil), want[:]) {
				t.Error("peer: got other bytes than were written")
			}
			await(t, done)
		})
	}
}

func TestWritev(t *testing.T) {
	l := start(t)
	c, peer := pair(t, l)
	for _, bufs := range [][][]byte{
		{[]byte("one "), []byte("two "), []byte("three "), []byte("four")},
		{nil, []byte("a"), {}, []byte("b")},
		{[]byte("alone")},
	} {
		want := bytes.Join(bufs, nil)
		on(t, l, func() {
			if n, err := c.TryWritev(bufs...); n != len(want) || err != nil {
				t.Errorf("TryWritev: got %d, %v; want %d", n, err, len(want))
			}
		})
		got := make([]byte, len(want))
		if _, err := io.ReadFull(peer, got); !bytes.Equal(got, want) || err != nil {
			t.Errorf("peer: got %q, %v; want %q", got, err, want)
		}
	}
	on(t, l, func() {
		if n, err := c.TryWritev(nil, nil); n != 0 || err != nil {
			t.Errorf("TryWritev of nothing: got %d, %v", n, err)
		}
		big := make([]byte, 1<<20)
		n, err := c.TryWritev([]byte("x"), big, big)
		if n == 0 || n >= 1+2<<20 || err != nil {
			t.Errorf("TryWritev of too much: got %d, %v", n, err)
		}
		if n, err := c.TryWritev(big); n != 0 || err != ErrAgain {
			t.Errorf("TryWritev without room: got %d, %v; want %v", n, err, ErrAgain)
		}
	})
}

// An end of file that comes along with data makes no edge of its own.
func TestEndOfFileWithData(t *testing.T) {
	l := start(t)
	for name, connect := range map[string]func() (*Conn, net.Conn){
		"unix": func() (*Conn, net.Conn) { return pair(t, l) },
		"tcp":  func() (*Conn, net.Conn) { c, peer := tcpPair(t, l); return c, peer },
	} {
		c, peer := connect()
		if _, err := io.WriteString(peer, "bye"); err != nil {
			t.Fatal(err)
		}
		peer.Close()
		eventually(t, l, "the end is known", c.Gone)
		on(t, l, func() {
			b := make([]byte, 100)
			if n, err := c.TryRead(b); string(b[:n]) != "bye" || err != nil {
				t.Errorf("%s: TryRead: got %q, %v", name, b[:n], err)
			}
			for range 2 {
				if n, err := c.TryRead(b); n != 0 || err != io.EOF {
					t.Errorf("%s: TryRead: got %d, %v; want %v", name, n, err, io.EOF)
				}
			}
		})
	}
}

func TestHalfClose(t *testing.T) {
	l := start(t)
	c, peer := tcpPair(t, l)
	on(t, l, c.CloseWrite)
	if b, err := io.ReadAll(peer); len(b) != 0 || err != nil {
		t.Errorf("peer after CloseWrite: got %q, %v", b, err)
	}
	if _, err := io.WriteString(peer, "still here"); err != nil {
		t.Fatal(err)
	}
	await(t, spawn(l, func(task *Task) {
		b := make([]byte, 100)
		if n, err := task.Read(c, b, task.After(patience)); string(b[:n]) != "still here" || err != nil {
			t.Errorf("Read after CloseWrite: got %q, %v", b[:n], err)
		}
		if c.Gone() || c.Failed() {
			t.Errorf("got gone %v, failed %v; want neither", c.Gone(), c.Failed())
		}
	}))
	_ = peer.CloseWrite()
	eventually(t, l, "both sides are closed", func() bool { return c.Gone() && c.Failed() })
}

func TestAbortResets(t *testing.T) {
	l := start(t)
	c, peer := tcpPair(t, l)
	on(t, l, func() {
		if _, err := c.TryWrite([]byte("half of ")); err != nil {
			t.Error(err)
		}
		c.Abort()
		c.Abort()
	})
	if _, err := io.ReadAll(peer); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("peer: got %v; want %v", err, syscall.ECONNRESET)
	}
}

func TestResetByPeer(t *testing.T) {
	l := start(t)
	c, peer := tcpPair(t, l)
	fill := make([]byte, 1<<20)
	on(t, l, func() {
		for {
			if _, err := c.TryWrite(fill); err != nil {
				return // no room
			}
		}
	})
	_ = peer.SetLinger(0)
	peer.Close()
	await(t, spawn(l, func(task *Task) {
		if err := task.Write(c, fill, task.After(patience)); err == nil || err == ErrDeadline {
			t.Errorf("Write after a reset: got %v; want the socket's error", err)
		}
		if !c.Failed() || !c.Gone() {
			t.Errorf("got failed %v, gone %v; want both", c.Failed(), c.Gone())
		}
		// The socket tells its error once, and the end ever after.
		if _, err := c.TryRead(fill); err == nil || err == ErrAgain {
			t.Errorf("TryRead after a reset: got %v", err)
		}
	}))
}

// A closed connection's descriptor may be another's at once.
func TestClosedConnLeavesItsNumberAlone(t *testing.T) {
	l := start(t)
	old, _ := pair(t, l)
	fd, peer := sockets(t)
	on(t, l, func() {
		number := old.FD()
		old.readable = true
		old.Close()
		if err := unix.Dup3(fd, number, unix.O_CLOEXEC); err != nil {
			t.Error(err)
		}
		closeFD(int32(fd))
		var c Conn
		if err := l.Register(&c, number); err != nil {
			t.Error(err)
		}
		if n, err := old.TryWrite([]byte("x")); n != 0 || err != net.ErrClosed {
			t.Errorf("TryWrite: got %d, %v; want %v", n, err, net.ErrClosed)
		}
		if n, err := old.TryWritev([]byte("x"), []byte("y")); n != 0 || err != net.ErrClosed {
			t.Errorf("TryWritev: got %d, %v; want %v", n, err, net.ErrClosed)
		}
		if n, err := old.TryRead(make([]byte, 1)); n != 0 || err != net.ErrClosed {
			t.Errorf("TryRead: got %d, %v; want %v", n, err, net.ErrClosed)
		}
		old.CloseWrite()
		old.Abort()
		old.Close()
		if old.FD() != -1 || old.Open() || old.Readable() {
			t.Errorf("closed: got descriptor %d, open %v, readable %v", old.FD(), old.Open(), old.Readable())
		}
		if _, err := c.TryWrite([]byte("mine")); err != nil {
			t.Error(err)
		}
		c.Close()
	})
	if got, err := io.ReadAll(peer); string(got) != "mine" || err != nil {
		t.Errorf("peer: got %q, %v; want only what the new owner wrote", got, err)
	}
}

func TestZeroConn(t *testing.T) {
	var c Conn
	c.Close()
	c.Abort()
	c.CloseWrite() // must not shut descriptor 0 down
	if _, err := c.TryRead(make([]byte, 1)); err != net.ErrClosed || c.Open() {
		t.Errorf("got %v, open %v; want %v", err, c.Open(), net.ErrClosed)
	}
}

// A task that waits for a connection which something else closes must not wait
// for ever.
func TestCloseWakesTheWaitingTask(t *testing.T) {
	l := start(t)
	c, _ := pair(t, l)
	done := spawn(l, func(task *Task) {
		if _, err := task.Read(c, make([]byte, 1), 0); err != net.ErrClosed {
			t.Errorf("Read: got %v; want %v", err, net.ErrClosed)
		}
	})
	eventually(t, l, "the task waits", func() bool { return c.waiter != nil })
	on(t, l, c.Close)
	await(t, done)
}

// Two connections have events in one turn; the first to be told closes the other
// and puts a new one in its place, with the same number. The event that is left
// is not the new one's.
func TestStaleEventAfterDescriptorReuse(t *testing.T) {
	l := start(t)
	var conns [2]*Conn
	var peers [2]net.Conn
	for i := range conns {
		conns[i], peers[i] = pair(t, l)
	}
	fd, _ := sockets(t)
	var fresh Conn
	woken := 0
	on(t, l, func() {
		for i, c := range conns {
			c.Park(owner(func(*Conn, bool) {
				woken++
				other := conns[1-i]
				number := other.FD()
				other.Close()
				if err := unix.Dup3(fd, number, unix.O_CLOEXEC); err != nil {
					t.Error(err)
				}
				closeFD(int32(fd))
				if err := l.Register(&fresh, number); err != nil {
					t.Error(err)
				}
				fresh.Park(owner(func(*Conn, bool) { t.Error("woken by a stale event") }), nil)
			}), nil)
		}
	})
	on(t, l, func() { // both in one turn
		for _, p := range peers {
			if _, err := io.WriteString(p, "x"); err != nil {
				t.Error(err)
			}
		}
	})
	eventually(t, l, "one is woken", func() bool { return woken > 0 })
	on(t, l, func() {
		if woken != 1 || fresh.Readable() || !fresh.Open() {
			t.Errorf("got %d woken; new one readable %v, open %v", woken, fresh.Readable(), fresh.Open())
		}
		fresh.Close()
	})
}

func TestRegisterFails(t *testing.T) {
	l := start(t)
	f, err := os.CreateTemp(t.TempDir(), "") // epoll refuses files
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	on(t, l, func() {
		var c Conn
		if err := l.Register(&c, fd); !errors.Is(err, syscall.EPERM) {
			t.Errorf("Register: got %v; want %v", err, syscall.EPERM)
		}
		if c.Open() {
			t.Error("open after Register failed")
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != syscall.EBADF {
			t.Errorf("the descriptor: got %v; want it closed", err)
		}
	})
}
