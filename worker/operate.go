package worker

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/proxyd/proxyd/internal/handoff"
	"github.com/proxyd/proxyd/internal/shm"
	"github.com/proxyd/proxyd/lb"
	"github.com/proxyd/proxyd/limiter"
)

// How many of the hottest keys of a limit are told: of each, and of one.
const (
	fewKeys  = 3
	manyKeys = 20
)

// fromConfig is the source of servers that stand in the file.
const fromConfig = "config"

// tell answers a question of an operator. What is asked about is in the segment:
// one worker knows it for all, and what it changes holds for all. The loop has no
// part in it.
func (c *control) tell(m handoff.Message) error {
	m.CloseFiles()
	var ask handoff.AskBody
	if err := m.Decode(&ask); err != nil {
		return err
	}
	body := handoff.TellBody{Number: ask.Number}
	if shm.Now() > ask.Before {
		// Another worker may have done it long ago, and the operator something else since.
		body.Refusal = &handoff.Refusal{Text: "too late"}
		return c.send(handoff.Tell, body)
	}
	answer, err := c.answer(ask.Question)
	if refusal, ok := errors.AsType[*handoff.Refusal](err); ok {
		body.Refusal = refusal
		return c.send(handoff.Tell, body)
	}
	var text []byte
	if err == nil {
		text, err = json.Marshal(answer)
	}
	if err == nil && len(text) > handoff.MaxAnswer {
		err = fmt.Errorf("answer of %d bytes: at most %d allowed", len(text), handoff.MaxAnswer)
	}
	if err != nil {
		return errors.Join(err, c.send(handoff.Tell, body)) // nothing comes with it: another worker may do better
	}
	f, err := handoff.Seal("answer", text)
	if err != nil {
		return errors.Join(err, c.send(handoff.Tell, body))
	}
	defer f.Close()
	return c.channel.Load().Send(handoff.Tell, c.generation, body, f)
}

// answer does what q asks for and returns what to answer.
func (c *control) answer(q handoff.Question) (any, error) {
	s := c.current
	if s == nil {
		return nil, errors.New("no configuration is in force")
	}
	switch q.Verb {
	case handoff.ListServers:
		servers := handoff.Servers{Worker: c.w.slot, Upstreams: []handoff.Upstream{}}
		for _, u := range s.upstreams {
			servers.Upstreams = append(servers.Upstreams, u.tell())
		}
		return servers, nil
	case handoff.EnableServer, handoff.DrainServer, handoff.DisableServer, handoff.WeighServer:
		return c.change(q)
	case handoff.ListLimits:
		limits := handoff.Limits{Limits: []handoff.Limit{}}
		for _, l := range s.limits {
			limits.Limits = append(limits.Limits, l.tell(nil, fewKeys))
		}
		for _, l := range s.concurrency {
			limits.Limits = append(limits.Limits, l.tell(nil, fewKeys))
		}
		return limits, nil
	case handoff.ShowLimit, handoff.ResetLimit:
		return c.limit(q)
	}
	return nil, &handoff.Refusal{Text: fmt.Sprintf("%q is no question that this build can answer", q.Verb)}
}

// change changes a server and tells how it is then.
func (c *control) change(q handoff.Question) (any, error) {
	i := slices.IndexFunc(c.current.upstreams, func(u *upstream) bool { return u.config.Name == q.Upstream })
	if i < 0 {
		return nil, handoff.Unknown("there is no upstream %q", q.Upstream)
	}
	u := c.current.upstreams[i]
	servers := u.pool.Servers()
	i = slices.IndexFunc(servers, func(s *lb.Server) bool { return s.Address == q.Server })
	if i < 0 {
		return nil, handoff.Unknown("upstream %q has no server %q", q.Upstream, q.Server)
	}
	s := servers[i]
	switch q.Verb {
	case handoff.EnableServer:
		s.Enable()
	case handoff.DrainServer:
		s.Drain()
	case handoff.DisableServer:
		s.Disable()
	case handoff.WeighServer:
		if q.Weight < 0 || q.Weight > handoff.MaxWeight {
			return nil, &handoff.Refusal{Text: fmt.Sprintf("weight %d: want 1 to %d, or 0 for the configuration's", q.Weight, handoff.MaxWeight)}
		}
		s.SetWeight(q.Weight)
	}
	told := tellServer(s.Info(), u.sources()[s.Address])
	c.w.log.Info("an operator has changed a server", "upstream", u.config.Name, "server", s.Address, "what", string(q.Verb),
		"admin", told.Admin, "weight", told.Weight)
	return told, nil
}

// tell says how the servers of u are and where they come from.
func (u *upstream) tell() handoff.Upstream {
	told := handoff.Upstream{Name: u.config.Name, Policy: u.config.Policy, Servers: []handoff.Server{}}
	sources := u.sources()
	for _, s := range u.pool.Servers() {
		told.Servers = append(told.Servers, tellServer(s.Info(), sources[s.Address]))
	}
	if u.discoverer == nil {
		return told
	}
	for _, d := range u.discoverer.Status() {
		told.Sources = append(told.Sources, handoff.Source{
			Name: d.Name, Servers: len(d.Servers), Answered: d.Answered, Next: d.Next, Error: d.Error,
		})
	}
	return told
}

// sources says of each server of u where it comes from.
func (u *upstream) sources() map[string]string {
	sources := make(map[string]string)
	if u.discoverer != nil {
		for _, d := range u.discoverer.Status() {
			for _, s := range d.Servers {
				sources[s.Address] = d.Name
			}
		}
	}
	for _, s := range u.config.Servers {
		sources[s.Address] = fromConfig
	}
	return sources
}

func tellServer(i lb.Info, source string) handoff.Server {
	told := handoff.Server{
		Address: i.Address, Weight: i.Weight, Configured: i.Configured, Backup: i.Backup,
		State: i.State.String(), Since: i.Since, Reason: i.Reason, Admin: i.Admin,
		InFlight: i.InFlight, Source: source,
	}
	if i.Ejected > 0 {
		told.EjectedUntil = time.Now().Add(i.Ejected)
	}
	return told
}

// limit tells about one limit, after a reset of the key if that is wanted.
func (c *control) limit(q handoff.Question) (any, error) {
	for _, l := range c.current.limits {
		if l.config.Name != q.Limit {
			continue
		}
		if q.Verb == handoff.ResetLimit {
			l.Reset(q.Key)
			c.w.log.Info("an operator has reset a key of a limit", "limit", l.config.Name, "key", string(q.Key[:min(len(q.Key), maxKeyInLog)]))
		}
		return l.tell(q.Key, manyKeys), nil
	}
	for _, l := range c.current.concurrency {
		if l.config.Name != q.Limit {
			continue
		}
		if q.Verb == handoff.ResetLimit {
			return nil, &handoff.Refusal{Text: fmt.Sprintf("limit %q counts requests in flight: there is nothing to reset", q.Limit)}
		}
		return l.tell(q.Key, manyKeys), nil
	}
	return nil, handoff.Unknown("there is no limit %q", q.Limit)
}

// tell says what l has counted and, unless key is nil, how much that has used.
func (l *limit) tell(key []byte, keys int) handoff.Limit {
	told := handoff.Limit{
		Name: l.config.Name, Max: l.config.Max, Window: l.config.Window, Algorithm: l.config.Algorithm, Burst: l.config.Burst,
		Overrides: len(l.config.Overrides), DryRun: l.config.DryRun, Keys: l.config.Keys, Hottest: hotKeys(l.Hottest(keys)),
	}
	told.Admitted, told.Refused = l.counts.sum()
	if key != nil {
		v := l.Peek(key)
		told.Use = &handoff.Use{Key: string(key), Max: cmp.Or(l.config.Burst, v.Limit), Remaining: v.Remaining, Reset: v.Reset}
	}
	return told
}

// tell is as that of a limit.
func (l *concurrency) tell(key []byte, keys int) handoff.Limit {
	told := handoff.Limit{
		Name: l.config.Name, Max: l.config.Max, Algorithm: "concurrency", DryRun: l.config.DryRun, Keys: l.config.Keys,
		Hottest: hotKeys(l.Hottest(keys)),
	}
	told.Admitted, told.Refused = l.Counts()
	if key != nil {
		told.Use = &handoff.Use{Key: string(key), Max: l.config.Max, Remaining: max(0, l.config.Max-l.InUse(key))}
	}
	return told
}

func hotKeys(list []limiter.HotKey) []handoff.HotKey {
	told := make([]handoff.HotKey, len(list))
	for i, k := range list {
		told[i] = handoff.HotKey(k)
	}
	return told
}
