package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client that sees no loss is of no use: here is a server that causes each.
func TestWhatCountsAsALoss(t *testing.T) {
	respond := func(c net.Conn, status int, body string) {
		fmt.Fprintf(c, "HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	}
	for _, test := range []struct {
		name   string
		answer func(c net.Conn, target string)
		how    string
		phase  string
	}{
		{"the answer", func(c net.Conn, target string) { respond(c, 200, "origin "+target+" ") }, "", ""},
		{"the answer to another", func(c net.Conn, target string) { respond(c, 200, "origin "+target+"0 ") }, lostWrong, "answer"},
		{"not found", func(c net.Conn, _ string) { respond(c, 404, "") }, lostWrong, "answer"},
		{"bad gateway", func(c net.Conn, _ string) { respond(c, 502, "") }, lostFailure, "answer"},
		{"half an answer", func(c net.Conn, _ string) {
			fmt.Fprint(c, "HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\nhalf")
		}, lostShort, "answer"},
		{"half a head", func(c net.Conn, _ string) { fmt.Fprint(c, "HTTP/1.1 200") }, lostClosed, "answer"},
		{"nothing", func(net.Conn, string) {}, lostClosed, "answer"},
		{"a reset", func(c net.Conn, _ string) { abort(c) }, lostReset, "answer"},
		{"an answer that is late", func(c net.Conn, target string) {
			<-time.After(stall)
			respond(c, 200, "origin "+target+" ")
		}, lostStalled, "answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := serveRaw(t, func(c net.Conn) {
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body) // else the end of c is a reset
				test.answer(c, r.RequestURI)
			})
			l := newTraffic(t, address, nil)
			due := time.Now()
			n := l.dial(kindNew, due)
			if n == nil {
				t.Fatal(l.losses)
			}
			defer n.Close()
			a := l.ask(n, "/x/1", due)
			l.same(t, test.how, test.phase)
			if (a != nil) != (test.how == "") || l.findings.answered[kindNew] != 1-len(l.losses) {
				t.Errorf("got %v, %v answered; want it counted once", a, l.findings.answered)
			}
		})
	}
	t.Run("no connection", func(t *testing.T) {
		l := newTraffic(t, refused(t), nil)
		l.dial(kindNew, time.Now())
		l.same(t, lostRefused, "connect")
	})
	t.Run("the end of a WebSocket", func(t *testing.T) {
		l := newTraffic(t, serveRaw(t, func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				fmt.Fprint(c, "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			}
		}), nil)
		n := l.dial(kindSocket, time.Now())
		if !l.shake(n, time.Now()) {
			t.Fatal(l.losses)
		}
		for i := range 2 { // the first may be sent into it
			if l.echo(n, frame{opText, true, []byte("x")}, time.Now()) || len(l.losses) != i+1 {
				t.Errorf("got %v; want it lost", l.losses)
			}
		}
	})
	t.Run("the end of an idle connection", func(t *testing.T) {
		l := newTraffic(t, serveRaw(t, func(net.Conn) {}), nil)
		n := l.dial(kindIdle, time.Now())
		defer n.Close()
		await(t, "the end of the connection", n.hungUp)
	})
}

// same checks the only loss, or none.
func (r *findings) same(t *testing.T, how, phase string) {
	t.Helper()
	var got []string
	for _, l := range r.losses {
		got = append(got, l.how+" "+l.phase)
	}
	if strings.Join(got, ", ") != strings.TrimSpace(how+" "+phase) {
		t.Errorf("got %q; want %q", got, how+" "+phase)
	}
}

// A loss is a killed worker's if its connection was that worker's, and a late
// answer is the machine's if that stood still meanwhile. Nothing else is excused.
func TestWhatExplainsALoss(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	for _, test := range []struct {
		name           string
		loss           loss
		killed, frozen bool
	}{
		{"the worker's", loss{port: 7, opened: at(0), due: at(9), at: at(11), how: lostReset}, true, false},
		{"another worker's", loss{port: 8, opened: at(0), due: at(9), at: at(11), how: lostReset}, false, false},
		{"lost before", loss{port: 7, opened: at(0), due: at(8), at: at(9), how: lostReset}, false, false},
		{"opened after", loss{port: 7, opened: at(10.5), due: at(10.5), at: at(11), how: lostReset}, false, false},
		{"without a connection", loss{opened: at(0), due: at(9), at: at(11), how: lostRefused}, false, false},
		{"late with the machine", loss{port: 8, opened: at(0), due: at(20), at: at(22), how: lostStalled}, false, true},
		{"late before", loss{port: 8, opened: at(0), due: at(15), at: at(17), how: lostStalled}, false, false},
		{"reset with the machine", loss{port: 8, opened: at(0), due: at(20), at: at(22), how: lostReset}, false, false},
	} {
		r := findings{
			losses:    []loss{test.loss},
			incidents: []incident{{at(5), "HUP", nil}, {at(10), "kill", map[int]bool{7: true}}},
			frozen:    []period{{at(21), at(23)}},
		}
		killed, frozen, rest := r.sort()
		if len(killed) == 1 != test.killed || len(frozen) == 1 != test.frozen || len(killed)+len(frozen)+len(rest) != 1 {
			t.Errorf("%s: got %v killed, %v frozen, %d unexplained; want killed %v, frozen %v", test.name, killed, frozen, len(rest), test.killed, test.frozen)
		}
	}
}
