package worker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
)

// An operator asks a worker as the supervisor does.
type operator struct {
	t       *testing.T
	control *control
	channel *handoff.Conn // the supervisor's end
}

func newOperator(t *testing.T, p *proxy) *operator {
	t.Helper()
	supervisor, file, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	channel, err := handoff.NewConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { supervisor.Close(); channel.Close() })
	c := &control{w: p.worker, seg: p.seg, current: p.current}
	c.channel.Store(channel)
	return &operator{t, c, supervisor}
}

// ask asks q before a moment of the segment's time, and decodes the answer into v.
func (o *operator) ask(before int64, q handoff.Question, v any) *handoff.Refusal {
	o.t.Helper()
	const number = 1<<63 + 7
	if err := o.channel.Send(handoff.Ask, 1, handoff.AskBody{Number: number, Before: before, Question: q}); err != nil {
		o.t.Fatal(err)
	}
	asked, err := o.control.channel.Load().Receive()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := o.control.handle(asked); err != nil {
		o.t.Fatal(err)
	}
	m, err := o.channel.ReceiveBefore(time.Now().Add(10 * time.Second))
	if err != nil {
		o.t.Fatal(err)
	}
	defer m.CloseFiles()
	var body handoff.TellBody
	if err := m.Decode(&body); err != nil || m.Type != handoff.Tell || body.Number != number {
		o.t.Fatalf("answer: got %v %+v, %v; want TELL of number %d", m.Type, body, err, uint64(number))
	}
	if body.Refusal != nil {
		return body.Refusal
	}
	if len(m.Files) != 1 {
		o.t.Fatalf("answer: got %d descriptors; want 1", len(m.Files))
	}
	text, err := handoff.UnsealAnswer(m.Files[0])
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return nil
}

// must is ask of what there is, in time.
func (o *operator) must(q handoff.Question, v any) {
	o.t.Helper()
	if r := o.ask(shm.Now()+int64(time.Minute), q, v); r != nil {
		o.t.Fatalf("%+v: got %q; want an answer", q, r.Text)
	}
}

func TestAnOperatorChangesServers(t *testing.T) {
	one := startOrigin(t, answers("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"))
	two := startOrigin(t, answers("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"))
	p := startProxy(t, `upstream = "up"`, upstreamOf(one, two))
	o := newOperator(t, p)
	reached := func() (n map[string]int) {
		n = make(map[string]int)
		for range 20 {
			got := p.ask(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			n[got[strings.LastIndexByte(got, '\n')+1:]]++
		}
		return n
	}
	steps := []struct {
		q        handoff.Question
		want     handoff.Server
		one, two bool // get requests
	}{
		{handoff.Question{Verb: handoff.DrainServer}, handoff.Server{Weight: 1, Admin: "draining"}, false, true},
		{handoff.Question{Verb: handoff.DrainServer}, handoff.Server{Weight: 1, Admin: "draining"}, false, true},
		{handoff.Question{Verb: handoff.EnableServer}, handoff.Server{Weight: 1}, true, true},
		{handoff.Question{Verb: handoff.DisableServer}, handoff.Server{Weight: 1, Admin: "disabled"}, false, true},
		{handoff.Question{Verb: handoff.WeighServer, Weight: 65535}, handoff.Server{Weight: 65535, Admin: "disabled"}, false, true},
		{handoff.Question{Verb: handoff.EnableServer}, handoff.Server{Weight: 65535}, true, false},
		{handoff.Question{Verb: handoff.WeighServer}, handoff.Server{Weight: 1}, true, true},
	}
	for i, s := range steps {
		s.q.Upstream, s.q.Server = "up", one
		s.want.Address, s.want.Configured, s.want.State, s.want.Source = one, 1, "up", fromConfig
		var got handoff.Server
		if o.must(s.q, &got); got != s.want {
			t.Errorf("step %d: got %+v; want %+v", i, got, s.want)
		}
		if n := reached(); n["one"] > 0 != s.one || n["two"] > 0 != s.two || n["one"]+n["two"] != 20 {
			t.Errorf("step %d: got requests %v; want some to one: %v, to two: %v", i, n, s.one, s.two)
		}
	}
	var all handoff.Servers
	o.must(handoff.Question{Verb: handoff.ListServers}, &all)
	if len(all.Upstreams) != 1 || all.Upstreams[0].Policy != "round_robin" || len(all.Upstreams[0].Servers) != 2 ||
		all.Upstreams[0].Servers[1].Address != two || all.Upstreams[0].Sources != nil {
		t.Errorf("servers: got %+v; want those of one upstream", all)
	}
	if !strings.Contains(p.log.String(), `msg="an operator has changed a server" upstream=up server=`+one+" what=drain admin=draining weight=1") {
		t.Errorf("log: got %s; want the changes", p.log)
	}
}

func TestAnOperatorLooksAtLimits(t *testing.T) {
	origin := startOrigin(t, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"hourly\", \"at_once\"]", upstreamOf(origin)+`
rate_limit "hourly" {
  key       = request.header["app"]
  rate      = "2/h"
  algorithm = "window"
  overrides = { vip = "5/h" }
}
concurrency_limit "at_once" {
  key = request.header["app"]
  max = 3
}`)
	o := newOperator(t, p)
	ask := func(app string) string {
		return p.ask(t, fmt.Sprintf("GET / HTTP/1.1\r\nHost: a\r\napp: %s\r\nConnection: close\r\n\r\n", app))[len("HTTP/1.1 "):][:3]
	}
	if got := ask("a") + ask("a") + ask("a") + ask("b"); got != "200200429200" {
		t.Fatalf("requests: got %s; want the third refused", got)
	}
	var all handoff.Limits
	o.must(handoff.Question{Verb: handoff.ListLimits}, &all)
	if len(all.Limits) != 2 {
		t.Fatalf("limits: got %+v; want two", all)
	}
	hourly, atOnce := all.Limits[0], all.Limits[1]
	if hourly.Name != "hourly" || hourly.Max != 2 || hourly.Window != time.Hour || hourly.Algorithm != "window" || hourly.Overrides != 1 ||
		hourly.Admitted != 3 || hourly.Refused != 1 || len(hourly.Hottest) != 2 || hourly.Hottest[0] != (handoff.HotKey{Key: "a", Count: 2, Refused: 1}) {
		t.Errorf("rate limit: got %+v; want 3 of hourly admitted, 1 refused, and a its hottest key", hourly)
	}
	if atOnce.Name != "at_once" || atOnce.Max != 3 || atOnce.Window != 0 || atOnce.Algorithm != "concurrency" || atOnce.Refused != 0 {
		t.Errorf("concurrency limit: got %+v; want at_once with none refused", atOnce)
	}
	use := func(q handoff.Question) handoff.Use {
		t.Helper()
		var l handoff.Limit
		if o.must(q, &l); l.Use == nil {
			t.Fatalf("%+v: got no use of the key", q)
		}
		return *l.Use
	}
	show := handoff.Question{Verb: handoff.ShowLimit, Limit: "hourly", Key: []byte("a")}
	for range 3 { // and counts nothing
		if got := use(show); got.Key != "a" || got.Max != 2 || got.Remaining != 0 || got.Reset <= 0 {
			t.Errorf("use of a: got %+v; want 0 of 2 left", got)
		}
	}
	show.Key = []byte("vip")
	if got := use(show); got.Max != 5 || got.Remaining != 5 {
		t.Errorf("use of vip: got %+v; want its own 5 left", got)
	}
	if got := use(handoff.Question{Verb: handoff.ResetLimit, Limit: "hourly", Key: []byte("a")}); got.Remaining != 2 {
		t.Errorf("use of a after the reset: got %+v; want 2 left", got)
	}
	if got := ask("a"); got != "200" {
		t.Errorf("a request after the reset: got %s; want 200", got)
	}
	if got := use(handoff.Question{Verb: handoff.ShowLimit, Limit: "at_once", Key: []byte("a")}); got.Remaining != 3 {
		t.Errorf("use of at_once: got %+v; want 3 left", got)
	}
}

func TestQuestionsThatAreRefused(t *testing.T) {
	origin := startOrigin(t, silent)
	p := startProxy(t, "upstream = \"up\"\nrate_limit = [\"at_once\"]", upstreamOf(origin)+"concurrency_limit \"at_once\" {\n key = request.host\n max = 3\n}")
	o := newOperator(t, p)
	tests := []struct {
		q       handoff.Question
		unknown bool
		want    string
	}{
		{handoff.Question{Verb: handoff.DrainServer, Upstream: "down", Server: origin}, true, `there is no upstream "down"`},
		{handoff.Question{Verb: handoff.DrainServer, Upstream: "up", Server: "x"}, true, `upstream "up" has no server "x"`},
		{handoff.Question{Verb: handoff.WeighServer, Upstream: "up", Server: origin, Weight: 65536}, false, "weight 65536"},
		{handoff.Question{Verb: handoff.WeighServer, Upstream: "up", Server: origin, Weight: -1}, false, "weight -1"},
		{handoff.Question{Verb: handoff.ShowLimit, Limit: "x"}, true, `there is no limit "x"`},
		{handoff.Question{Verb: handoff.ResetLimit, Limit: "at_once", Key: []byte("a")}, false, "nothing to reset"},
		{handoff.Question{Verb: "dance"}, false, `"dance" is no question`},
		{handoff.Question{}, false, "is no question"},
	}
	for _, tt := range tests {
		r := o.ask(shm.Now()+int64(time.Minute), tt.q, nil)
		if r == nil || r.Unknown != tt.unknown || !strings.Contains(r.Text, tt.want) {
			t.Errorf("%+v: got %+v; want %q", tt.q, r, tt.want)
		}
	}
}

// What nobody waits for any more may have been done by another worker, and undone
// by the operator since.
func TestAChangeThatComesTooLateIsNotMade(t *testing.T) {
	origin := startOrigin(t, silent)
	p := startProxy(t, `upstream = "up"`, upstreamOf(origin))
	o := newOperator(t, p)
	q := handoff.Question{Verb: handoff.DrainServer, Upstream: "up", Server: origin}
	if r := o.ask(shm.Now()-1, q, nil); r == nil {
		t.Error("a late question: got an answer; want none")
	}
	if got := p.current.upstreams[0].pool.Servers()[0].Info().Admin; got != "" {
		t.Errorf("the server: got %q; want it as it was", got)
	}
}
