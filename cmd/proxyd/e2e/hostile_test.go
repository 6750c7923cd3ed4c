package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	lanes      = 16       // cases that run at a time
	floodBytes = 64 << 20 // of what has no end, a proxy takes much less
	interims   = 16       // 1xx responses that are passed on
	longest    = time.Minute
)

// A hostility is a way in which a server misbehaves, and what may come of it.
type hostility struct {
	name    string
	request string // "" is a plain GET
	method  string // of request; "" is GET

	before func(net.Conn) // done before the request is read; nil: nothing
	says   string         // sent after it
	pace   time.Duration  // between two bytes of says; 0: all at once
	flood  string         // sent after says, for as long as the proxy takes it
	later  string         // sent when the client has its answer
	ends   func(net.Conn) // what the server does in the end; nil: it goes on

	body string // of the response as far as it goes, without its framing
	want string // outcomes that are right: statuses, and "cut"
	good bool   // the connection may carry further requests
}

// fin closes a connection with FIN, as abort does with RST and hang only when the
// peer does.
func fin(c net.Conn) { c.Close() }

// A lane runs one case after the other, with a listener and a server of its own:
// what a case leaves in the pool of connections meets the next requests.
type lane struct {
	t       *testing.T
	proxy   string       // where the clients go
	acting  sync.RWMutex // held by a server that has not done its part
	present atomic.Pointer[part]
}

// A part is a case while it runs.
type part struct {
	*hostility
	acts     atomic.Int64  // times that the server was asked to do it
	answered chan struct{} // closed when the client has its answer
}

func TestHostileServers(t *testing.T) {
	cases := hostilities()
	if len(cases) < 200 {
		t.Errorf("got %d cases; want 200 at least", len(cases))
	}
	names := make(map[string]bool)
	queue := make(chan *hostility, len(cases))
	for i := range cases {
		if names[cases[i].name] {
			t.Errorf("two cases are called %q", cases[i].name)
		}
		names[cases[i].name] = true
		queue <- &cases[i]
	}
	close(queue)
	p := newProxy(t)
	p.workers = 1 // all requests of a lane share one pool
	all := openLanes(t, p)
	p.start()
	before := p.pids()
	began := time.Now()
	var running sync.WaitGroup
	for _, l := range all {
		running.Go(func() {
			for h := range queue {
				if err := l.run(h); err != nil {
					t.Errorf("%s: %v", h.name, err)
				}
			}
		})
	}
	running.Wait()
	t.Logf("%d cases in %v", len(cases), time.Since(began).Round(time.Millisecond))
	if after := p.pids(); !slices.Equal(before, after) {
		t.Errorf("workers: got processes %v after all; want %v as before", after, before)
	}
}

// openLanes starts the servers and writes the configuration of p.
func openLanes(t *testing.T, p *proxy) (all []*lane) {
	t.Helper()
	var text strings.Builder
	for i := range lanes {
		l := &lane{t: t, proxy: freeAddress(t)}
		all = append(all, l)
		fmt.Fprintf(&text, "listener \"l%d\" {\n address = %q\n route \"all\" {\n upstream = \"u%d\"\n }\n}\n", i, l.proxy, i)
		fmt.Fprintf(&text, "upstream \"u%d\" {\n servers = [%q]\n timeouts = { first_byte = \"1s\", body_idle = \"1s\" }\n}\n", i, serveRaw(t, l.serve))
	}
	p.writeText(text.String())
	return all
}

// run plays h and then asks twice for something else.
func (l *lane) run(h *hostility) error {
	now := &part{hostility: h, answered: make(chan struct{})}
	l.present.Store(now)
	c, err := dial(l.proxy)
	if err != nil {
		return err
	}
	defer c.Close()
	text := h.request
	if text == "" {
		text = request(http.MethodGet, "/hostile", "")
	}
	if err := c.send(text); err != nil {
		return err
	}
	got, keeps, err := c.outcome(h)
	close(now.answered)
	l.acting.Lock() // the server has done all it does
	l.present.Store(nil)
	l.acting.Unlock()
	if err != nil || !slices.Contains(strings.Split(h.want, "|"), got) {
		return fmt.Errorf("the client got %s, %v; want %s", got, err, h.want)
	}
	if n := now.acts.Load(); h.method == http.MethodPost && n > 1 {
		return fmt.Errorf("the server got the POST %d times", n)
	}
	if keeps {
		if err := c.own("/same/" + url.PathEscape(h.name)); err != nil {
			return fmt.Errorf("next request on the same connection: %w", err)
		}
	}
	next, err := dial(l.proxy)
	if err != nil {
		return err
	}
	defer next.Close()
	if err := next.own("/new/" + url.PathEscape(h.name)); err != nil {
		return fmt.Errorf("next request on a new connection: %w", err)
	}
	return nil
}

// own makes a request and checks that the answer is to that one.
func (c *client) own(path string) error {
	a, err := c.ask(http.MethodGet, path, "")
	if err == nil && (a.status != http.StatusOK || a.body != "for "+path) {
		err = fmt.Errorf("got %d %q; want 200 for %s", a.status, a.body, path)
	}
	return err
}

// outcome reads the answer to h: its status, or "cut" if it shows that it is not
// whole. keeps says that the connection can go on. What is neither is an error.
func (c *client) outcome(h *hostility) (got string, keeps bool, err error) {
	_ = c.SetDeadline(time.Now().Add(patience)) // fails if it is closed, as what follows does
	method := h.method
	if method == "" {
		method = http.MethodGet
	}
	for i := 0; ; i++ {
		r, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			return "no response", false, err
		}
		if r.StatusCode < 200 && r.StatusCode != http.StatusSwitchingProtocols {
			if i == interims {
				return "", false, errors.New("too many interim responses")
			}
			continue
		}
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close() // it is read to its end
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			return "no end", false, err
		}
		got, text := fmt.Sprint(r.StatusCode), string(body)
		if r.StatusCode >= 500 {
			if want := fmt.Sprintf("%s %s\n", got, http.StatusText(r.StatusCode)); err != nil || text != want && method != http.MethodHead {
				return got, false, fmt.Errorf("with the body %q, %v; want %q", text, err, want)
			}
			return got, !r.Close, nil
		}
		if err != nil {
			got = "cut"
		}
		if err == nil && text != h.body || !strings.HasPrefix(h.body, text) {
			return got, false, fmt.Errorf("with the body %q, %v; want %q", text, err, h.body)
		}
		return got, err == nil && !r.Close, nil
	}
}

// serve is the server of l: hostile where it is asked to be, and honest else.
func (l *lane) serve(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(longest)) // it is a TCP connection
	greeted := l.present.Load()
	if greeted != nil && greeted.before != nil {
		l.acting.RLock()
		greeted.before(c)
		l.acting.RUnlock()
	}
	r := bufio.NewReader(c)
	for spoilt := ""; ; {
		q, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if spoilt != "" {
			l.t.Errorf("%s: got another request on the same connection; want it dropped", spoilt)
		}
		if _, err := io.Copy(io.Discard, q.Body); err != nil {
			return
		}
		if q.URL.Path != "/hostile" {
			text := "for " + q.RequestURI
			if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text); err != nil {
				return
			}
			continue
		}
		now := l.present.Load()
		if now == nil || now.before != nil && now != greeted || !l.act(c, now) {
			return
		}
		if !now.good {
			spoilt = now.name
		}
	}
}

// act misbehaves as now says and reports whether the server goes on.
func (l *lane) act(c net.Conn, now *part) bool {
	l.acting.RLock()
	defer l.acting.RUnlock()
	now.acts.Add(1)
	if !l.say(c, now) {
		return false
	}
	if now.later != "" {
		<-now.answered
		_, _ = io.WriteString(c, now.later) // the proxy may have closed it by now
	}
	if now.ends != nil {
		now.ends(c)
	}
	return now.ends == nil
}

func (l *lane) say(c net.Conn, now *part) bool {
	if now.pace == 0 {
		if _, err := io.WriteString(c, now.says); err != nil {
			return false
		}
	} else {
		ticker := time.NewTicker(now.pace)
		defer ticker.Stop()
		for i := range len(now.says) {
			<-ticker.C
			if _, err := io.WriteString(c, now.says[i:i+1]); err != nil {
				return false
			}
		}
	}
	if now.flood == "" {
		return true
	}
	unit := strings.Repeat(now.flood, 1+(32<<10)/len(now.flood))
	for n := 0; n < floodBytes; n += len(unit) {
		if _, err := io.WriteString(c, unit); err != nil {
			return false
		}
	}
	l.t.Errorf("%s: the proxy took %d MiB; want it to end that", now.name, floodBytes>>20)
	return false
}

// A server that refuses is passed over; with none left, the client is told so
// and its connection goes on.
func TestServersThatRefuse(t *testing.T) {
	o := newOrigin(t, "origin", "", nil, nil)
	for _, test := range []struct {
		name    string
		servers []string
		status  int
	}{
		{"all", []string{refused(t), refused(t)}, http.StatusBadGateway},
		{"one", []string{refused(t), o.address}, http.StatusOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t)
			p.write(site{servers: test.servers})
			p.start()
			c := connect(t, p.address)
			for range 10 {
				c.get(t, "/").want(t, test.status)
			}
		})
	}
}
