package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A caller sends requests at a fixed rate, however slowly they are answered: a
// request that has to wait counts from when it was due. Connections are kept, and
// used in turn, so that all workers of a proxy get requests.
type caller struct {
	address  string
	patience time.Duration // for a response

	mu    sync.Mutex
	idle  []*kept // the one that has rested longest first
	tally tally
}

// A kept connection has no request under way.
type kept struct {
	net.Conn
	r *textproto.Reader
}

// A tally is what the requests of a time came to. All have a latency, those that
// failed too.
type tally struct {
	requests  int
	failures  map[string]int // by kind
	latencies histogram
}

func (t *tally) failed() (n int) {
	for _, count := range t.failures {
		n += count
	}
	return n
}

// callers is how many connections there are from the start; more are made when
// all are in use.
const callers = 64

func newCaller(address string, patience time.Duration) (*caller, error) {
	c := &caller{address: address, patience: patience}
	for range callers {
		conn, err := c.dial(time.Now().Add(startPatience))
		if err != nil {
			c.close()
			return nil, err
		}
		c.idle = append(c.idle, conn)
	}
	return c, nil
}

func (c *caller) close() {
	for _, k := range c.idle {
		k.Close()
	}
}

func (c *caller) dial(deadline time.Time) (*kept, error) {
	d := net.Dialer{Deadline: deadline}
	conn, err := d.Dial("tcp4", c.address)
	if err != nil {
		return nil, err
	}
	return &kept{conn, textproto.NewReader(bufio.NewReader(conn))}, nil
}

// call sends rate requests a second for length, and returns what they came to
// when the last one has ended.
func (c *caller) call(ctx context.Context, rate float64, length time.Duration) (tally, error) {
	c.tally = tally{failures: make(map[string]int)}
	var under sync.WaitGroup
	defer under.Wait()
	began := time.Now()
	for i := range int(rate * length.Seconds()) {
		due := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		if ctx.Err() != nil {
			return tally{}, context.Cause(ctx)
		}
		under.Go(func() { c.one(due) })
	}
	under.Wait()
	return c.tally, nil
}

// one makes the request that is due at a time.
func (c *caller) one(due time.Time) {
	failure := failureOf(c.exchange(due.Add(c.patience)))
	took := time.Since(due)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.requests++
	c.tally.latencies.add(took)
	if failure != "" {
		c.tally.failures[failure]++
	}
}

func (c *caller) exchange(deadline time.Time) error {
	k := c.take()
	if k == nil {
		var err error
		if k, err = c.dial(deadline); err != nil {
			return err
		}
	}
	_ = k.SetDeadline(deadline)
	keep, err := k.get("/")
	if !keep {
		k.Close()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, k)
	return err
}

func (c *caller) take() *kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == 0 {
		return nil
	}
	k := c.idle[0]
	c.idle = c.idle[1:]
	return k
}

// What can be wrong with a response that came, in part or whole.
var errCut = errors.New("the response ended too early")

type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// get asks for path once, and reports whether the connection can be kept.
func (k *kept) get(path string) (keep bool, err error) {
	if _, err := io.WriteString(k, "GET "+path+" HTTP/1.1\r\nHost: balance.test\r\n\r\n"); err != nil {
		return false, err
	}
	line, err := k.r.ReadLine()
	if err != nil {
		return false, err
	}
	var status int
	if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &status); err != nil {
		return false, fmt.Errorf("got %q; want a response", line)
	}
	fields, err := k.r.ReadMIMEHeader()
	if err != nil {
		return false, cut(err)
	}
	size, err := strconv.ParseInt(fields.Get("Content-Length"), 10, 64)
	if err != nil && status == 200 {
		return false, fmt.Errorf("response without length: %w", err)
	}
	if status != 200 { // of any form: not read further
		return false, statusError(status)
	}
	if _, err := io.CopyN(io.Discard, k.r.R, size); err != nil {
		return false, cut(err)
	}
	return !strings.EqualFold(fields.Get("Connection"), "close"), nil
}

// cut tells a time-out from a response that breaks off.
func cut(err error) error {
	if isTimeout(err) {
		return err
	}
	return errCut
}

func isTimeout(err error) bool {
	var late net.Error
	return errors.As(err, &late) && late.Timeout()
}

// failureOf names the kind of an error; "" for none.
func failureOf(err error) string {
	var status statusError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &status):
		return strconv.Itoa(int(status))
	case isTimeout(err):
		return "time-out"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, errCut):
		return "cut"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "closed"
	}
	return "nonsense"
}
