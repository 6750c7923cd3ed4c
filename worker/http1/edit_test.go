package http1

import (
	"fmt"
	"strings"
	"testing"
)

func TestHeaderEditRequest(t *testing.T) {
	const head = "GET /k HTTP/1.1\r\nHost: probe.test\r\n"
	ip, proto := []byte("192.0.2.7"), []byte("https")
	for _, test := range []struct {
		name, head string
		remove     []string
		f          Forward
		want       string
	}{
		{
			"others", head + "A: 1\r\nX-Secret: 1\r\nx-SECRET: 2\r\nX-Secret2: 3\r\nB: 2\r\n\r\n",
			[]string{"X-secret", "absent"},
			Forward{},
			head + "A: 1\r\nX-Secret2: 3\r\nB: 2\r\nX-Forwarded-Host: probe.test\r\nVia: 1.1 proxyd\r\n\r\n",
		},
		{
			"put in its place", head + "A: 1\r\nX-Mode: theirs\r\n\r\n",
			[]string{"x-mode"},
			Forward{Extra: []byte("X-Mode: ours\r\n")},
			head + "A: 1\r\nX-Forwarded-Host: probe.test\r\nX-Mode: ours\r\nVia: 1.1 proxyd\r\n\r\n",
		},
		{
			"known by kind", head + "Cookie: a=b\r\nDate: x\r\nA: 1\r\nCookie: c=d\r\n\r\n",
			[]string{"cookie", "date"},
			Forward{},
			head + "A: 1\r\nX-Forwarded-Host: probe.test\r\nVia: 1.1 proxyd\r\n\r\n",
		},
		{
			"a name that folding must not confuse", head + "X~A: 1\r\nX^A: 2\r\nX-_: 3\r\n\r\n",
			[]string{"x^a", "x-\x7f"},
			Forward{},
			head + "X~A: 1\r\nX-_: 3\r\nX-Forwarded-Host: probe.test\r\nVia: 1.1 proxyd\r\n\r\n",
		},
		{
			"our own fields", head + "A: 1\r\n\r\n",
			[]string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"},
			Forward{ClientIP: ip, Proto: proto, Extra: []byte("X-Forwarded-For: them\r\n")},
			head + "A: 1\r\nX-Forwarded-For: them\r\nVia: 1.1 proxyd\r\n\r\n",
		},
		{
			"a believed client's", head + "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n\r\n",
			[]string{"x-forwarded-for", "x-forwarded-host"},
			Forward{ClientIP: ip, Proto: proto, KeepXFF: true},
			head + "X-Forwarded-Proto: http\r\nVia: 1.1 proxyd\r\n\r\n",
		},
		{
			"expect", "POST /k HTTP/1.1\r\nHost: probe.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
			[]string{"expect"},
			Forward{},
			"POST /k HTTP/1.1\r\nHost: probe.test\r\nContent-Length: 5\r\nX-Forwarded-Host: probe.test\r\nVia: 1.1 proxyd\r\n\r\n",
		},
		{
			"max-forwards", "OPTIONS * HTTP/1.1\r\nHost: probe.test\r\nMax-Forwards: 5\r\n\r\n",
			[]string{"max-forwards"},
			Forward{},
			"OPTIONS * HTTP/1.1\r\nHost: probe.test\r\nX-Forwarded-Host: probe.test\r\nVia: 1.1 proxyd\r\n\r\n",
		},
		{
			"what it must not take", "POST /k HTTP/1.1\r\nHost: probe.test\r\nVia: 1.1 a\r\nContent-Length: 5\r\n\r\n",
			[]string{"host", "Content-Length", "via", "connection", "transfer-encoding", "te", ""},
			Forward{},
			"POST /k HTTP/1.1\r\nHost: probe.test\r\nVia: 1.1 a\r\nContent-Length: 5\r\nX-Forwarded-Host: probe.test\r\nVia: 1.1 proxyd\r\n\r\n",
		},
		{
			"framing that it must not take", "POST /k HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: chunked\r\n\r\n",
			[]string{"transfer-encoding"},
			Forward{},
			"POST /k HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: chunked\r\nX-Forwarded-Host: probe.test\r\nVia: 1.1 proxyd\r\n\r\n",
		},
		{"all of none", head + "A: 1\r\n\r\n", nil, Forward{}, head + "A: 1\r\nX-Forwarded-Host: probe.test\r\nVia: 1.1 proxyd\r\n\r\n"},
	} {
		var r Request
		if n, err := r.Parse([]byte(test.head), &testLimits); n != len(test.head) {
			t.Fatalf("%s: %d, %v", test.name, n, err)
		}
		test.f.Edit = NewHeaderEdit(test.remove)
		if got := string(r.AppendForward(nil, &test.f)); got != test.want {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
		}
	}
}

func TestHeaderEditResponse(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, test := range []struct {
		name, head string
		remove     []string
		extra      string
		want       string
	}{
		{"others", ok + "Server: s\r\nA: 1\r\nSERVER: t\r\n\r\n", []string{"Server"}, "", ok + "A: 1\r\n" + string(testDate) + "\r\n"},
		{"put in its place", ok + "Server: s\r\n\r\n", []string{"server"}, "Server: us\r\n", ok + string(testDate) + "Server: us\r\n\r\n"},
		{"date away", ok + "Date: x\r\n\r\n", []string{"date"}, "", ok + "\r\n"},
		{"no date added", ok + "A: 1\r\n\r\n", []string{"date"}, "", ok + "A: 1\r\n\r\n"},
		{"another date", ok + "date: x\r\n\r\n", []string{"date"}, "Date: y\r\n", ok + "Date: y\r\n\r\n"},
		{"cookies", ok + "Set-Cookie: a\r\nA: 1\r\nset-cookie: b\r\n\r\n", []string{"set-cookie", "date"}, "", ok + "A: 1\r\n\r\n"},
		{"framing stays", ok + "Content-Length: 5\r\nA: 1\r\n\r\n", []string{"content-length", "a", "date"}, "", ok + "Content-Length: 5\r\n\r\n"},
		{
			"interim: taken from, not added to", "HTTP/1.1 103 Early Hints\r\nLink: a\r\nX-Secret: b\r\n\r\n",
			[]string{"x-secret"},
			"A: 1\r\n",
			"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
		},
		{
			"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nX-Secret: b\r\n\r\n",
			[]string{"x-secret", "upgrade"},
			"A: 1\r\n",
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nA: 1\r\n\r\n",
		},
	} {
		var r Response
		if n, err := r.Parse([]byte(test.head), &testLimits); n != len(test.head) {
			t.Fatalf("%s: %d, %v", test.name, n, err)
		}
		o := ForwardResponse{Date: testDate, Edit: NewHeaderEdit(test.remove), Extra: []byte(test.extra)}
		if got := string(r.AppendForward(nil, &o)); got != test.want {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
		}
	}
}

// Names are found whatever else is in the set, by whole length only.
func TestHeaderEditMany(t *testing.T) {
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprintf("x-%s%d", strings.Repeat("n", i%70), i))
	}
	e := NewHeaderEdit(names)
	for _, name := range names {
		if !e.has([]byte(strings.ToUpper(name))) {
			t.Errorf("%q is not found", name)
		}
		for _, other := range []string{name + "-", name[1:], "y" + name[1:]} {
			if e.has([]byte(other)) {
				t.Errorf("%q is found", other)
			}
		}
	}
}

func TestAppendField(t *testing.T) {
	for _, test := range []struct{ value, want string }{
		{"v", "X-A: v\r\n"},
		{"", "X-A: \r\n"},
		{"a\tb \xe9\xff", "X-A: a\tb \xe9\xff\r\n"},
		{"a long value\t, with more than eight bytes", "X-A: a long value\t, with more than eight bytes\r\n"},
		{"a\r\nX-Evil: 1", ""},
		{"a\rb", ""},
		{"a\nb", ""},
		{"a\x00b", ""},
		{"\x7f", ""},
		{"a long value with a control byte at the end\x1b", ""},
		{"\t\v", ""},
	} {
		got, ok := AppendField([]byte("before"), []byte("X-A"), []byte(test.value))
		if string(got) != "before"+test.want || ok != (test.want != "") {
			t.Errorf("%q: got %q, %t; want %q", test.value, got, ok, test.want)
		}
	}
}
