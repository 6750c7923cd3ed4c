package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
)

// answer is how a scripted worker answers an operator: its pid stands for the name
// of an upstream. The server asked about is what it is told to do wrong.
func (s *script) answer(m handoff.Message) error {
	var body handoff.AskBody
	if err := m.Decode(&body); err != nil {
		return err
	}
	tell := handoff.TellBody{Number: body.Number}
	text, err := json.Marshal(handoff.Servers{Upstreams: []handoff.Upstream{{Name: fmt.Sprint(os.Getpid())}}})
	if err != nil {
		return err
	}
	liar := told(s.config, "liar") && s.slot == 0
	switch q := body.Question; {
	case q.Server == "refuse":
		tell.Refusal = handoff.Unknown("upstream %q has no server %q", q.Upstream, q.Server)
		s.send(handoff.Tell, tell)
		return nil
	case q.Server == "silence" || told(s.config, "silent"):
		return nil
	case q.Server == "garbage" || liar:
		text = []byte("{")
	case q.Server == "flood":
		text = make([]byte, handoff.MaxAnswer+1)
	case q.Server == "stranger":
		tell.Number++
	case q.Server == "bare":
		s.send(handoff.Tell, tell)
		return nil
	case q.Server == "unsealed":
		f, err := os.CreateTemp("", "unsealed")
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		defer f.Close()
		return s.conn.Send(handoff.Tell, s.generation, tell, f)
	}
	f, err := handoff.Seal("answer", text)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.conn.Send(handoff.Tell, s.generation, tell, f)
}

// drains asks for the drain of a server and returns how that failed.
func (s *stage) drains(server string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := s.client().ChangeServer(ctx, handoff.DrainServer, "one", server, 0)
	return err
}

// asked asks for the servers and returns who answered.
func (s *stage) asked() (pid string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	servers, err := s.client().Servers(ctx)
	if err != nil {
		return "", err
	}
	return servers.Upstreams[0].Name, nil
}

func TestAWorkerAnswersQuestions(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	got, err := s.asked()
	if err != nil || !slices.Contains(s.pids(), atoi(got)) {
		t.Errorf("answer: got %q, %v; want one of %v", got, err, s.pids())
	}
	err = s.drains("refuse")
	refusal, ok := errors.AsType[*handoff.Refusal](err)
	if !ok || !refusal.Unknown || refusal.Text != `upstream "one" has no server "refuse"` {
		t.Errorf("refusal: got %v; want the worker's", err)
	}
	if err := s.drains(strings.Repeat("\x01", 12<<10/3)); err != nil {
		t.Errorf("a long name: got %v; want an answer", err)
	}
	if err := s.drains(strings.Repeat("<", 10<<10/3)); err != nil {
		t.Errorf("another: got %v; want an answer", err)
	}
}

func atoi(s string) int {
	var n int
	_, _ = fmt.Sscan(s, &n)
	return n
}

// Whatever workers say instead of an answer, it takes a bounded time, and nothing
// else comes of it.
func TestWorkersThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	pids := s.pids()
	for server, want := range map[string]string{
		"silence":  "did not answer within 1s",
		"stranger": "did not answer within 1s",
		"garbage":  "not JSON",
		"flood":    "at most 8388608 allowed",
		"bare":     "0 descriptors",
		"unsealed": "unseal",
	} {
		begun := time.Now()
		if err := s.drains(server); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", server, err, want)
		}
		if took := time.Since(begun); took > askTries*askLimit+5*time.Second {
			t.Errorf("%s: it took %v; want little more than %v", server, took, askTries*askLimit)
		}
	}
	if _, err := s.asked(); err != nil {
		t.Errorf("after those: got %v; want an answer", err)
	}
	if got := s.pids(); !slices.Equal(got, pids) {
		t.Errorf("workers: got %v; want %v as before", got, pids)
	}
}

// A worker that is stopped costs one second once: the next question goes to
// another at once.
func TestAnotherWorkerAnswersForOneThatIsStopped(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "a"})
	pids := s.pids()
	s.halt(pids[0])
	t.Cleanup(func() { _ = syscall.Kill(pids[0], syscall.SIGCONT) })
	for i := range 4 {
		if got, err := s.asked(); err != nil || atoi(got) != pids[1] {
			t.Fatalf("question %d: got %q, %v; want worker %d", i, got, err, pids[1])
		}
	}
	if n := strings.Count(s.log.String(), "question not answered"); n > 1 {
		t.Errorf("questions that were not answered: got %d; want 1 at most", n)
	}
}

// A flood of questions to workers that all hang fills no socket and kills nobody.
func TestWorkersThatAllHangAreNotAskedForEver(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "silent", workers: 1})
	pids := s.pids()
	failed := make(chan error)
	const questions = 20 * askAhead
	for range questions {
		go func() {
			_, err := s.asked()
			failed <- err
		}()
	}
	turnedAway := 0
	for range questions {
		switch err := <-failed; {
		case err == nil:
			t.Error("got an answer; want none")
		case strings.Contains(err.Error(), "no worker answers"):
			turnedAway++
		}
	}
	if turnedAway < questions-2*askAhead {
		t.Errorf("turned away at once: got %d of %d; want all but %d or so", turnedAway, questions, askAhead)
	}
	if got := s.pids(); !slices.Equal(got, pids) {
		t.Errorf("workers: got %v; want %v as before", got, pids)
	}
}

// An answer of one worker that makes no sense is not the last word.
func TestAnotherWorkerAnswersForALiar(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(play{host: "liar"}) // the worker in slot 0
	if got, err := s.asked(); err != nil || atoi(got) != s.pids()[1] {
		t.Errorf("answer: got %q, %v; want that of the other of %v", got, err, s.pids())
	}
	if !strings.Contains(s.log.String(), "not JSON") {
		t.Error("log: want that the first answer made no sense")
	}
}

func TestRespondent(t *testing.T) {
	of := func(slot int, generation uint32, in state, p *process) *worker {
		return &worker{slot: slot, generation: generation, state: in, process: p}
	}
	able := func(unanswered int) *process { return &process{answers: true, unanswered: unanswered} }
	dumb := new(process)
	tried := able(0)
	tests := map[string]struct {
		workers []*worker
		slot    int // -1: none
		err     string
	}{
		"the one that owes least":      {[]*worker{of(0, 2, serving, able(2)), of(1, 2, committing, able(1))}, 1, ""},
		"one that is in force":         {[]*worker{of(0, 1, serving, able(0)), of(1, 2, serving, able(3))}, 1, ""},
		"one that is not, at least":    {[]*worker{of(0, 1, serving, able(0)), of(1, 2, serving, able(askAhead))}, 0, ""},
		"none that starts or drains":   {[]*worker{of(0, 2, opening, able(0)), of(1, 2, draining, able(0)), of(2, 2, gone, nil)}, -1, "no worker serves"},
		"none that was asked":          {[]*worker{of(0, 2, serving, tried)}, -1, "no worker answers"},
		"none that owes many":          {[]*worker{of(0, 2, serving, able(askAhead))}, -1, "no worker answers"},
		"none of an earlier build":     {[]*worker{of(0, 2, serving, dumb)}, -1, "'proxyd roll'"},
		"one among those of such":      {[]*worker{of(0, 2, serving, dumb), of(1, 2, serving, able(0))}, 1, ""},
		"none where there are no more": {nil, -1, "no worker serves"},
	}
	for name, tt := range tests {
		s := &supervisor{workers: tt.workers, generation: 2}
		w, err := s.respondent([]*process{tried})
		switch {
		case tt.slot >= 0 && (err != nil || w.slot != tt.slot):
			t.Errorf("%s: got %+v, %v; want slot %d", name, w, err, tt.slot)
		case tt.slot < 0 && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: got %+v, %v; want %q", name, w, err, tt.err)
		}
	}
	if _, err := (&supervisor{stopping: true}).respondent(nil); !errors.Is(err, errStopping) {
		t.Errorf("at the end: got %v; want %v", err, errStopping)
	}
}
