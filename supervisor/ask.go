package supervisor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
)

// Operators' questions go to one worker that serves. One that does not answer in
// time, or makes no sense, costs no more than the time, and another is asked.
const (
	askLimit = time.Second // for a worker to answer
	askTries = 3           // workers that are asked at most
	askAhead = 8           // questions that a worker may have left unanswered and be asked
)

// An inquiry is a question to process that is not answered yet.
type inquiry struct {
	process *process
	answer  chan<- handoff.Message // has room for it
}

// ask is for the admin socket: it returns what a worker answers, in JSON. The
// error is a *handoff.Refusal if it is the question's fault.
func (s *supervisor) ask(ctx context.Context, q handoff.Question) (json.RawMessage, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	if len(text) > handoff.MaxBody/2 {
		return nil, &handoff.Refusal{Text: "the question is too long"}
	}
	var tried []*process
	var why error
	for range askTries {
		p, answer, err := s.askAnother(ctx, q, tried)
		if _, refused := errors.AsType[*handoff.Refusal](err); err == nil || refused {
			return answer, err
		}
		if p == nil {
			return nil, cmp.Or(why, err)
		}
		tried, why = append(tried, p), err
		s.log.Warn("question not answered", "pid", p.pid, "error", err)
	}
	return nil, why
}

// askAnother asks a worker whose process is not among those that were tried. It
// returns no process if there is none to ask, or no time.
func (s *supervisor) askAnother(ctx context.Context, q handoff.Question, tried []*process) (*process, json.RawMessage, error) {
	answer := make(chan handoff.Message, 1)
	asked := make(chan *process, 1)
	number := rand.Uint64() // what a predecessor of ours has asked must not be taken for it
	var none error
	if !s.post(func() {
		w, err := s.respondent(tried)
		if err != nil {
			none = err
			asked <- nil
			return
		}
		p := w.process
		p.unanswered++
		s.inquiries[number] = inquiry{p, answer}
		s.send(w, handoff.Ask, handoff.AskBody{Number: number, Before: shm.Now() + int64(askLimit), Question: q})
		asked <- p
	}) {
		return nil, nil, errStopping
	}
	var p *process
	select {
	case p = <-asked:
	case <-s.done:
		return nil, nil, errStopping
	}
	if p == nil {
		return nil, nil, none
	}
	timer := time.NewTimer(askLimit)
	defer timer.Stop()
	select {
	case m := <-answer:
		text, err := answerIn(m)
		return p, text, err
	case <-timer.C:
		s.forget(number, answer)
		return p, nil, fmt.Errorf("worker %d did not answer within %v", p.pid, askLimit)
	case <-ctx.Done():
		s.forget(number, answer)
		return nil, nil, ctx.Err()
	case <-s.done:
		return nil, nil, errStopping
	}
}

// forget drops the question of that number and the answer that may just have come.
func (s *supervisor) forget(number uint64, answer <-chan handoff.Message) {
	s.post(func() {
		delete(s.inquiries, number)
		select {
		case m := <-answer:
			m.CloseFiles()
		default:
		}
	})
}

// respondent is the worker to ask next: the one that owes the fewest answers.
func (s *supervisor) respondent(tried []*process) (*worker, error) {
	var able []*worker
	err := errors.New("no worker serves at the moment")
	for _, w := range s.workers {
		switch {
		case !w.state.serves():
		case !w.process.answers:
			err = errors.New("the workers are of an earlier program that answers no questions; 'proxyd roll' replaces them")
		case slices.Contains(tried, w.process) || w.process.unanswered >= askAhead:
			err = errors.New("no worker answers")
		default:
			able = append(able, w)
		}
	}
	if s.stopping {
		return nil, errStopping
	}
	if able == nil {
		return nil, err
	}
	owes := func(w *worker) int {
		if !w.current(s) { // it may have another configuration: the last to ask
			return askAhead + w.process.unanswered
		}
		return w.process.unanswered
	}
	return slices.MinFunc(able, func(a, b *worker) int { return owes(a) - owes(b) }), nil
}

// told takes an answer, or throws it away if nobody waits for it any more.
func (s *supervisor) told(p *process, m handoff.Message) {
	p.unanswered = max(0, p.unanswered-1)
	var body handoff.TellBody
	err := m.Decode(&body)
	q, ok := s.inquiries[body.Number]
	if err != nil || !ok || q.process != p {
		m.CloseFiles()
		return
	}
	delete(s.inquiries, body.Number)
	q.answer <- m
}

// answerIn reads what came with Tell; a worker may say anything.
func answerIn(m handoff.Message) (json.RawMessage, error) {
	defer m.CloseFiles()
	var body handoff.TellBody
	if err := m.Decode(&body); err != nil {
		return nil, err
	}
	if body.Refusal != nil {
		return nil, body.Refusal
	}
	if len(m.Files) != 1 {
		return nil, fmt.Errorf("%v with %d descriptors: want 1", m.Type, len(m.Files))
	}
	text, err := handoff.UnsealAnswer(m.Files[0])
	if err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		return nil, fmt.Errorf("%v: the answer is not JSON", m.Type)
	}
	return text, nil
}
