package tlsconn

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/proxyd/proxyd/worker/loop"
	"golang.org/x/sys/unix"
)

// A forger is a TLS 1.3 server that writes its records itself (RFC 8446 section
// 5.2), to say what crypto/tls has no way to say. It reads through crypto/tls.
type forger struct {
	*tls.Conn
	raw    net.Conn
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
	err    error // the first of a write
}

// forge makes the handshake on raw.
func forge(raw net.Conn) (*forger, error) {
	var keys bytes.Buffer
	s := tls.Server(raw, &tls.Config{
		Certificates: []tls.Certificate{originCert}, MinVersion: tls.VersionTLS13,
		SessionTicketsDisabled: true, KeyLogWriter: &keys,
	})
	if err := s.Handshake(); err != nil {
		return nil, err
	}
	if got := s.ConnectionState().CipherSuite; got != tls.TLS_AES_128_GCM_SHA256 {
		return nil, fmt.Errorf("cipher suite %s", tls.CipherSuiteName(got))
	}
	f := &forger{Conn: s, raw: raw}
	for line := range strings.Lines(keys.String()) {
		if fields := strings.Fields(line); fields[0] == "SERVER_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(fields[2])
			if err != nil {
				return nil, err
			}
			return f, f.rekey(secret)
		}
	}
	return nil, errors.New("no secret in the key log")
}

// rekey goes over to secret (RFC 8446 section 7.3).
func (f *forger) rekey(secret []byte) error {
	key, err := expand(secret, "key", 16)
	if err != nil {
		return err
	}
	if f.iv, err = expand(secret, "iv", 12); err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	f.secret, f.seq = secret, 0
	f.aead, err = cipher.NewGCM(block)
	return err
}

func expand(secret []byte, label string, n int) ([]byte, error) {
	label = "tls13 " + label
	info := fmt.Sprintf("%c%c%c%s%c", n>>8, n, len(label), label, 0)
	return hkdf.Expand(sha256.New, secret, info, n)
}

// seal returns a protected record.
func (f *forger) seal(kind byte, data []byte) []byte {
	n := len(data) + 1 + f.aead.Overhead()
	record := []byte{23, 3, 3, byte(n >> 8), byte(n)}
	nonce := bytes.Clone(f.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, f.seq) {
		nonce[4+i] ^= b
	}
	f.seq++
	return f.aead.Seal(record, nonce, append(bytes.Clone(data), kind), record)
}

func (f *forger) send(b []byte) {
	if f.err == nil {
		_, f.err = f.raw.Write(b)
	}
}

func (f *forger) data(s string)         { f.send(f.seal(23, []byte(s))) }
func (f *forger) alert(level, kind int) { f.send(f.seal(21, []byte{byte(level), byte(kind)})) }

// update sends a key update, and asks for one if requested is 1.
func (f *forger) update(requested byte) {
	f.send(f.seal(22, []byte{24, 0, 0, 1, requested}))
	next, err := expand(f.secret, "traffic upd", sha256.Size)
	if err == nil {
		err = f.rekey(next)
	}
	f.err = errors.Join(f.err, err)
}

// forged runs client against a forger.
func forged(t *testing.T, network string, origin func(*forger), client func(*loop.Task, *Conn)) {
	t.Helper()
	a := rawServer(t, network, func(raw net.Conn) {
		f, err := forge(raw)
		if err != nil {
			t.Errorf("forger: %v", err)
			return
		}
		origin(f)
	})
	run(t, start(t), func(task *loop.Task) {
		c, err := dial(task, a, trusting(tls.VersionTLS13))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		client(task, c)
	})
}

func TestKeyUpdates(t *testing.T) {
	forged(t, "tcp", func(f *forger) {
		b := make([]byte, 100)
		for round := range 20 {
			f.data("before ")
			f.update(byte(round % 2))
			f.data("after")
			n, err := io.ReadAtLeast(f, b, 6)
			if string(b[:n]) != "answer" || err != nil || f.err != nil {
				t.Errorf("round %d, server: got %q, %v, %v", round, b[:n], err, f.err)
				return
			}
		}
		f.alert(1, 0)
	}, func(task *loop.Task, c *Conn) {
		b := make([]byte, len("before after"))
		for round := range 20 {
			if err := readFull(task, c, b); string(b) != "before after" || err != nil {
				t.Errorf("round %d, client: got %q, %v", round, b, err)
				return
			}
			if err := write(task, c, []byte("answer")); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if n, err := read(task, c, b); n != 0 || err != io.EOF {
			t.Errorf("at the end: got %d, %v; want %v", n, err, io.EOF)
		}
	})
}

// A server that asks for key updates without an end and reads none of them must
// not make us keep the answers for ever.
func TestKeyUpdatesThatNobodyReads(t *testing.T) {
	over := make(chan struct{})
	forged(t, "tcp", func(f *forger) {
		for f.err == nil {
			f.update(1)
			f.data("x")
		}
		<-over
	}, func(task *loop.Task, c *Conn) {
		defer close(over)
		for big := make([]byte, 32<<10); !c.Unsent(); { // the socket is full, as in an upload
			if _, err := c.TryWrite(big); err != nil {
				t.Errorf("TryWrite: %v", err)
				return
			}
		}
		kept := len(c.out)
		_, err := readAll(task, c, 16<<10)
		if err != errReplies {
			t.Errorf("got %v; want %v", err, errReplies)
		}
		if grown := len(c.out) - kept; grown > 2*maxReplies {
			t.Errorf("kept: got %d bytes of answers; want about %d", grown, maxReplies)
		}
		c.Close()
	})
}

// But many are well while they are read.
func TestManyKeyUpdates(t *testing.T) {
	const updates = 2000 // with answers of over 40 KB
	over := make(chan struct{})
	forged(t, "tcp", func(f *forger) {
		go func() { _, _ = io.Copy(io.Discard, f.raw) }() // crypto/tls minds so many in a row
		for range updates {
			f.update(1)
			f.data("x")
		}
		f.alert(1, 0)
		<-over
	}, func(task *loop.Task, c *Conn) {
		defer close(over)
		got, err := readAll(task, c, 16<<10)
		if len(got) != updates || err != io.EOF {
			t.Errorf("got %d bytes, %v; want %d, %v", len(got), err, updates, io.EOF)
		}
	})
}

// What a server has sent can be read even if what it should have read cannot be
// sent any more.
func TestDataIsReadAfterWritesFail(t *testing.T) {
	t.Run("in an upload", func(t *testing.T) { readAfterWritesFail(t, true) })
	t.Run("answering a key update", func(t *testing.T) { readAfterWritesFail(t, false) })
}

func readAfterWritesFail(t *testing.T, upload bool) {
	full := make(chan struct{})
	forged(t, "unix", func(f *forger) {
		<-full
		f.update(1)
		f.data("413 and goodbye")
	}, func(task *loop.Task, c *Conn) {
		_ = unix.SetsockoptInt(c.Raw().FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, 32<<10)
		for big := make([]byte, 32<<10); upload && !c.Unsent(); {
			if _, err := c.TryWrite(big); err != nil {
				t.Errorf("TryWrite: %v", err)
				break
			}
		}
		close(full)
		for !c.Raw().Failed() {
			if err := task.WaitAny(task.After(patience), c.Raw(), nil); err != nil {
				t.Errorf("the server does not close: %v", err)
				return
			}
		}
		b := make([]byte, 100)
		if n, err := c.TryRead(b); string(b[:n]) != "413 and goodbye" || err != nil {
			t.Errorf("TryRead: got %q, %v", b[:n], err)
		}
		if _, err := c.TryWrite([]byte("x")); err == nil || err == loop.ErrAgain {
			t.Errorf("TryWrite: got %v; want the socket's error", err)
		}
	})
}

func TestForgedRecords(t *testing.T) {
	for name, c := range map[string]struct {
		send func(*forger)
		data string // that comes before the end
		err  func(error) bool
	}{
		"close_notify": {
			func(f *forger) { f.data("x"); f.alert(1, 0) }, "x",
			func(err error) bool { return err == io.EOF },
		},
		"close_notify in one segment with data": {
			func(f *forger) { f.send(append(f.seal(23, []byte("x")), f.seal(21, []byte{1, 0})...)) }, "x",
			func(err error) bool { return err == io.EOF },
		},
		"data after close_notify": {
			func(f *forger) { f.data("x"); f.alert(1, 0); f.data("y") }, "x",
			func(err error) bool { return err == io.EOF },
		},
		"user_canceled": {
			func(f *forger) { f.alert(1, 90); f.data("x"); f.alert(1, 0) }, "x",
			func(err error) bool { return err == io.EOF },
		},
		"fatal alert": {
			func(f *forger) { f.data("x"); f.alert(2, 80) }, "x",
			func(err error) bool { return strings.Contains(fmt.Sprint(err), "internal error") },
		},
		"a thousand small records": {
			func(f *forger) {
				var all []byte
				for range 1000 {
					all = append(all, f.seal(23, []byte("x"))...)
				}
				f.send(all)
				f.alert(1, 0)
			}, strings.Repeat("x", 1000),
			func(err error) bool { return err == io.EOF },
		},
		"a largest record": {
			func(f *forger) { f.data(strings.Repeat("x", 16384)); f.alert(1, 0) }, strings.Repeat("x", 16384),
			func(err error) bool { return err == io.EOF },
		},
		"too large a record": {
			func(f *forger) { f.data("x"); f.data(strings.Repeat("x", 16385)) }, "x",
			func(err error) bool { return err != nil && err != io.EOF },
		},
		"empty records for ever": {
			func(f *forger) {
				for f.err == nil {
					f.data("")
				}
			}, "",
			func(err error) bool { return err != nil && err != io.EOF && !errors.Is(err, loop.ErrDeadline) },
		},
		"a wrong key": {
			func(f *forger) { f.data("x"); f.seq++; f.data("y") }, "x",
			func(err error) bool { return strings.Contains(fmt.Sprint(err), "bad record MAC") },
		},
		"an unknown message": {
			func(f *forger) { f.send(f.seal(22, []byte{99, 0, 0, 0})) }, "",
			func(err error) bool { return err != nil && err != io.EOF },
		},
		"half a message, then data": {
			func(f *forger) { f.send(f.seal(22, []byte{24, 0})); f.data("x") }, "",
			func(err error) bool { return err != nil && err != io.EOF },
		},
	} {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			forged(t, "tcp", func(f *forger) { c.send(f); <-over }, func(task *loop.Task, conn *Conn) {
				got, err := readAll(task, conn, 5000)
				if string(got) != c.data || !c.err(err) {
					t.Errorf("got %d bytes, %v; want %d", len(got), err, len(c.data))
				}
				if _, again := conn.TryRead(make([]byte, 1)); again == nil || again == loop.ErrAgain {
					t.Errorf("after %v: got %v; want an error that stays", err, again)
				}
				conn.Close()
				close(over)
			})
		})
	}
}

// A message after the handshake may be cut into records, with waits in between.
func TestKeyUpdateInPieces(t *testing.T) {
	next := make(chan struct{})
	forged(t, "tcp", func(f *forger) {
		for _, piece := range [][]byte{{24}, {0, 0}, {1}} {
			f.send(f.seal(22, piece))
			<-next
		}
		f.send(f.seal(22, []byte{0}))
		secret, err := expand(f.secret, "traffic upd", sha256.Size)
		if err = errors.Join(err, f.rekey(secret)); err != nil {
			t.Error(err)
		}
		f.data("x")
		f.alert(1, 0)
	}, func(task *loop.Task, c *Conn) {
		b := make([]byte, 10)
		for range 3 {
			if err := task.WaitAny(task.After(patience), c.Raw(), nil); err != nil {
				t.Error(err)
			}
			if n, err := c.TryRead(b); n != 0 || err != loop.ErrAgain {
				t.Errorf("a piece of a message: got %d, %v; want %v", n, err, loop.ErrAgain)
			}
			next <- struct{}{}
		}
		if got, err := readAll(task, c, 10); string(got) != "x" || err != io.EOF {
			t.Errorf("got %q, %v; want x, %v", got, err, io.EOF)
		}
	})
}
