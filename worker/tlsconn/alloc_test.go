//go:build !race

package tlsconn

import (
	"crypto/tls"
	"io"
	"testing"

	"github.com/proxyd/proxyd/worker/loop"
)

// exchanges calls measure in a coroutine with a function that sends size bytes
// to an echo server and reads them back.
func exchanges(t testing.TB, version uint16, size int, measure func(exchange func())) {
	t.Helper()
	a := server(t, nil, func(c *tls.Conn) {
		for b := make([]byte, 16<<10); ; {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
		}
	})
	run(t, start(t), func(task *loop.Task) {
		c, err := dial(task, a, trusting(version))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		out, in := make([]byte, size), make([]byte, size)
		measure(func() {
			if err := write(task, c, out); err != nil {
				t.Error(err)
			}
			if err := readFull(task, c, in); err != nil {
				t.Error(err)
			}
		})
	})
}

// crypto/tls allocates 24 bytes each time that it asks for a record: here twice
// for the client, once in vain, and once for the server, which is in this process
// too. There must be nothing else.
func TestExchangeAllocatesLittle(t *testing.T) {
	const most = 3
	for name, version := range versions {
		exchanges(t, version, 1000, func(exchange func()) {
			for range 20 {
				exchange()
			}
			if got := testing.AllocsPerRun(100, exchange); got > most {
				t.Errorf("%s: got %v allocations; want at most %d", name, got, most)
			}
		})
	}
}

// The same where the server is on the loop, and gives back what it can each time.
func TestServerExchangeAllocatesLittle(t *testing.T) {
	const most = 3
	for name, version := range versions {
		address := serve(t, start(t), configOf(t, plain()), func(task *loop.Task, c *Conn, err error) {
			for b := make([]byte, 16<<10); err == nil; {
				var n int
				if n, err = c.TryRead(b); err == nil {
					_, err = c.TryWritev(b[:n/2], b[n/2:n])
				} else if err == loop.ErrAgain {
					c.Shrink()
					err = task.WaitAny(task.After(patience), c.Raw(), nil)
				}
			}
		})
		c := mustConnect(t, address, trusting(version))
		b := make([]byte, 1000)
		exchange := func() {
			if _, err := c.Write(b); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(c, b); err != nil {
				t.Error(err)
			}
		}
		for range 20 {
			exchange()
		}
		if got := testing.AllocsPerRun(100, exchange); got > most {
			t.Errorf("%s: got %v allocations; want at most %d", name, got, most)
		}
	}
}

func BenchmarkEcho(b *testing.B) {
	for name, version := range versions {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			exchanges(b, version, 1000, func(exchange func()) {
				for b.Loop() {
					exchange()
				}
			})
		})
	}
}

func BenchmarkHandshake(b *testing.B) {
	for name, resume := range map[string]bool{"full": false, "resumed": true} {
		b.Run(name, func(b *testing.B) {
			a := server(b, nil, func(c *tls.Conn) { _, _ = c.Write([]byte("x")) })
			config := trusting(tls.VersionTLS13)
			if resume {
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
			run(b, start(b), func(task *loop.Task) {
				for b.Loop() {
					c, err := dial(task, a, config)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = readAll(task, c, 10)
					c.Close()
				}
			})
		})
	}
}
