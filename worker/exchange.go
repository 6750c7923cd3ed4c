package worker

import (
	"fmt"
	"net/netip"

	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/limiter"
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

	wake func() // lets t go on, for streams of HTTP/2

	in      []byte // in[:have] is received from the client
	have    int
	headBy  int64 // loop time by which the next head must be complete; 0: not fixed yet
	leaving bool  // the connection goes to another worker as soon as it can
	isHTTP2 bool  // the connection is no longer the exchange's to serve
	headLen int   // in[:headLen] is the head of req
	req     http1.Request
	service *service
	route   *route // nil while none is chosen
	last    bool   // the connection is to be closed after this exchange
	rest    []byte // what was received behind the request, once it is answered
	unread  bool   // there is more of the request, which nobody wants

	client  netip.Addr // for whom the request is, see identify; invalid if nobody knows
	trusted bool       // it came from a trusted proxy
	grpc    bool       // it is a call of gRPC
	scheme  []byte
	hops    []netip.Addr
	id      []byte // see requestID
	path    []byte // room for a path in normal form

	account  account
	settled  bool   // the account is closed
	deadline int64  // loop time at which all is given up; 0: none
	fields   []byte // lines that limits add to the response
	held     []held // places in concurrency limits
	charges  []limiter.Charge
	charged  []*limit // whose charges those are
	upstream *upstream
	key      []byte      // what the upstream hashes by; nil: nothing
	picked   *lb.Server  // that has not been parted from, nil if there is none
	result   lb.Outcome  // of picked, as far as is known
	server   *serverConn // nil while there is none
	tried    []*lb.Server
	restarts int // times that it was sent again because its connection was going away
	forward  http1.Forward
	piped    bool   // up has begun
	up       flow   // the request, to the server
	upErr    error  // why up was given up
	sentAt   int64  // when up ended
	began    bool   // the client has been sent some of the final response
	hand     []byte // the buffer for a body that may be sent again; nil while there is none
	from     []byte // the buffer for what the server sends, nil while there is no server
	got      int    // from[:got] is received from the server
	resp     http1.Response
	down     flow // the response, to the client

	out, answer              []byte // heads to send: to the server, to the client
	ip, peer, extra, scratch []byte
	numbers                  []byte // of expressions; see Value
}

func (w *worker) takeExchange() *exchange {
	if x, ok := w.exchanges.get(); ok {
		return x
	}
	x := &exchange{w: w, in: make([]byte, headBytes), path: make([]byte, 0, 1<<10)}
	x.wake = func() { x.t.Wake() }
	return x
}

func (w *worker) putExchange(x *exchange) {
	if len(x.in) != headBytes {
		x.in = make([]byte, headBytes) // a long head made it grow
	}
	x.t, x.c, x.service, x.route, x.upstream, x.have = nil, nil, nil, nil, nil, 0
	x.headBy, x.leaving, x.isHTTP2 = 0, false, false
	x.req.Reset()
	x.resp.Reset()
	w.exchanges.put(x)
}

// serve answers requests until the connection falls idle (true) or must be
// closed. It runs in a coroutine: every wait yields to the loop, so nothing that
// another exchange can change is kept across one.
func (x *exchange) serve() (park bool) {
	if x.headBy == 0 {
		x.headBy = x.t.After(x.c.listener.service.config.Timeouts.Header)
	}
	if !x.c.begun {
		switch x.greet() {
		case over, speaksHTTP2:
			return false
		case nothingYet:
			return true
		}
	}
	for {
		turn := x.t.Now()
		if !x.readHead() {
			return false
		}
		keep := x.serveRequest()
		x.settle()
		if !keep {
			if x.unread || !x.req.Close && !x.c.Quiet() { // the client does not know, and pipelines
				x.linger()
			}
			return false
		}
		x.have = copy(x.in, x.rest) // over the head
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
		x.headBy = x.t.After(x.c.listener.service.config.Timeouts.Header)
	}
}

// readHead reads until in starts with a valid head. The whole of it must come
// by headBy, however it is cut up.
func (x *exchange) readHead() bool {
	for {
		if x.have > 0 {
			n, err := x.req.Parse(x.in[:x.have], &x.c.listener.service.head)
			if err != nil {
				if x.isHTTP2 = x.notHTTP1(); !x.isHTTP2 {
					x.refuse(err)
				}
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
		err := x.receive()
		if timedOut(err) && x.have > 0 {
			x.refuse(errHeadTimeout)
		}
		if err != nil {
			return false
		}
	}
}

// receive reads once into the room behind in[:have], before headBy.
func (x *exchange) receive() error {
	n, err := x.c.tryRead(x.in[x.have:])
	if err == loop.ErrAgain {
		x.w.reading[x] = struct{}{}
		err = x.t.WaitAny(x.headBy, &x.c.Conn, nil)
		delete(x.w.reading, x)
		if x.leaving {
			return errLeaving // what has come meanwhile is read by another worker
		}
	}
	x.have += n
	return err
}

// begin fixes what the exchange will go by, whatever a reload does meanwhile.
func (x *exchange) begin() {
	c := x.c
	x.service = c.listener.service
	x.route, x.upstream = nil, nil
	x.began, x.piped, x.unread, x.settled, x.deadline = false, false, false, false, 0
	x.numbers, x.fields = x.numbers[:0], x.fields[:0]
	x.account = account{start: x.t.Now()}
	x.identify()
	x.grpc = c.h2 != nil && asksGRPC(&x.req)
	c.requests++
	most := x.service.config.Limits.RequestsPerConnection
	x.last = x.req.Close || most > 0 && int(c.requests) >= most
}

// closing reports whether the connection is to be closed after this exchange,
// as far as is known by now.
func (x *exchange) closing() bool {
	return x.last || x.w.draining && !(x.w.moving && x.c.plain()) || x.c.listener.removed
}

// serveRequest answers the request whose head was read, and reports whether the
// connection can go on.
func (x *exchange) serveRequest() bool {
	x.begin()
	x.w.count(shm.Requests)
	if most := x.service.config.Limits.Body; most > 0 && x.req.ContentLength > most {
		return x.reply(413, nil)
	}
	if x.req.MaxForwards == 0 {
		if string(x.req.Method) == "TRACE" {
			return x.reply(405, nil)
		}
		return x.reply(200, nil)
	}
	if status := x.choose(); status != 0 {
		return x.reply(status, nil)
	}
	x.bound()
	if x.route.limited {
		defer x.vacate()
		if !x.admitted() {
			x.vacate() // at once: the client may be slow to take the answer
			return x.reply(429, nil)
		}
	}
	return x.act()
}

// act does what the route says.
func (x *exchange) act() bool {
	r := x.route
	switch {
	case r.config.Redirect != nil:
		return x.redirect(r.config.Redirect)
	case r.config.Respond != nil:
		return x.respond(r.config.Respond)
	case r.upstream != nil:
		x.upstream = r.upstream
	default:
		x.scratch = x.scratch[:0]
		name := r.config.UpstreamName.Eval(x, &x.scratch)
		if x.upstream = r.upstreams[string(name)]; x.upstream == nil {
			x.account.failure = fmt.Errorf("no upstream is called %q", name)
			return x.reply(503, nil)
		}
	}
	return x.proxy()
}

// crashed releases what the exchange held when it panicked, and answers 500 if
// the client has been sent nothing of a response.
func (x *exchange) crashed() {
	delete(x.w.reading, x)
	if x.server != nil {
		x.server.close()
	}
	if x.began || !x.c.Open() && x.c.h2 == nil {
		return
	}
	a := http1.Answer{Status: 500, Date: x.w.date(), Close: true}
	v := vector{}
	v.add(a.Append(nil))
	_, _ = x.c.tryWrite(&v) // it is closed next, whatever comes of it
	x.responded(500)
}
