package tlsconn

import (
	"crypto/tls"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/proxyd/proxyd/worker/loop"
)

// flood has as many clients say hello while the loop is busy, and returns of each
// handshake the loop's time when it chose its certificate, and the clients' order.
func flood(t *testing.T, clients int, gated bool) (turns []int64, order []int) {
	l := start(t)
	s := plain()
	if gated {
		s.Gate = NewGate(l)
	}
	config := configOf(t, s)
	numbers := make(map[*Conn]int)
	chosen, accepted, ended := make(chan struct{}, clients), make(chan struct{}, clients), make(chan error, clients)
	choose := config.GetCertificate
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		turns, order = append(turns, l.Now()), append(order, numbers[(*Conn)(hello.Conn.(*adapter))])
		chosen <- struct{}{}
		return choose(hello)
	}
	address := listen(t, l, func(fd int) {
		raw := new(loop.Conn)
		if l.Register(raw, fd) != nil {
			return
		}
		c := Server(raw, config)
		numbers[c] = len(numbers)
		l.Spawn(job(func(task *loop.Task) {
			err := c.Handshake(task, task.After(patience))
			c.Close()
			ended <- err
		}))
		accepted <- struct{}{}
	})
	var conns []net.Conn
	for range clients {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		<-accepted
	}
	held, release := make(chan struct{}), make(chan struct{})
	l.Post(func() { close(held); <-release })
	<-held
	hello := helloBytes(t)
	for _, c := range conns {
		if _, err := c.Write(hello); err != nil {
			t.Error(err)
		}
	}
	close(release)
	for range conns {
		<-chosen
	}
	for _, c := range conns {
		c.Close()
	}
	for range conns {
		if err := <-ended; err == nil {
			t.Error("a handshake without a client: got no error")
		}
	}
	run(t, l, func(*loop.Task) {
		if gated && s.Gate.Waiting() != 0 {
			t.Errorf("at the end: %d wait", s.Gate.Waiting())
		}
	})
	return turns, order
}

// A flood that is there at once does not hold the loop for a whole turn, and is
// served in the order in which it came.
func TestGateSpreadsAFlood(t *testing.T) {
	const clients = 300
	turns, _ := flood(t, clients, false)
	if n := len(slices.Compact(turns)); n > 3 {
		t.Errorf("without a gate: got %d turns; want one or so", n)
	}
	turns, order := flood(t, clients, true)
	// A step takes over 0.1 ms, so no more than a dozen fit into the 1 ms of a turn.
	if n := len(slices.Compact(turns)); n < clients/12 {
		t.Errorf("turns: got %d for %d handshakes", n, clients)
	}
	if !slices.IsSorted(order) {
		t.Errorf("order: got %v", order)
	}
}

// Who waits for a turn and gives up leaves the line, and who is behind goes on.
func TestGateForgetsWhoLeaves(t *testing.T) {
	l := start(t)
	run(t, l, func(task *loop.Task) {
		g := NewGate(l)
		closed := func() bool { return false }
		var ends []error
		for i := range 3 {
			here, _ := socketPair(t, l)
			c := Server(here, nil)
			l.Spawn(job(func(waiting *loop.Task) {
				c.task, c.deadline = waiting, waiting.After(patience)
				if i == 1 {
					c.deadline = waiting.After(1)
				}
				ends = append(ends, g.steps.wait(c, c.deadline, closed))
				c.Close()
			}))
		}
		for end := task.After(patience); len(ends) < 1 && task.Now() < end; {
			task.Sleep(1)
		}
		if len(ends) != 1 || ends[0] != loop.ErrDeadline || g.Waiting() != 2 {
			t.Errorf("got %v, and %d wait; want one out of time, and 2", ends, g.Waiting())
		}
		g.steps[0].raw.Close()
		for end := task.After(patience); len(ends) < 2 && task.Now() < end; {
			task.Sleep(1)
		}
		if len(ends) != 2 || ends[1] != errGone || g.Waiting() != 1 {
			t.Errorf("got %v, and %d wait; want one gone, and 1", ends, g.Waiting())
		}
		g.steps[0].raw.Close()
	})
}

// Handshakes that have begun go before those that have not, and these do not
// begin when half of their time is over.
func TestGateEndsWhatItBegan(t *testing.T) {
	l := start(t)
	run(t, l, func(task *loop.Task) {
		g := NewGate(l)
		g.turn, g.began = l.Now(), time.Now().Add(-time.Hour) // this turn has no time left
		var order []string
		late := error(nil)
		handshake := func(name string, deadline int64, wait func(*Conn) error) {
			here, _ := socketPair(t, l)
			c := Server(here, nil)
			l.Spawn(job(func(waiting *loop.Task) {
				c.task, c.deadline = waiting, deadline
				if err := wait(c); err != nil {
					late = err
				}
				order = append(order, name)
				c.Close()
			}))
		}
		handshake("a hello", task.After(patience), g.begin)
		handshake("another", 0, g.begin)
		handshake("a step", task.After(patience), g.resume)
		handshake("one more", 0, g.resume)
		for end := task.After(patience); len(order) < 4 && task.Now() < end; {
			task.Sleep(1)
		}
		if want := []string{"a step", "one more", "a hello", "another"}; !slices.Equal(order, want) || late != nil {
			t.Errorf("got %q, %v; want %q", order, late, want)
		}
		g.steps = append(g.steps, Server(new(loop.Conn), nil)) // a step that is never done
		g.steps[0].task = task
		from := task.Now()
		handshake("late", task.After(40*time.Millisecond), g.begin)
		for end := task.After(patience); len(order) < 5 && task.Now() < end; {
			task.Sleep(1)
		}
		if took := time.Duration(task.Now() - from); late != loop.ErrDeadline || took < 20*time.Millisecond {
			t.Errorf("behind it: got %v after %v; want %v after 20ms", late, took, loop.ErrDeadline)
		}
	})
}
