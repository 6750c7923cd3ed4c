package discover

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/proxyd/proxyd/lb"
)

func TestServersComeAndGoWithinTheTTL(t *testing.T) {
	t.Parallel()
	names := serveNames(t)
	names.set("app.test.", host(1, "10.0.0.1"))
	d := newDiscoverer(t, newSegment(t), settings(appAt(names.address)))
	run(t, d)
	awaitServers(t, d, "10.0.0.1:80", time.Second)
	for _, step := range []struct {
		records []dnsmessage.Resource
		want    string
	}{
		{hosts(1, 3), "10.0.0.1:80 10.0.1.1:80 10.0.2.1:80"},
		{hosts(1, 2), "10.0.0.1:80 10.0.1.1:80"},
		{hosts(2, 1), "10.0.0.1:80"},
		{hosts(2, 2), "10.0.0.1:80 10.0.1.1:80"},
	} {
		ttl := time.Until(d.Status()[0].Next)
		names.set("app.test.", step.records...)
		took := awaitServers(t, d, step.want, 10*time.Second)
		t.Logf("%s: after %v", step.want, took)
		if took > ttl+time.Second {
			t.Errorf("in use %v after the change; want within the rest of the TTL, %v, and a second", took, ttl)
		}
	}
}

// A dead server, a name that is gone: the last good answer serves on, and Status,
// log and counter say so.
func TestLastAnswerServesOn(t *testing.T) {
	t.Parallel()
	names := serveNames(t)
	names.set("app.test.", host(1, "10.0.0.1"))
	s := settings(appAt(names.address))
	var text log
	s.Log, s.Errors = text.logger(), new(atomic.Uint64)
	changes := 0
	s.Changed = func([]lb.Spec) { changes++ }
	d := newDiscoverer(t, newSegment(t), s)
	stop := run(t, d)
	status := func() Status { return d.Status()[0] }
	awaitServers(t, d, "10.0.0.1:80", time.Second)

	for _, c := range []struct {
		name        string
		fails, mend func()
		fault       string
	}{
		{"dead", func() { names.stop() }, func() { names.start(t, names.address) }, "resolver " + names.address + ": connection refused"},
		{"gone", func() { names.remove("app.test.") }, func() { names.set("app.test.", host(1, "10.0.0.1")) }, "no such name"},
	} {
		errors := s.Errors.Load()
		c.fails()
		await(t, "in the status: "+c.fault, 5*time.Second, func() bool { return status().Error == c.fault })
		answered := status().Answered
		await(t, "asked again", 5*time.Second, func() bool { return s.Errors.Load() >= errors+2 })
		if got := status(); len(got.Servers) != 1 || got.Answered.Sub(answered).Abs() > 10*time.Millisecond || time.Until(got.Next) > maxBackOff {
			t.Errorf("%s: got %+v; want the answer of %v, to be asked within %v", c.name, got, answered, maxBackOff)
		}
		c.mend()
		await(t, "well again", maxBackOff+time.Second, func() bool { return status().Error == "" })
		if got := addresses(d.Servers()); got != "10.0.0.1:80" {
			t.Errorf("%s: servers are %q; want the last ones", c.name, got)
		}
		if got := text.count(c.fault + "; servers in use: 1"); got != 1 {
			t.Errorf("%s: logged %d times; want once", c.name, got)
		}
	}
	if got := text.count("is well again"); got != 2 {
		t.Errorf("logged %d times that it is well again; want 2", got)
	}
	if stop(); changes != 1 {
		t.Errorf("Changed was called %d times; want once, for the first answer", changes)
	}
}

// An answer outlives the Discoverer, and is asked for anew when its TTL is over or
// others are to be asked.
func TestAnswerOutlivesReload(t *testing.T) {
	names, others := serveNames(t), serveNames(t)
	names.set("app.test.", host(3600, "10.0.0.1"))
	others.set("app.test.", host(3600, "10.0.0.2"))
	seg := newSegment(t)
	d := newDiscoverer(t, seg, settings(appAt(names.address)))
	stop := run(t, d)
	awaitServers(t, d, "10.0.0.1:80", time.Second)
	stop()

	d = newDiscoverer(t, seg, settings(appAt(names.address)))
	if got := addresses(d.Servers()); got != "10.0.0.1:80" {
		t.Errorf("after a reload: got %q; want what was known", got)
	}
	stop = run(t, d)
	<-time.After(3 * turn) // in which nothing is to happen
	stop()
	if got := len(names.questions(dnsmessage.TypeA)); got != 1 {
		t.Errorf("%d questions; want one in an hour", got)
	}

	d = newDiscoverer(t, seg, settings(appAt(others.address)))
	if got := addresses(d.Servers()); got != "10.0.0.1:80" {
		t.Errorf("with another resolver: got %q at first; want what was known", got)
	}
	run(t, d)
	awaitServers(t, d, "10.0.0.2:80", time.Second)
}

// A source is not asked again while it has not answered, and a query under way
// does not hold Run up.
func TestOneQueryAtATime(t *testing.T) {
	t.Parallel()
	silent := serveNames(t)
	silent.lie(func(string, dnsmessage.Message, []byte) [][]byte { return nil })
	s := settings(appAt(silent.address))
	s.Errors = new(atomic.Uint64)
	d := newDiscoverer(t, newSegment(t), s)
	stop := run(t, d)
	asked := func() int { return len(silent.questions(dnsmessage.TypeA)) }
	await(t, "asked", 5*time.Second, func() bool { return asked() > 0 })
	<-time.After(patience[0] / 2) // in which nothing is to happen
	began := time.Now()
	stop()
	if took := time.Since(began); took > 200*time.Millisecond {
		t.Errorf("Run ended after %v; want at once", took)
	}
	if got := asked(); got != 1 {
		t.Errorf("asked %d times while it had not answered; want once", got)
	}
	if got := d.Status()[0]; got.Error != "" || s.Errors.Load() != 0 {
		t.Errorf("cut off: status is %+v, %d errors; want none", got, s.Errors.Load())
	}
}

// Two Discoverers of one slot, as while a reload is under way, share an answer.
func TestDiscoverersMayOverlap(t *testing.T) {
	t.Parallel()
	names := serveNames(t)
	names.set("app.test.", host(1, "10.0.0.1"))
	seg := newSegment(t)
	a := newDiscoverer(t, seg, settings(appAt(names.address)))
	b := newDiscoverer(t, seg, settings(appAt(names.address)))
	run(t, a)
	run(t, b)
	for _, want := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
		names.set("app.test.", host(1, want))
		awaitServers(t, a, want+":80", 3*time.Second)
		awaitServers(t, b, want+":80", 3*time.Second)
	}
}

func TestServersOfAllSources(t *testing.T) {
	names := serveNames(t)
	names.set("app.test.", host(60, "10.0.0.1"), host(60, "10.0.0.2"))
	path := filepath.Join(t.TempDir(), "servers")
	replace(t, path, "10.0.0.2:80 weight=9\n10.0.0.3:80\n10.0.0.4:80 backup\n")
	s := settings(File{path}, appAt(names.address))
	s.Static = []lb.Spec{{Address: "unix:/run/app", Weight: 2}, {Address: "10.0.0.3:80", Weight: 5}}
	d := newDiscoverer(t, newSegment(t), s)
	if got := addresses(d.Servers()); got != "10.0.0.3:80 unix:/run/app" {
		t.Errorf("at first: got %q; want the static ones", got)
	}
	run(t, d)
	awaitServers(t, d, "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80 unix:/run/app", 2*time.Second)
	for _, want := range []lb.Spec{
		{Address: "10.0.0.3:80", Weight: 5}, // as the configuration has it
		{Address: "10.0.0.2:80", Weight: 9}, // as the first source has it
		{Address: "10.0.0.4:80", Weight: 1, Backup: true},
	} {
		for _, got := range d.Servers() {
			if got.Address == want.Address && got != want {
				t.Errorf("got %+v; want %+v", got, want)
			}
		}
	}
	status := d.Status()
	if len(status) != 2 || status[0].Name != "file "+path || status[1].Name != "dns app.test:80" ||
		len(status[0].Servers) != 3 || len(status[1].Servers) != 2 {
		t.Errorf("status is %+v", status)
	}
}

func TestNewRefuses(t *testing.T) {
	seg := newSegment(t)
	for _, c := range []struct {
		sources []Source
		want    string
	}{
		{[]Source{File{}}, "upstream one: discover file : it has no path"},
		{[]Source{appAt(), appAt("10.0.0.1:53")}, "upstream one: discover dns app.test:80: it is there twice"},
		{[]Source{DNS{Name: "app.test"}}, "upstream one: discover dns app.test:0: port 0 is not from 1 to 65535"},
	} {
		if _, err := New(seg, settings(c.sources...)); err == nil || err.Error() != c.want {
			t.Errorf("got error %v; want %s", err, c.want)
		}
	}
}

func TestBackOff(t *testing.T) {
	failure := reply{err: errMalformed}
	rec := record{}
	for i, want := range []time.Duration{500, 1000, 2000, 4000, 5000, 5000} {
		if rec = rec.after(failure, 0); time.Duration(rec.next) != want*time.Millisecond || rec.failures != i+1 {
			t.Errorf("failure %d: next after %v; want %v", rec.failures, time.Duration(rec.next), want*time.Millisecond)
		}
	}
	failure.ttl = 3 * time.Second
	if rec = rec.after(failure, 0); time.Duration(rec.next) != failure.ttl {
		t.Errorf("half an answer: next after %v; want its TTL, %v", time.Duration(rec.next), failure.ttl)
	}
	rec = rec.after(reply{servers: []server{server4(1, 80)}, ttl: time.Minute, warning: strings.Repeat("é", maxFault)}, 5)
	if rec.failures != 0 || rec.next != 5+int64(time.Minute) || rec.answered != 5 || len(rec.fault) > maxFault || strings.ContainsRune(rec.fault, '\ufffd') {
		t.Errorf("after an answer: got %+v", rec)
	}
}
