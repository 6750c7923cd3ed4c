package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roundTrip is how far away the clients are that keep connections: what a server
// does in this time crosses on the way with their next request.
const roundTrip = 20 * time.Millisecond

// Kinds of clients.
const (
	kindNew     = "new"     // a connection for each request
	kindSlow    = "slow"    // the same, of a server that takes its time
	kindKept    = "kept"    // a connection for many requests
	kindIdle    = "idle"    // the same, with long rests
	kindHalf    = "half"    // rests within the head of each request
	kindLimited = "limited" // wants more than its limit
	kindSocket  = "socket"  // a WebSocket, whose messages are echoed
)

// A mix says how many clients of each kind there are.
type mix struct {
	fresh   int           // new connections in a second; every tenth is slow
	kept    int           // requests in a second, ten on each kept connection
	idle    int           // connections
	half    int           // connections
	limited int           // requests in a second, of one key
	sockets int           // WebSockets, each of which says something ten times a second
	life    time.Duration // the longest that a WebSocket lasts; 0: until the end
}

func (m mix) String() string {
	return fmt.Sprintf("each second %d new, %d kept, %d limited; %d idle, %d half-sent, %d WebSockets",
		m.fresh, m.kept, m.limited, m.idle, m.half, m.sockets)
}

// A traffic is clients of all kinds that use a proxy in open loop: what they ask,
// and when, does not depend on how fast they are answered, and an answer is late
// that comes long after its request was due, whatever held the request up.
type traffic struct {
	*load
	findings
	origin *ledger

	spans []span // of the requests of kindLimited that were admitted; guarded by findings.mu
}

// newTraffic makes clients for the proxy at address before origin.
func newTraffic(t *testing.T, address string, origin *ledger) *traffic {
	return &traffic{load: newLoad(t, address), findings: findings{answered: make(map[string]int)}, origin: origin}
}

// run starts the clients.
func (l *traffic) run(m mix) {
	const each = 100 * time.Millisecond // between two requests of a connection
	l.all.Go(func() { l.renew(m.fresh) })
	l.all.Go(l.watchMachine)
	for i := range m.kept / 10 {
		l.all.Go(func() { l.chain(kindKept, i, each, l.ask) })
	}
	for i := range m.idle {
		l.all.Go(func() { l.chain(kindIdle, i, 3*time.Second, l.ask) })
	}
	for i := range m.half {
		l.all.Go(func() { l.chain(kindHalf, i, 3*time.Second, l.hesitate) })
	}
	for i := range m.limited / 10 {
		l.all.Go(func() { l.chain(kindLimited, i, each, l.press) })
	}
	for i := range m.sockets {
		l.all.Go(func() { l.converse(i, each, m.life) })
	}
}

// pace calls f at each time of a schedule, with that time, until f says no more or
// the load stops.
func (l *traffic) pace(every time.Duration, f func(due time.Time) (more bool)) {
	for due := time.Now().Add(rand.N(every)); l.pause(time.Until(due)) && f(due); due = due.Add(every) {
	}
}

// A line is a connection of a client.
type line struct {
	*client
	kind   string
	opened time.Time
}

// dial opens a line for a request that is due; nil: it cannot.
func (l *traffic) dial(kind string, due time.Time) *line {
	opened := time.Now()
	c, err := dial(l.address)
	if err != nil {
		how, detail := verdict(nil, err, "")
		l.lose(loss{kind: kind, how: how, phase: "connect", opened: opened, due: due, detail: detail})
		return nil
	}
	return &line{c, kind, opened}
}

// loss is one on n.
func (n *line) loss(how, phase string, due time.Time, detail string) loss {
	return loss{kind: n.kind, how: how, phase: phase, port: n.port(), opened: n.opened, due: due, detail: detail}
}

// hungUp reports whether the server has ended the connection.
func (n *line) hungUp() bool {
	raw, err := n.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	var end bool
	_ = raw.Control(func(fd uintptr) { // fails if it is closed, by us
		var b [1]byte
		got, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		end = err == nil && got == 0 || err != nil && err != unix.EAGAIN
	})
	return end
}

// post is the request for target: one that nothing on the way may send twice.
func post(target string, fields ...string) string {
	return request(http.MethodPost, target, "body", fields...)
}

// ask makes a request on n and counts it; nil: it is lost.
func (l *traffic) ask(n *line, target string, due time.Time) *answer {
	return l.receive(n, target, due, n.send(post(target)))
}

// receive is ask after the request was sent, or not.
func (l *traffic) receive(n *line, target string, due time.Time, err error) *answer {
	phase := "send"
	var a *answer
	if err == nil {
		phase = "answer"
		a, err = n.client.receive(http.MethodPost)
	}
	how, detail := verdict(a, err, target)
	if how == lostWrong && n.kind == kindLimited && a.status == http.StatusTooManyRequests {
		how = ""
	}
	if late := time.Since(due); how == "" && late > stall {
		how, detail = lostStalled, late.Round(time.Millisecond).String()
	}
	if how != "" {
		l.lose(n.loss(how, phase, due, detail))
		return nil
	}
	l.count(n.kind, a.closing)
	return a
}

// renew asks over a new connection each time.
func (l *traffic) renew(perSecond int) {
	i := 0
	l.pace(time.Second/time.Duration(perSecond), func(due time.Time) bool {
		kind := kindNew
		if i++; i%10 == 0 {
			kind = kindSlow
		}
		target := fmt.Sprintf("/%s/%d", kind, i)
		l.all.Go(func() {
			if n := l.dial(kind, due); n != nil {
				l.ask(n, target, due)
				n.Close()
			}
		})
		return true
	})
}

// chain asks over one line for as long as that lasts, then over the next.
func (l *traffic) chain(kind string, id int, every time.Duration, ask func(*line, string, time.Time) *answer) {
	var n *line
	turn := 0
	l.pace(every, func(due time.Time) bool {
		if n != nil && n.hungUp() {
			l.lose(n.loss(lostHungUp, "idle", due, ""))
			n.Close()
			n = nil
		}
		if n == nil {
			n = l.dial(kind, due)
		}
		if n == nil {
			return true
		}
		l.pause(roundTrip)
		turn++
		if a := ask(n, fmt.Sprintf("/%s/%d/%d", kind, id, turn), due); a == nil || a.closing {
			n.Close()
			n = nil
		}
		return true
	})
	if n != nil {
		n.Close()
	}
}

// hesitate is ask with a rest in the middle of the head.
func (l *traffic) hesitate(n *line, target string, due time.Time) *answer {
	text := post(target)
	half := 1 + rand.IntN(strings.Index(text, "\r\n\r\n"))
	err := n.send(text[:half])
	if err == nil {
		l.pause(rand.N(2 * time.Second))
		due = time.Now()
		err = n.send(text[half:])
	}
	return l.receive(n, target, due, err)
}

// press asks for what is limited.
func (l *traffic) press(n *line, target string, due time.Time) *answer {
	sent := monotonic() / second
	a := l.receive(n, target, due, n.send(post(target, "appid: edge")))
	if a != nil && a.status == http.StatusOK {
		l.findings.mu.Lock()
		defer l.findings.mu.Unlock()
		l.spans = append(l.spans, span{sent, monotonic() / second})
	}
	return a
}

// converse opens one WebSocket after the other and has messages echoed.
func (l *traffic) converse(id int, every, life time.Duration) {
	for turn := 0; l.running(); {
		due := time.Now()
		n := l.dial(kindSocket, due)
		if n == nil || !l.shake(n, due) {
			l.pause(every)
			continue
		}
		end := due.Add(life/2 + rand.N(life/2+1))
		whole := true
		l.pace(every, func(due time.Time) bool {
			turn++
			whole = l.echo(n, frame{opText, true, fmt.Appendf(nil, "%d/%d", id, turn)}, due)
			return whole && (life == 0 || due.Before(end))
		})
		if whole {
			l.echo(n, closing(1000, ""), time.Now())
		}
		n.Close()
	}
}

// shake makes n a WebSocket.
func (l *traffic) shake(n *line, due time.Time) bool {
	err := n.send(handshake("/socket"))
	var r *http.Response
	if err == nil {
		r, err = http.ReadResponse(n.r, nil)
	}
	how, detail := "", ""
	switch {
	case err != nil:
		how, detail = verdict(nil, err, "")
	case r.StatusCode != http.StatusSwitchingProtocols:
		how, detail = lostWrong, r.Status
	case time.Since(due) > stall:
		how = lostStalled
	default:
		return true
	}
	l.lose(n.loss(how, "handshake", due, detail))
	n.Close()
	return false
}

// echo sends f and wants it back.
func (l *traffic) echo(n *line, f frame, due time.Time) bool {
	err := n.send(string(f.append(nil)))
	var got frame
	if err == nil {
		got, err = readFrame(n.r)
	}
	how, detail := "", ""
	switch late := time.Since(due); {
	case err != nil:
		how, detail = verdict(nil, err, "")
	case got.op != f.op || string(got.payload) != string(f.payload):
		how, detail = lostWrong, fmt.Sprintf("%d %.80q", got.op, got.payload)
	case late > stall:
		how, detail = lostStalled, late.Round(time.Millisecond).String()
	default:
		l.count(kindSocket, false)
		return true
	}
	l.lose(n.loss(how, "answer", due, detail))
	return false
}

// watchMachine asks the origin without a proxy. If that takes half of what counts
// as a stall, the machine is to blame.
func (l *traffic) watchMachine() {
	i := 0
	l.pace(100*time.Millisecond, func(due time.Time) bool {
		i++
		c, err := dial(l.origin.address)
		if err == nil {
			_, err = c.ask(http.MethodPost, fmt.Sprintf("/machine/%d", i), "body")
			c.Close()
		}
		if now := time.Now(); err == nil && now.Sub(due) > stall/2 {
			l.froze(due, now)
		}
		return true
	})
}

// A ledger is an origin that remembers what it was asked.
type ledger struct {
	*soakOrigin

	seen sync.Map // targets
	mu   sync.Mutex
	also []string // targets seen again
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	o := &ledger{soakOrigin: newSoakOrigin(t, "origin")}
	o.handler = http.HandlerFunc(o.answer)
	return o
}

func (o *ledger) answer(w http.ResponseWriter, r *http.Request) {
	target := r.RequestURI
	if target == "/socket" {
		o.serve(w, r)
		return
	}
	if _, again := o.seen.LoadOrStore(target, true); again && r.Method == http.MethodPost {
		o.mu.Lock()
		o.also = append(o.also, target)
		o.mu.Unlock()
	}
	if strings.HasPrefix(target, "/"+kindSlow+"/") {
		<-time.After(200 * time.Millisecond) // so that requests are in flight at any time
	}
	o.echo(w, r)
}

// judge fails the test for all that was lost but with a killed worker, and for
// requests that were made twice.
func (l *traffic) judge(t *testing.T) {
	t.Helper()
	l.stop()
	l.findings.judge(t)
	if also := l.origin.also; len(also) > 0 {
		t.Errorf("got %d requests twice at the origin, such as %s; want each once", len(also), also[0])
	}
}
