package loop

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// carry moves bytes from src to dst through pipes of l until src ends, and
// returns why it stopped.
func carry(task *Task, src, dst *Conn) error {
	for {
		p := task.Loop().TakePipe()
		if p == nil {
			return errors.New("no pipe")
		}
		_, err := p.Fill(src, 1<<30)
		for err == nil && p.Held() > 0 {
			if _, err = p.Drain(dst); err == ErrAgain {
				err = task.WaitAny(task.After(patience), dst, nil)
			}
		}
		p.Release()
		if err == ErrAgain {
			err = task.WaitAny(task.After(patience), src, nil)
		}
		if err == io.EOF {
			dst.Close()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// What goes in comes out, however it is cut, at whatever speed it is read.
func TestPipeCarriesBytes(t *testing.T) {
	l := start(t)
	on(t, l, func() { l.LimitPipes(1) })
	for _, size := range []int{0, 1, 4095, 4097, 64 << 10, pipeBytes - 1, pipeBytes, pipeBytes + 1, 2<<20 + 3} {
		src, writer := tcpPair(t, l)
		dst, reader := tcpPair(t, l)
		_ = reader.SetReadBuffer(128 << 10)
		sent := make([]byte, size)
		r := rand.New(rand.NewPCG(uint64(size), 1))
		for i := range sent {
			sent[i] = byte(r.Uint32())
		}
		done := spawn(l, func(task *Task) {
			if err := carry(task, src, dst); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			src.Close()
		})
		go func() {
			for rest := sent; len(rest) > 0; { // in pieces, small ones too
				n := min(len(rest), 1+r.IntN(100_000))
				if _, err := writer.Write(rest[:n]); err != nil {
					t.Error(err)
				}
				rest = rest[n:]
			}
			writer.Close()
		}()
		if got, err := io.ReadAll(reader); !bytes.Equal(got, sent) || err != nil {
			t.Errorf("%d bytes: got %d, %v; want those that were sent", size, len(got), err)
		}
		await(t, done)
		on(t, l, func() {
			if l.Pipes() != 1 || len(l.pipes.free) != 1 {
				t.Errorf("%d bytes: got %d pipes, %d of them free; want the one", size, l.Pipes(), len(l.pipes.free))
			}
		})
	}
}

func TestPipesAreBounded(t *testing.T) {
	l := start(t)
	on(t, l, func() {
		if p := l.TakePipe(); p != nil {
			t.Error("a pipe without a limit")
		}
		const most = freePipes + 2
		l.LimitPipes(most)
		var all []*Pipe
		for range most {
			all = append(all, l.TakePipe())
		}
		if p := l.TakePipe(); p != nil || l.Pipes() != most {
			t.Errorf("over the limit: got %v, %d pipes; want none, %d", p, l.Pipes(), most)
		}
		for _, p := range all {
			p.Release()
		}
		if l.Pipes() != freePipes {
			t.Errorf("unused: got %d; want %d kept", l.Pipes(), freePipes)
		}
	})
}

// A pipe with something in it is nobody's next one.
func TestPipeReleasedWithBytes(t *testing.T) {
	l := start(t)
	c, peer := pair(t, l)
	if _, err := io.WriteString(peer, "left over"); err != nil {
		t.Fatal(err)
	}
	eventually(t, l, "they have come", c.Readable)
	on(t, l, func() {
		l.LimitPipes(1)
		p := l.TakePipe()
		if n, err := p.Fill(c, 4); n != 4 || p.Held() != 4 || err != nil {
			t.Errorf("Fill: got %d, %v; want 4", n, err)
		}
		if p.Release(); l.Pipes() != 0 {
			t.Errorf("got %d pipes; want none", l.Pipes())
		}
		b := make([]byte, 100)
		if n, err := c.TryRead(b); string(b[:n]) != " over" || err != nil {
			t.Errorf("TryRead: got %q, %v; want what was not taken", b[:n], err)
		}
	})
}

func TestPipeAtTheDescriptorLimit(t *testing.T) {
	l := start(t)
	on(t, l, func() {
		l.LimitPipes(1)
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
			return
		}
		none := unix.Rlimit{Cur: 3, Max: limit.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
			t.Error(err)
			return
		}
		p := l.TakePipe()
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
		if p != nil || l.Pipes() != 0 {
			t.Errorf("got %v, %d pipes; want none", p, l.Pipes())
		}
		if p = l.TakePipe(); p == nil {
			t.Error("no pipe once there are descriptors again")
			return
		}
		p.Release()
	})
}

// The errors are those of TryRead and TryWrite, and do not end the process.
func TestPipeErrors(t *testing.T) {
	l := start(t)
	src, writer := tcpPair(t, l)
	dst, reader := tcpPair(t, l)
	var p *Pipe
	on(t, l, func() {
		l.LimitPipes(1)
		p = l.TakePipe()
		src.readable = true
		if n, err := p.Fill(src, 10); n != 0 || err != ErrAgain || src.Readable() {
			t.Errorf("Fill from nothing: got %d, %v, readable %v; want %v", n, err, src.Readable(), ErrAgain)
		}
	})
	if _, err := io.WriteString(writer, "last words"); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	_ = reader.SetLinger(0)
	reader.Close()
	eventually(t, l, "both have heard", func() bool { return src.Gone() && dst.Failed() })
	on(t, l, func() {
		if n, err := p.Fill(src, 100); n != 10 || err != nil {
			t.Errorf("Fill: got %d, %v; want 10", n, err)
		}
		if n, err := p.Drain(dst); n != 0 || err == nil || err == ErrAgain {
			t.Errorf("Drain into a broken connection: got %d, %v", n, err)
		}
		if _, err := p.Drain(dst); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Drain into a broken connection: got %v; want %v", err, syscall.EPIPE)
		}
		p.Release()
		p = l.TakePipe()
		if n, err := p.Fill(src, 100); n != 0 || err != io.EOF {
			t.Errorf("Fill at the end: got %d, %v; want %v", n, err, io.EOF)
		}
		dst.Close()
		src.Close()
		if _, err := p.Fill(src, 1); err != net.ErrClosed {
			t.Errorf("Fill from a closed connection: got %v; want %v", err, net.ErrClosed)
		}
		if _, err := p.Drain(dst); err != net.ErrClosed {
			t.Errorf("Drain into a closed connection: got %v; want %v", err, net.ErrClosed)
		}
		p.Release()
	})
}
