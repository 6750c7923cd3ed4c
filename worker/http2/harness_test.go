package http2

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/proxyd/proxyd/worker/http1"
)

// A testServer runs the server's side behind real sockets, a goroutine for each
// connection and one lock in the place of the loop.
type testServer struct {
	listener net.Listener
	limits   *Limits
	serve    func(*testStream)
	done     sync.WaitGroup
}

// A testStream is a stream with a goroutine that may wait for it.
type testStream struct {
	*Stream
	wake *sync.Cond // on the lock of the connection
	req  http1.Request
	rest []byte // received behind the head
}

// newTestServer serves until the test ends.
func newTestServer(t testing.TB, lim *Limits, listener net.Listener, serve func(*testStream)) *testServer {
	s := &testServer{listener: listener, limits: lim, serve: serve}
	s.done.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.done.Go(func() { s.conn(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		s.done.Wait()
	})
	return s
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (s *testServer) conn(conn net.Conn) {
	d := newDriver(conn)
	d.c = NewServer(s.limits, func(st *Stream) {
		ts := d.stream(st)
		d.tasks.Go(func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			s.serve(ts)
			ts.Close()
			d.output.Broadcast()
		})
	})
	d.run()
}

// A driver moves what a Conn sends and receives over a socket.
type driver struct {
	conn   net.Conn
	c      *Conn
	mu     sync.Mutex
	output *sync.Cond
	tasks  sync.WaitGroup
}

func newDriver(conn net.Conn) *driver {
	d := &driver{conn: conn}
	d.output = sync.NewCond(&d.mu)
	return d
}

func (d *driver) stream(s *Stream) *testStream {
	ts := &testStream{Stream: s, wake: sync.NewCond(&d.mu)}
	s.OnEvent(ts.wake.Broadcast)
	return ts
}

// run returns when the connection is closed and nobody uses it any more.
func (d *driver) run() {
	defer d.conn.Close()
	defer d.tasks.Wait()
	d.mu.Lock()
	d.c.OnOutput(d.output.Broadcast)
	d.mu.Unlock()
	d.tasks.Go(d.send)
	buf := make([]byte, 16<<10)
	have := 0
	for {
		n, err := d.conn.Read(buf[have:])
		d.mu.Lock()
		have += n
		used, e := d.c.Receive(buf[:have])
		have = copy(buf, buf[used:have])
		if err != nil {
			d.c.Abort()
		}
		d.output.Broadcast()
		d.mu.Unlock()
		if err != nil || e != nil {
			_, _ = io.Copy(io.Discard, d.conn)
			return
		}
	}
}

// send sends Output until the connection is to be closed.
func (d *driver) send() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		for len(d.c.Output()) == 0 && !d.c.Closed() {
			d.output.Wait()
		}
		if len(d.c.Output()) == 0 {
			_ = d.conn.(interface{ CloseWrite() error }).CloseWrite()
			return
		}
		out := bytes.Clone(d.c.Output())
		d.c.Sent(len(out))
		d.mu.Unlock()
		_, err := d.conn.Write(out)
		d.mu.Lock()
		if err != nil {
			d.c.Abort()
			return
		}
	}
}

// read and write wait.
func (s *testStream) read(b []byte) (int, error) {
	for {
		n, err := s.TryRead(b)
		if err != ErrAgain {
			return n, err
		}
		s.wake.Wait()
	}
}

func (s *testStream) write(b []byte) error {
	for len(b) > 0 {
		n, err := s.TryWrite(b)
		b = b[n:]
		if err == ErrAgain {
			s.wake.Wait()
		} else if err != nil {
			return err
		}
	}
	return nil
}

var testLimits = http1.Limits{HeadBytes: 64 << 10, Fields: 256, TargetBytes: 8 << 10}

// head reads and parses the head of the request.
func (s *testStream) head() error {
	buf := make([]byte, 70<<10)
	have := 0
	for {
		n, err := s.read(buf[have:])
		if err != nil {
			return err
		}
		have += n
		if n, err := s.req.Parse(buf[:have], &testLimits); err != nil {
			return err
		} else if n > 0 {
			s.rest = buf[n:have]
			return nil
		}
	}
}

// body reads the body of the request to its end, and its trailers.
func (s *testStream) body() (body, trailers []byte, err error) {
	var dec http1.Chunked
	if s.req.BodyKind() == http1.BodyNone {
		return nil, nil, nil
	}
	for buf := make([]byte, 32<<10); ; {
		for len(s.rest) > 0 {
			if s.req.Chunked {
				data, n, done, err := dec.Next(s.rest)
				if body = append(body, data...); err != nil || done {
					return body, dec.Trailers(), err
				}
				s.rest = s.rest[n:]
				continue
			}
			if body = append(body, s.rest...); len(body) == int(s.req.ContentLength) {
				return body, nil, nil
			}
			s.rest = nil
		}
		n, err := s.read(buf)
		if err != nil {
			return body, nil, err
		}
		s.rest = buf[:n]
	}
}

// hello answers every request with a short text.
func hello(s *testStream) {
	if err := s.head(); err != nil {
		refuse(s, err)
		return
	}
	s.hello()
}

func (s *testStream) hello() {
	body, _, err := s.body()
	if err != nil {
		return
	}
	text := "hello " + strconv.Itoa(len(body)) + "\n"
	if string(s.req.Method) == "HEAD" {
		text = ""
	}
	_ = s.write([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + strconv.Itoa(len(text)) + "\r\n\r\n" + text))
}

// refuse answers what err says.
func refuse(s *testStream, err error) {
	e, ok := err.(*http1.Error)
	if !ok {
		return
	}
	a := http1.Answer{Status: e.Status, Close: true}
	_ = s.write(a.Append(nil))
}
