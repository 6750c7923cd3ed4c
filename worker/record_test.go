package worker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyd/proxyd/worker/accesslog"
	"golang.org/x/sys/unix"
)

// linesOf waits until the file has n lines and returns them.
func linesOf(t *testing.T, path string, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		data, err := os.ReadFile(path)
		if err == nil && strings.Count(string(data), "\n") >= n {
			return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s holds %q (%v); want %d lines", path, data, err, n)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// startLogged runs a worker with access logs, whose files it opens as the
// supervisor does; a log's output is NAME.log in the folder that it returns.
func startLogged(t *testing.T, route, rest string) (*proxy, string) {
	t.Helper()
	folder := t.TempDir()
	p := startProxy(t, `upstream = "up"`, upstreamOf("127.0.0.1:1"))
	t.Cleanup(func() { p.onLoop(func() { p.logs = nil }); p.closeLogs() })
	p.logFiles = make(map[string]*accesslog.File)
	rest = strings.ReplaceAll(rest, "FOLDER", folder)
	c := p.parse(t, route, rest)
	for _, a := range c.AccessLogs {
		fd, err := unix.Open(a.Output, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		p.onLoop(func() { p.keepLog(a.FileName(), fd) })
	}
	p.configure(t, nil, route, rest)
	return p, folder
}

func (p *proxy) tick() { p.onLoop(p.tendLogs) }

func TestAccessLog(t *testing.T) {
	p, folder := startLogged(t, `
paths    = ["/x/*"]
upstream = "up"
retry    = { attempts = 1 }
response_headers { remove = ["x-secret"] }
}
route "deny" {
respond = { status = 403, body = "no" }`,
		upstreamOf(startOrigin(t, reads(echo)))+`
access_log "json" { output = "FOLDER/json.log" }
access_log "combined" { output = "FOLDER/combined.log" }
access_log "text" {
  output = "FOLDER/text.log"
  when   = response.status >= 400
  format = "${response.status} ${request.method} ${request.uri} ${request.header["x-none"]} ${response.bytes} ${response.header["content-type"]} ${route.name}"
}
`)
	c := p.dial(t)
	r := bufio.NewReader(c)
	for _, raw := range []string{
		"POST /x/1?q=\"' HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nReferer: here\r\nUser-Agent: a \"b\"\r\n\r\nabc",
		"GET /y HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /broken HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n",
	} {
		if _, err := io.WriteString(c, raw); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Peek(1); err != nil {
			t.Fatal(err)
		}
		for r.Buffered() > 0 {
			if _, err := r.Discard(r.Buffered()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	p.tick()

	lines := linesOf(t, filepath.Join(folder, "json.log"), 3)
	var got []map[string]any
	for _, l := range lines {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(l), &m); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		got = append(got, m)
	}
	for i, want := range []map[string]any{
		{"status": 200.0, "method": "POST", "uri": `/x/1?q="'`, "in": 3.0, "out": 8.0, "route": "all", "upstream": "up", "referer": "here", "user_agent": `a "b"`, "attempts": 1.0, "client": "127.0.0.1"},
		{"status": 403.0, "method": "GET", "uri": "/y", "out": 2.0, "route": "deny"},
		{"status": 400.0, "client": "127.0.0.1", "error": got[2]["error"]},
	} {
		for name, v := range want {
			if got[i][name] != v {
				t.Errorf("line %d: %s is %v; want %v", i, name, got[i][name], v)
			}
		}
	}
	if got[2]["error"] == nil || got[2]["uri"] != nil {
		t.Errorf("line of a bad request: %v; want its error and nothing of what it pretended", got[2])
	}
	combined := linesOf(t, filepath.Join(folder, "combined.log"), 3)
	if want := `"POST /x/1?q=\x22' HTTP/1.1" 200 8 "here" "a \x22b\x22"`; !strings.Contains(combined[0], want) {
		t.Errorf("combined line %q; want %q in it", combined[0], want)
	}
	text := linesOf(t, filepath.Join(folder, "text.log"), 2)
	if want := "403 GET /y - 2 text/plain; charset=utf-8 deny"; len(text) != 2 || text[0] != want {
		t.Errorf("text lines %q; want two, the first %q", text, want)
	}
}

// The file is another one after a rotation; what is dropped from the
// configuration is closed.
func TestAccessLogRotation(t *testing.T) {
	logged := "access_log \"text\" {\n output = \"FOLDER/a.log\"\n format = \"${request.uri}\"\n}\n"
	upstreams := upstreamOf(startOrigin(t, answers(okResponse)))
	p, folder := startLogged(t, `upstream = "up"`, upstreams+logged)
	path := filepath.Join(folder, "a.log")
	c := p.dial(t)
	ask := func(uri string) {
		roundTrips(t, c, fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", uri), 1)
		p.tick()
	}
	ask("/1")
	linesOf(t, path, 1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p.onLoop(func() { p.keepLog(p.logs[0].config.FileName(), fd) })
	ask("/2")
	for name, want := range map[string]string{path + ".1": "/1", path: "/2"} {
		if got := linesOf(t, name, 1); len(got) != 1 || got[0] != want {
			t.Errorf("%s: lines %q; want %q", name, got, want)
		}
	}
	p.configure(t, nil, `upstream = "up"`, upstreams)
	p.onLoop(func() {
		p.forget(p.current)
		if len(p.logFiles) != 0 {
			t.Errorf("%d log files are open; want none", len(p.logFiles))
		}
	})
	ask("/3")
	if got := linesOf(t, path, 1); len(got) != 1 {
		t.Errorf("lines %q; want none of a request after the log was dropped", got)
	}
}
