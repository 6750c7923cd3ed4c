//go:build !race

package tlsconn

import (
	"crypto/tls"
	"net"
	"runtime"
	"testing"

	"github.com/proxyd/proxyd/worker/loop"
	"golang.org/x/sys/unix"
)

// startLocked is start on one thread of its own.
func startLocked(b *testing.B) *loop.Loop {
	l, err := loop.New()
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := l.Run()
		l.Close() // here: coroutines stay on the thread that made them
		ended <- err
	}()
	b.Cleanup(func() {
		l.Stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return l
}

// used is the processor time of l's thread in ns.
func used(b *testing.B, l *loop.Loop) int64 {
	at := make(chan int64, 1)
	l.Post(func() {
		var ts unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
		at <- ts.Nano()
	})
	return <-at
}

// BenchmarkServerHandshake says how long a handshake of a client holds the loop,
// in µs of its thread: accept, all steps, a byte there and back, close.
func BenchmarkServerHandshake(b *testing.B) {
	a := newAuthority(b, "test CA")
	for _, c := range []struct {
		name, key       string
		version         uint16
		curve           tls.CurveID
		resumed, mutual bool
	}{
		{name: "ecdsa", key: "ecdsa", version: tls.VersionTLS13, curve: tls.X25519},
		{name: "ecdsa mlkem", key: "ecdsa", version: tls.VersionTLS13, curve: tls.X25519MLKEM768},
		{name: "ecdsa p384", key: "ecdsa", version: tls.VersionTLS13, curve: tls.CurveP384},
		{name: "ecdsa 1.2", key: "ecdsa", version: tls.VersionTLS12, curve: tls.X25519},
		{name: "ed25519", key: "ed25519", version: tls.VersionTLS13, curve: tls.X25519},
		{name: "rsa", key: "rsa", version: tls.VersionTLS13, curve: tls.X25519},
		{name: "ecdsa client certificate", key: "ecdsa", version: tls.VersionTLS13, curve: tls.X25519, mutual: true},
		{name: "resumed", key: "ecdsa", version: tls.VersionTLS13, curve: tls.X25519, resumed: true},
		{name: "resumed 1.2", key: "ecdsa", version: tls.VersionTLS12, curve: tls.X25519, resumed: true},
	} {
		b.Run(c.name, func(b *testing.B) {
			l := startLocked(b)
			s := Settings{
				Certificates: []tls.Certificate{a.server(b, newKey(b, c.key), originName)},
				Tickets:      ticketsIn(b, newSegment(b)), Gate: NewGate(l),
			}
			if c.mutual {
				s.ClientCA = a.pem
			}
			address := serve(b, l, configOf(b, s), answer)
			config := &tls.Config{
				ServerName: originName, RootCAs: a.pool(), MaxVersion: c.version, CurvePreferences: []tls.CurveID{c.curve},
				Certificates: []tls.Certificate{a.client(b, "alice")},
			}
			if c.resumed {
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
			handshake := func() {
				raw, err := net.Dial("tcp", address)
				if err != nil {
					b.Fatal(err)
				}
				defer raw.Close()
				if err := ping(tls.Client(raw, config), 1); err != nil {
					b.Fatal(err)
				}
			}
			handshake()
			before := used(b, l)
			for b.Loop() {
				handshake()
			}
			b.ReportMetric(float64(used(b, l)-before)/float64(b.N)/1000, "loop-µs/op")
		})
	}
}
