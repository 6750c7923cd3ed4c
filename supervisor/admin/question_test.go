package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
)

// asks serves what answer says, and returns a client and the last question.
func asks(t *testing.T, answer func() (json.RawMessage, error)) (*Client, *handoff.Question) {
	t.Helper()
	last := new(handoff.Question)
	return dialed(t, serve(t, Handlers{
		Ask: func(_ context.Context, q handoff.Question) (json.RawMessage, error) {
			*last = q
			return answer()
		},
	})), last
}

func TestQuestionsArriveAsTheyWereAsked(t *testing.T) {
	c, last := asks(t, func() (json.RawMessage, error) { return json.RawMessage("{}"), nil })
	ctx := context.Background()
	const name = "a/b?c=d&e%20 \xff<"
	change := func(v handoff.Verb, weight int) func() error {
		return func() error { _, err := c.ChangeServer(ctx, v, name, "unix:/run/x?y", weight); return err }
	}
	server := handoff.Question{Upstream: name, Server: "unix:/run/x?y"}
	with := func(q handoff.Question, v handoff.Verb, weight int) handoff.Question {
		q.Verb, q.Weight = v, weight
		return q
	}
	tests := []struct {
		ask  func() error
		want handoff.Question
	}{
		{func() error { _, err := c.Servers(ctx); return err }, handoff.Question{Verb: handoff.ListServers}},
		{change(handoff.EnableServer, 0), with(server, handoff.EnableServer, 0)},
		{change(handoff.DrainServer, 7), with(server, handoff.DrainServer, 0)},
		{change(handoff.DisableServer, 0), with(server, handoff.DisableServer, 0)},
		{change(handoff.WeighServer, 7), with(server, handoff.WeighServer, 7)},
		{change(handoff.WeighServer, 0), with(server, handoff.WeighServer, 0)},
		{func() error { _, err := c.Limits(ctx); return err }, handoff.Question{Verb: handoff.ListLimits}},
		{func() error { _, err := c.Limit(ctx, name, nil); return err }, handoff.Question{Verb: handoff.ShowLimit, Limit: name}},
		{func() error { _, err := c.Limit(ctx, "..", []byte{}); return err }, handoff.Question{Verb: handoff.ShowLimit, Limit: "..", Key: []byte{}}},
		{func() error { _, err := c.Limit(ctx, "l", []byte(name)); return err }, handoff.Question{Verb: handoff.ShowLimit, Limit: "l", Key: []byte(name)}},
		{func() error { _, err := c.ResetLimit(ctx, name, []byte{}); return err }, handoff.Question{Verb: handoff.ResetLimit, Limit: name, Key: []byte{}}},
	}
	for _, tt := range tests {
		if err := tt.ask(); err != nil || !reflect.DeepEqual(*last, tt.want) {
			t.Errorf("question: got %+v, %v; want %+v", *last, err, tt.want)
		}
	}
}

func TestAnswersAreThoseOfTheWorker(t *testing.T) {
	want := handoff.Servers{Worker: 3, Upstreams: []handoff.Upstream{{
		Name: "one", Policy: "p2c",
		Servers: []handoff.Server{{Address: "10.0.0.1:80", Weight: 2, State: "down", Reason: "<refused>", EjectedUntil: time.Unix(9, 5).UTC()}},
		Sources: []handoff.Source{{Name: "dns app.example:80", Answered: time.Unix(1, 0).UTC()}},
	}}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := asks(t, func() (json.RawMessage, error) { return text, nil })
	if got, err := c.Servers(context.Background()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("servers: got %+v, %v; want %+v", got, err, want)
	}
}

// A worker is not to be believed: an answer that would fill the memory if it were
// indented is passed on as it is.
func TestAnswersAreNotIndented(t *testing.T) {
	const depth = 9_000
	deep := strings.Repeat("[", depth) + strings.Repeat("1,", 500_000) + "1" + strings.Repeat("]", depth)
	c, _ := asks(t, func() (json.RawMessage, error) { return json.RawMessage(deep), nil })
	resp, err := c.http.Get("http://proxyd/v1/servers")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ContentLength > int64(len(deep)) {
		t.Errorf("length: got %d; want %d at most", resp.ContentLength, len(deep))
	}
}

func TestRefusalsAreToldFromFailures(t *testing.T) {
	tests := map[string]struct {
		err     error
		refused bool
		unknown bool
	}{
		"no such server":   {handoff.Unknown("upstream %q has no server %q", "one", "x"), true, true},
		"weight too large": {&handoff.Refusal{Text: "weight 70000: at most 65535"}, true, false},
		"no worker":        {errors.New("no worker serves"), false, false},
	}
	for name, tt := range tests {
		c, _ := asks(t, func() (json.RawMessage, error) { return nil, tt.err })
		_, err := c.Servers(context.Background())
		refusal, ok := errors.AsType[*handoff.Refusal](err)
		if err == nil || !strings.Contains(err.Error(), tt.err.Error()) || ok != tt.refused || ok && refusal.Unknown != tt.unknown {
			t.Errorf("%s: got %v, a refusal: %v; want %v", name, err, ok, tt.err)
		}
	}
}

func TestQuestionsThatMakeNoSense(t *testing.T) {
	c := dialed(t, serve(t, Handlers{})) // none is asked
	for _, path := range []string{
		"/v1/servers/destroy?upstream=one&server=x", "/v1/servers/weight?weight=much", "/v1/servers/weight?weight=-1", "/v1/servers/weight",
		"/v1/limits/l/reset",
	} {
		resp, err := c.http.Post("http://proxyd"+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("POST %s: got %d; want %d", path, resp.StatusCode, http.StatusBadRequest)
		}
	}
}

// The command may be newer than the proxy that runs.
func TestAnEarlierVersionDoesNotKnow(t *testing.T) {
	c := dialed(t, serve(t, Handlers{}))
	err := c.call(context.Background(), http.MethodGet, "/v1/later", nil)
	if err == nil || !strings.Contains(err.Error(), "earlier version") {
		t.Errorf("got %v; want that the proxy is of an earlier version", err)
	}
}
