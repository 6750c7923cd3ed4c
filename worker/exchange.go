package worker

import (
	"errors"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/worker/http1"
	"github.com/proxyd/proxyd/worker/loop"
)

// Sizes of the buffers of an exchange, in bytes.
const (
	headBytes   = 16 << 10 // what the client sends: a head, a piece of a body
	bodyBytes   = 32 << 10 // what the server sends
	minBody     = 4 << 10  // room behind a head below which its body gets a buffer of its own
	lingerBytes = 64 << 10 // of a body that nobody wants, read before the connection is closed
)

// An exchange is a request and its response. It is pooled with its buffers and
// serves one after the other on the connection of one client.
type exchange struct {
	w *worker
	t *loop.Task
	c *client

	in      []byte // in[:have] is received from the client
	have    int
	headLen int // in[:headLen] is the head of req
	req     http1.Request
	service *service
	route   *route
	last    bool // the connection is to be closed after this exchange

	server  *serverConn // nil while there is none
	tried   []*lb.Server
	forward http1.Forward
	piped   bool   // up has begun
	up      flow   // the request, to the server
	upErr   error  // why up was given up
	sentAt  int64  // when up ended
	began   bool   // the client has been sent some of the final response
	from    []byte // the buffer for what the server sends, nil while there is no server
	got     int    // from[:got] is received from the server
	resp    http1.Response
	down    flow // the response, to the client

	out, answer       []byte // heads to send: to the server, to the client
	ip, port, scratch []byte
}

func (w *worker) takeExchange() *exchange {
	if x, ok := w.exchanges.get(); ok {
		return x
	}
	return &exchange{w: w, in: make([]byte, headBytes)}
}

func (w *worker) putExchange(x *exchange) {
	if len(x.in) != headBytes {
		x.in = make([]byte, headBytes) // a long head made it grow
	}
	x.t, x.c, x.service, x.route, x.have = nil, nil, nil, nil, 0
	x.req.Reset()
	x.resp.Reset()
	w.exchanges.put(x)
}

// serve answers requests until the connection falls idle (true) or must be
// closed. It runs in a coroutine: every wait yields to the loop, so nothing that
// another exchange can change is kept across one.
func (x *exchange) serve() (park bool) {
	for {
		turn := x.t.Now()
		if !x.readHead() {
			return false
		}
		if !x.serveRequest() {
			if !x.req.Close && !x.c.Quiet() {
				x.linger() // the client does not know, and pipelines
			}
			return false
		}
		if x.have == 0 {
			n, err := x.c.tryRead(x.in)
			if err == loop.ErrAgain {
				return !x.closing()
			}
			if err != nil {
				return false
			}
			x.have = n
		}
		if x.t.Now() == turn {
			x.t.Yield() // answered without a wait: pipelined requests must not keep the loop
		}
	}
}

// readHead reads until in starts with a valid head. The whole of it must come
// within one time-out, however it is cut up.
func (x *exchange) readHead() bool {
	times := &x.c.listener.service.config.Timeouts
	deadline := x.t.After(times.Header)
	for {
		if x.have > 0 {
			n, err := x.req.Parse(x.in[:x.have], &x.c.listener.service.head)
			if err != nil {
				x.refuse(err)
				return false
			}
			if n > 0 {
				x.headLen = n
				return true
			}
		}
		if x.have == len(x.in) {
			x.in = append(x.in, make([]byte, len(x.in))...) // Parse stops this at the limit
		}
		n, err := x.c.tryRead(x.in[x.have:])
		if err == loop.ErrAgain {
			err = x.t.WaitAny(deadline, &x.c.Conn, nil)
		}
		if timedOut(err) && x.have > 0 {
			x.refuse(errHeadTimeout)
		}
		if err != nil {
			return false
		}
		x.have += n
	}
}

var errHeadTimeout = &http1.Error{Status: 408, Reason: "head not complete in time"}

// refuse answers a head that is no valid request, or not complete in time.
// Nothing in it is to be trusted, so the connection ends.
func (x *exchange) refuse(err error) {
	status := 400
	var e *http1.Error
	if errors.As(err, &e) {
		status = e.Status
	}
	x.req.Reset()
	x.headLen, x.have = 0, 0
	x.begin()
	x.w.log.Debug("bad request", "listener", x.service.config.Name, "client", x.c.peer, "status", status, "reason", err)
	x.last = true
	x.reply(status, nil)
	x.linger()
}

// begin fixes what the exchange will go by, whatever a reload does meanwhile.
func (x *exchange) begin() {
	c := x.c
	x.service = c.listener.service
	x.route = nil
	x.began, x.piped = false, false
	c.requests++
	most := x.service.config.Limits.RequestsPerConnection
	x.last = x.req.Close || most > 0 && c.requests >= most
}

// closing reports whether the connection is to be closed after this exchange,
// as far as is known by now.
func (x *exchange) closing() bool { return x.last || x.w.draining || x.c.listener.removed }

// serveRequest answers the request whose head was read, and reports whether the
// connection can go on.
func (x *exchange) serveRequest() bool {
	x.begin()
	x.w.count(shm.Requests)
	x.route = x.service.routes[0] // as yet, every route matches every request
	if most := x.service.config.Limits.Body; most > 0 && x.req.ContentLength > most {
		return x.reply(413, nil)
	}
	if x.req.MaxForwards == 0 {
		if string(x.req.Method) == "TRACE" {
			return x.reply(405, nil)
		}
		return x.reply(200, nil)
	}
	for _, l := range x.route.limits {
		x.scratch = x.scratch[:0]
		key := l.config.Key.Eval(x, &x.scratch)
		if key == nil {
			continue
		}
		if v := l.Take(key); !v.Admitted {
			x.w.count(shm.Limited)
			var extra []byte
			if l.config.Headers {
				x.scratch = v.AppendHeaders(x.scratch[:0])
				extra = x.scratch
			}
			return x.reply(429, extra)
		}
	}
	return x.proxy()
}

// reply sends an answer of our own and reports whether the connection can go on:
// it cannot if there is a body that nobody has read to its end.
func (x *exchange) reply(status int, extra []byte) bool {
	rest, whole := x.behind()
	a := http1.Answer{
		Status: status, Date: x.w.date(), Extra: extra, Close: x.closing() || !whole,
		HeadOnly: string(x.req.Method) == "HEAD",
	}
	a.KeepAlive = x.req.Minor == 0 && !a.Close
	x.answer = a.Append(x.answer[:0])
	x.w.responded(status)
	if x.c.write(x.t, x.answer, x.t.After(x.service.config.Timeouts.Write)) != nil {
		return false
	}
	if !whole {
		x.linger()
	}
	if a.Close {
		return false
	}
	x.shift(rest)
	return true
}

// behind returns what was received behind the request, if its end was.
func (x *exchange) behind() (rest []byte, whole bool) {
	if x.piped {
		return x.up.rest(), x.up.ended
	}
	rest = x.in[x.headLen:x.have]
	n := max(0, x.req.ContentLength)
	if x.req.Chunked || n > int64(len(rest)) {
		return nil, false
	}
	return rest[n:], true
}

// shift moves what was received behind a request to the front.
func (x *exchange) shift(rest []byte) { x.have = copy(x.in, rest) }

// linger ends our side and reads on for a moment: closing with input unread
// would make the kernel send RST, which can cost the client our last answer.
func (x *exchange) linger() {
	c := &x.c.stream
	c.CloseWrite()
	deadline := x.t.After(lingerTime)
	for read := 0; read < lingerBytes; {
		n, err := c.tryRead(x.in)
		if err == loop.ErrAgain {
			err = x.t.WaitAny(deadline, &c.Conn, nil)
		}
		if err != nil {
			return
		}
		read += n
	}
}

// crashed releases what the exchange held when it panicked, and answers 500 if
// the client has been sent nothing of a response.
func (x *exchange) crashed() {
	if x.server != nil {
		x.server.close()
	}
	if x.began || !x.c.Open() {
		return
	}
	a := http1.Answer{Status: 500, Date: x.w.date(), Close: true}
	_, _ = x.c.TryWrite(a.Append(nil)) // it is closed next, whatever comes of it
	x.w.responded(500)
}
