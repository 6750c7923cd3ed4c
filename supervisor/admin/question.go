package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/proxyd/proxyd/internal/handoff"
)

// The parameters of a question that are no part of its path.
const (
	paramUpstream = "upstream"
	paramServer   = "server"
	paramWeight   = "weight"
	paramKey      = "key"
)

// routeQuestions serves what workers answer.
func routeQuestions(mux *http.ServeMux, ask func(context.Context, handoff.Question) (json.RawMessage, error)) {
	handle := func(pattern string, question func(*http.Request) (handoff.Question, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			q, err := question(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			text, err := ask(r.Context(), q)
			if refusal, ok := errors.AsType[*handoff.Refusal](err); ok {
				status := http.StatusUnprocessableEntity
				if refusal.Unknown {
					status = http.StatusNotFound
				}
				http.Error(w, refusal.Text, status)
				return
			}
			if err != nil {
				answer(w, 0, nil, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(text) // as it is: a worker may have nested it so that indenting would fill the memory
		})
	}
	handle("GET /v1/servers", func(*http.Request) (handoff.Question, error) {
		return handoff.Question{Verb: handoff.ListServers}, nil
	})
	handle("POST /v1/servers/{verb}", changeOf)
	handle("GET /v1/limits", func(*http.Request) (handoff.Question, error) {
		return handoff.Question{Verb: handoff.ListLimits}, nil
	})
	handle("GET /v1/limits/{name}", func(r *http.Request) (handoff.Question, error) {
		return handoff.Question{Verb: handoff.ShowLimit, Limit: r.PathValue("name"), Key: keyOf(r)}, nil
	})
	handle("POST /v1/limits/{name}/reset", func(r *http.Request) (handoff.Question, error) {
		q := handoff.Question{Verb: handoff.ResetLimit, Limit: r.PathValue("name"), Key: keyOf(r)}
		if q.Key == nil {
			return q, errors.New("reset: which key? ?key=KEY says it")
		}
		return q, nil
	})
}

// changeOf is the change of a server that r asks for.
func changeOf(r *http.Request) (handoff.Question, error) {
	v := r.URL.Query()
	q := handoff.Question{
		Verb:     handoff.Verb(r.PathValue("verb")),
		Upstream: v.Get(paramUpstream),
		Server:   v.Get(paramServer),
	}
	switch q.Verb {
	case handoff.EnableServer, handoff.DrainServer, handoff.DisableServer:
	case handoff.WeighServer:
		var err error
		if q.Weight, err = strconv.Atoi(v.Get(paramWeight)); err != nil || q.Weight < 0 {
			return q, fmt.Errorf("weight %q: want a number, 0 for the configuration's", v.Get(paramWeight))
		}
	default:
		return q, fmt.Errorf("%q: want %s, %s, %s or %s", q.Verb,
			handoff.EnableServer, handoff.DrainServer, handoff.DisableServer, handoff.WeighServer)
	}
	return q, nil
}

// keyOf is the key that r names, nil if it names none.
func keyOf(r *http.Request) []byte {
	v := r.URL.Query()
	if !v.Has(paramKey) {
		return nil
	}
	return []byte(v.Get(paramKey))
}

// Servers asks for all servers of all upstreams. Its error, as that of all the
// methods that follow, is a *handoff.Refusal if it was asked for what cannot be.
func (c *Client) Servers(ctx context.Context) (handoff.Servers, error) {
	return fetch[handoff.Servers](ctx, c, http.MethodGet, "/v1/servers")
}

// ChangeServer enables, drains, disables or weighs a server. A weight is of use
// for that only; 0 is the configuration's. It returns the server as it is then.
func (c *Client) ChangeServer(ctx context.Context, verb handoff.Verb, upstream, server string, weight int) (handoff.Server, error) {
	v := url.Values{paramUpstream: {upstream}, paramServer: {server}}
	if verb == handoff.WeighServer {
		v.Set(paramWeight, strconv.Itoa(weight))
	}
	return fetch[handoff.Server](ctx, c, http.MethodPost, "/v1/servers/"+string(verb)+"?"+v.Encode())
}

// Limits asks for all limits.
func (c *Client) Limits(ctx context.Context) (handoff.Limits, error) {
	return fetch[handoff.Limits](ctx, c, http.MethodGet, "/v1/limits")
}

// Limit asks for one limit with more of its hottest keys and, unless key is nil,
// what that has used.
func (c *Client) Limit(ctx context.Context, name string, key []byte) (handoff.Limit, error) {
	return fetch[handoff.Limit](ctx, c, http.MethodGet, limitPath(name)+keyQuery(key))
}

// ResetLimit forgets what key has used of a limit.
func (c *Client) ResetLimit(ctx context.Context, name string, key []byte) (handoff.Limit, error) {
	return fetch[handoff.Limit](ctx, c, http.MethodPost, limitPath(name)+"/reset"+keyQuery(key))
}

// limitPath escapes dots, too: a name is no way up.
func limitPath(name string) string {
	return "/v1/limits/" + strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
}

func fetch[T any](ctx context.Context, c *Client, method, path string) (v T, err error) {
	err = c.call(ctx, method, path, &v)
	return v, err
}

func keyQuery(key []byte) string {
	if key == nil {
		return ""
	}
	return "?" + url.Values{paramKey: {string(key)}}.Encode()
}

// complaint is the error of an answer that is none: who asked has made a mistake,
// or the supervisor is of a build that does not know the question.
func complaint(status int, text string) error {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return &handoff.Refusal{Text: text}
	case http.StatusNotFound:
		if text == "404 page not found" {
			return errors.New("the proxy that runs is of an earlier version and cannot tell; 'proxyd upgrade' replaces it")
		}
		return &handoff.Refusal{Unknown: true, Text: text}
	}
	return errors.New(text)
}
