package worker

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/proxyd/proxyd/internal/config"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/worker/accesslog"
)

// An account is what is told about an exchange after its end, as far as the
// exchange does not tell it anyway. Times are the loop's.
type account struct {
	start    int64 // the head of the request was complete
	asked    int64 // it began to go upstream; 0: it did not
	answered int64 // the head of the response was complete; 0: it never was
	attempts int   // servers that were asked
	status   int   // 0: the client was gone before it got one
	bytes    int64 // body bytes of an answer of our own
	server   *connPool
	failure  error
}

// An accessLog is where and how requests are written down.
type accessLog struct {
	config  *config.AccessLog
	file    *accesslog.File
	failing bool // and that has been said
}

// settle ends the exchange's account. The logs are those of the configuration in
// force: the ones of the exchange's own may be closed by now.
func (x *exchange) settle() {
	logs := x.w.logs
	if len(logs) == 0 {
		return
	}
	x.settled = true
	if x.account.status == 0 {
		x.account.status = 499 // nginx's word for a client that did not wait
	}
	for _, l := range logs {
		x.scratch = x.scratch[:0]
		if l.config.When != nil && !l.config.When.Holds(x, &x.scratch) {
			continue
		}
		switch l.config.Format {
		case "json":
			r := x.record()
			l.file.JSON(&r)
		case "combined":
			r := x.record()
			l.file.Combined(&r)
		default:
			x.scratch = x.scratch[:0]
			l.file.Line(l.config.Text.Eval(x, &x.scratch))
		}
	}
}

// record is the account for the formats that are fixed.
func (x *exchange) record() accesslog.Record {
	a, q := &x.account, &x.req
	r := accesslog.Record{
		Time: x.w.wall(a.start), Duration: time.Duration(x.t.Now() - a.start), FirstByte: x.upstreamTime(),
		Listener: x.service.name, Client: x.clientText(), ClientPort: x.c.peer.Port(), ID: x.requestID(),
		Method: q.Method, Host: q.Host, URI: q.URI, Proto: x.proto(), Scheme: x.scheme,
		Referer: q.Header("referer"), UserAgent: q.Header("user-agent"),
		Status: a.status, BytesIn: x.bytesIn(), BytesOut: x.bytesOut(), Attempts: a.attempts,
	}
	if x.route != nil {
		r.Route = x.route.name
	}
	if x.upstream != nil {
		r.Upstream = x.upstream.name
	}
	if a.server != nil {
		r.Server = a.server.name
	}
	if a.failure != nil {
		r.Error = a.failure.Error()
	}
	return r
}

// upstreamTime is from the first byte sent to the server to the end of the head
// of its response; 0 if that did not come.
func (x *exchange) upstreamTime() time.Duration {
	if x.account.answered == 0 {
		return 0
	}
	return time.Duration(max(x.account.answered-x.account.asked, 1))
}

// bytesIn is how much of the request's body was passed on.
func (x *exchange) bytesIn() int64 {
	if x.piped {
		return x.up.moved
	}
	return 0
}

// bytesOut is how much of a body the client was sent, or nearly: what the kernel
// holds of it, nobody knows.
func (x *exchange) bytesOut() int64 {
	if x.began {
		return x.down.moved
	}
	return x.account.bytes
}

// keepLog keeps the file of an access log that was handed over, in place of the
// one of the same name.
func (w *worker) keepLog(name string, fd int) {
	if f := w.logFiles[name]; f != nil {
		f.Replace(fd)
		return
	}
	w.logFiles[name] = accesslog.NewFile(fd, &w.shared.Counters[shm.LogDropped])
}

// logTo makes c's access logs the ones in force.
func (w *worker) logTo(c *config.Config) error {
	logs := make([]*accessLog, len(c.AccessLogs))
	for i, a := range c.AccessLogs {
		f := w.logFiles[a.FileName()]
		if f == nil {
			return fmt.Errorf("access_log %s: its file was not handed over", a.Output)
		}
		logs[i] = &accessLog{config: a, file: f}
	}
	w.logs = logs
	w.keepTime()
	return nil
}

// forgetLogs closes the files that c does not name.
func (w *worker) forgetLogs(c *config.Config) {
	for name, f := range w.logFiles {
		if !slices.ContainsFunc(c.AccessLogs, func(a *config.AccessLog) bool { return a.FileName() == name }) {
			delete(w.logFiles, name)
			go f.Close() // which may wait for the disk
		}
	}
}

// tendLogs is called once a second: no line waits longer for its file.
func (w *worker) tendLogs() {
	for _, l := range w.logs {
		l.file.Tick()
		err := l.file.Err()
		if (err != nil) != l.failing {
			l.failing = err != nil
			if err != nil {
				w.log.Error("cannot write the access log: lines are lost", "file", l.config.Output, "error", err)
			} else {
				w.log.Info("the access log is written again", "file", l.config.Output)
			}
		}
	}
	w.keepTime()
}

// closeLogs writes what is left to write. The loop has ended.
func (w *worker) closeLogs() {
	var all sync.WaitGroup // at once: each may wait for its reader
	for _, f := range w.logFiles {
		all.Go(f.Close)
	}
	all.Wait()
}

// wall is the time of day at a time of the loop, in ns since 1970.
func (w *worker) wall(at int64) int64 { return at + w.epoch }

// keepTime fixes when the loop's time began, which moves when the clock is set.
func (w *worker) keepTime() { w.epoch = time.Now().UnixNano() - w.loop.Now() }
