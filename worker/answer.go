package worker

import (
	"bytes"
	"errors"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/worker/http1"
	"github.com/proxyd/proxyd/worker/loop"
)

var errHeadTimeout = &http1.Error{Status: 408, Reason: "head not complete in time"}

var methodHead = []byte("HEAD ")

// refuse answers a head that is no valid request, or not complete in time.
// Nothing in it is to be trusted, so the connection ends.
func (x *exchange) refuse(err error) {
	status := 400
	var e *http1.Error
	if errors.As(err, &e) {
		status = e.Status
	}
	head := bytes.HasPrefix(bytes.TrimLeft(x.in[:x.have], "\r\n"), methodHead)
	x.req.Reset()
	if head {
		x.req.Method = methodHead[:4] // so much is sure: its answer has no body
	}
	x.headLen, x.have = 0, 0
	x.begin()
	x.w.log.Debug("bad request", "listener", x.service.config.Name, "client", x.c.peer, "status", status, "reason", err)
	x.last, x.account.failure = true, err
	x.reply(status, nil)
	x.settle()
	x.linger()
}

// redirect answers with the address to go to.
func (x *exchange) redirect(to *config.Redirect) bool {
	x.scratch = x.scratch[:0]
	location := to.Location.Eval(x, &x.scratch)
	var ok bool
	if x.extra, ok = http1.AppendField(x.extra[:0], locationName, location); !ok || len(location) == 0 {
		return x.reply(404, nil) // made of what the client sent, and no address
	}
	x.extra = x.appendLines(x.extra, x.route.response)
	return x.send(http1.Answer{Status: to.Status, Edit: x.route.response.drops(), Extra: x.extra})
}

var blankLine = []byte("\r\n\r\n")

var locationName = []byte("Location")

// respond answers with what the route says.
func (x *exchange) respond(a *config.Respond) bool {
	x.account.status = a.Status // response.status, for the fields
	x.extra = x.appendLines(x.extra[:0], x.route.response)
	return x.send(http1.Answer{
		Status: a.Status, Edit: x.route.response.drops(), Extra: x.extra, Body: a.Body, ContentType: a.ContentType,
	})
}

// reply sends an answer that consists of its status, with further field lines.
func (x *exchange) reply(status int, extra []byte) bool {
	if x.grpc && status >= 400 {
		return x.replyGRPC(status, extra)
	}
	return x.send(http1.Answer{Status: status, Extra: extra})
}

// send sends an answer of our own and reports whether the connection can go on:
// it cannot if there is a body that nobody has read to its end.
func (x *exchange) send(a http1.Answer) bool {
	rest, whole := x.behind()
	if len(x.fields) > 0 {
		x.fields = append(x.fields, a.Extra...)
		a.Extra = x.fields
	}
	a.Date = x.w.date()
	a.Close = x.closing() || !whole
	a.HeadOnly = string(x.req.Method) == "HEAD"
	a.KeepAlive = x.req.Minor == 0 && !a.Close
	x.answer = a.Append(x.answer[:0])
	x.responded(a.Status)
	x.account.bytes = int64(len(x.answer) - len(blankLine) - bytes.Index(x.answer, blankLine))
	if x.c.write(x.t, x.answer, x.t.After(x.service.config.Timeouts.Write)) != nil {
		return false
	}
	x.rest, x.unread = rest, !whole
	return !a.Close
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

// linger ends our side and reads on for a moment: closing with input unread
// would make the kernel send RST, which can cost the client our last answer.
func (x *exchange) linger() {
	c := &x.c.stream
	if c.h2 == nil {
		c.finish()
	}
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

// responded counts a response and notes its status.
func (x *exchange) responded(status int) {
	x.account.status = status
	x.w.responded(status)
}
