package discover

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/proxyd/proxyd/internal/shm"
)

const (
	// term is how long a worker that falls silent keeps the lease of a source.
	term = time.Second

	// A source that failed is asked again after backOff, then after twice that,
	// and so on.
	backOff    = 500 * time.Millisecond
	maxBackOff = 5 * time.Second

	maxNamed = 8 // servers named in a line of the log
)

// An asker asks one source. The servers known of it are those of its last good
// answer.
type asker interface {
	ask(ctx context.Context, known []server) reply
}

// A reply is how one query of a source ended.
type reply struct {
	servers []server      // nil: it told of none, and those known stand
	ttl     time.Duration // how long that holds; 0: not known
	err     error         // it failed, as a whole or in part
	warning string        // what else operators should know
}

// after is the record that follows rec when a query that ended now brought r.
func (rec record) after(r reply, now int64) record {
	if r.servers != nil {
		rec.servers, rec.answered = r.servers, now
	}
	if r.err == nil {
		rec.failures, rec.fault = 0, bounded(r.warning)
		rec.next = now + int64(r.ttl)
		return rec
	}
	wait := maxBackOff
	if rec.failures < 4 {
		wait = min(backOff<<rec.failures, maxBackOff)
	}
	if r.ttl > 0 {
		wait = min(wait, r.ttl)
	}
	rec.failures, rec.fault = rec.failures+1, bounded(r.err.Error())
	rec.next = now + int64(wait)
	return rec
}

// bounded is text cut to what a record holds.
func bounded(text string) string {
	if len(text) <= maxFault {
		return text
	}
	return strings.ToValidUTF8(text[:maxFault], "")
}

// A feed is one source as one Discoverer sees it.
type feed struct {
	source Source
	asker  asker
	name   string // for the log
	origin uint64 // of the answers of source
	roster *roster
	log    *slog.Logger
	errors *atomic.Uint64 // nil: not counted

	busy atomic.Bool // it is being asked

	// Of Run's goroutine: what the segment had at the last look.
	head uint64
	rec  record
}

func newFeed(seg *shm.Segment, s Settings, source Source) (*feed, error) {
	a, err := source.open()
	if err != nil {
		return nil, err
	}
	r, err := newRoster(seg, s.Upstream, source.String(), s.Slot)
	if err != nil {
		return nil, err
	}
	f := &feed{
		source: source,
		asker:  a,
		name:   fmt.Sprintf("upstream %s: %v", s.Upstream, source),
		origin: seg.Hash("origin", []byte(source.origin())),
		roster: r,
		log:    s.Log,
		errors: s.Errors,
	}
	f.look()
	return f, nil
}

// look takes up what the segment has now, and reports whether that has other
// servers than before.
func (f *feed) look() bool {
	if f.roster.head() == f.head {
		return false
	}
	before := f.rec.servers
	f.head, f.rec = f.roster.load()
	return !slices.Equal(f.rec.servers, before)
}

// due reports whether f is to be asked now. If it is others who are to be asked
// since a reload, it is.
func (f *feed) due(now int64) bool {
	return f.rec.next <= now || f.rec.origin != f.origin
}

// query asks f, whose record was rec at head, and puts what it learns in force;
// unless another has done that in the meantime, because this worker stood still
// for so long that it lost the lease.
func (f *feed) query(ctx context.Context, head uint64, rec record) {
	r := f.asker.ask(ctx, rec.servers)
	if ctx.Err() != nil {
		return // cut off: that says nothing
	}
	next := rec.after(r, shm.Now())
	next.origin = f.origin
	if r.err != nil && f.errors != nil {
		f.errors.Add(1)
	}
	if f.roster.publish(head, next) {
		f.announce(rec, next)
	}
}

// announce logs what has changed from one record to the next.
func (f *feed) announce(from, to record) {
	if !slices.Equal(from.servers, to.servers) {
		f.log.Info(fmt.Sprintf("%s: servers are now %d%s%s", f.name, len(to.servers),
			listed("new", to.servers, from.servers), listed("gone", from.servers, to.servers)))
	}
	switch {
	case to.fault == from.fault:
	case to.fault == "":
		f.log.Info(f.name + ": is well again")
	case to.failures == 0:
		f.log.Warn(f.name + ": " + to.fault)
	default:
		f.log.Warn(fmt.Sprintf("%s: %s; servers in use: %d", f.name, to.fault, len(to.servers)))
	}
}

// listed names the servers that are not among others; nothing if there are none.
func listed(what string, servers, others []server) string {
	var names []string
	for _, s := range servers {
		if !slices.ContainsFunc(others, func(o server) bool { return o.addr == s.addr }) {
			names = append(names, s.addr.String())
		}
	}
	more := ""
	if n := len(names) - maxNamed; n > 0 {
		names, more = names[:maxNamed], fmt.Sprintf(" and %d more", n)
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("; %s: %s%s", what, strings.Join(names, ", "), more)
}
