package worker

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

const tell = `request_headers {
  set = { "x-client" = "${client.ip} ${request.scheme}", "x-id" = request.id }
}
upstream = "up"`

func TestTrustedProxies(t *testing.T) {
	origin := startOrigin(t, mirrors("a"))
	for _, test := range []struct {
		name, trusted, fields, client, forwarded string
	}{
		{"nobody trusted", "", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n", "127.0.0.1 http", "X-Forwarded-For: 127.0.0.1\r\n"},
		{"somebody else trusted", `["10.0.0.0/8"]`, "X-Forwarded-For: 6.6.6.6\r\n", "127.0.0.1 http", "X-Forwarded-For: 127.0.0.1\r\n"},
		{"trusted", `["127.0.0.0/8", "10.0.0.0/8"]`, "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.1.1.1\r\nX-Forwarded-Proto: https\r\n", "192.0.2.7 https", "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.1.1.1, 127.0.0.1\r\n"},
		{"trusted, no fields", `["127.0.0.1"]`, "", "127.0.0.1 http", "X-Forwarded-For: 127.0.0.1\r\n"},
		{"trusted, garbage", `["127.0.0.1"]`, "X-Forwarded-For: 6.6.6.6, <script>\r\n", "127.0.0.1 http", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			route := tell
			if test.trusted != "" {
				route += "\n}\ntrusted_proxies = " + test.trusted + "\nlimits = {\n headers = 100"
			}
			p := startProxy(t, route, upstreamOf(origin))
			_, seen := p.exchangeOf(t, "GET / HTTP/1.1\r\nHost: a\r\n"+test.fields+"\r\n")
			if want := "X-Client: " + test.client + "\r\n"; !strings.Contains(seen, want) || !strings.Contains(seen, test.forwarded) {
				t.Errorf("the server saw %q; want %q and %q in it", seen, want, test.forwarded)
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	p := startProxy(t, tell+"\n}\ntrusted_proxies = [\"127.0.0.1\"]\nlimits = {\n headers = 100", upstreamOf(startOrigin(t, mirrors("a"))))
	ids := map[string]bool{}
	id := func(field string) string {
		_, seen := p.exchangeOf(t, "GET / HTTP/1.1\r\nHost: a\r\n"+field+"\r\n")
		_, after, _ := strings.Cut(seen, "X-Id: ")
		got, _, _ := strings.Cut(after, "\r\n")
		return got
	}
	for range 50 {
		got := id("")
		if len(got) != 32 || ids[got] {
			t.Fatalf("request id %q; want 32 digits never seen before", got)
		}
		ids[got] = true
	}
	if got, want := id("X-Request-Id: abc-1\r\n"), "abc-1"; got != want {
		t.Errorf("request id %q; want the trusted proxy's %q", got, want)
	}
	if got := id("X-Request-Id: " + strings.Repeat("x", maxRequestID+1) + "\r\n"); len(got) != 32 {
		t.Errorf("request id %q; want one of ours", got)
	}
}

func TestPROXYProtocol(t *testing.T) {
	listens := "\n}\nproxy_protocol = { from = [\"127.0.0.1\"] }\nlimits = {\n headers = 100"
	p := startProxy(t, tell+listens, upstreamOf(startOrigin(t, mirrors("a"))))
	const header = "PROXY TCP4 192.0.2.9 192.0.2.1 5555 80\r\n"
	c := p.dial(t)
	r := bufio.NewReader(c)
	for i := range 3 { // the header holds for the whole connection
		raw := getRequest
		if i == 0 {
			raw = header + raw
		}
		for _, piece := range []string{raw[:7], raw[7:]} {
			if _, err := io.WriteString(c, piece); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		seen, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"X-Client: 192.0.2.9 http\r\n", "X-Forwarded-For: 192.0.2.9\r\n"} {
			if !strings.Contains(string(seen), want) {
				t.Errorf("request %d: the server saw %q; want %q in it", i, seen, want)
			}
		}
	}
	for name, raw := range map[string]string{
		"no header": getRequest, "garbage": "PROXY TCP9 x\r\n" + getRequest, "half a header": header[:20],
	} {
		if got := p.ask(t, raw); got != "" {
			t.Errorf("%s: got %q; want the connection closed", name, got)
		}
	}
	plain := startProxy(t, `upstream = "up"`, upstreamOf(startOrigin(t, mirrors("a"))))
	if got, want := plain.ask(t, header+getRequest), "HTTP/1.1 400 "; !strings.HasPrefix(got, want) {
		t.Errorf("from a peer that is not listed: got %q; want it to start with %q", got, want)
	}
}
